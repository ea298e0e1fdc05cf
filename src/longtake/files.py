# SPDX-License-Identifier: Apache-2.0
"""Files that are replaced in one move or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give a draft beside `path` to write to; it takes the place of `path` when the block ends well.

    If the block fails, an earlier file stays as it was and the draft is deleted: on a full disk its room is needed.
    """
    draft = path.with_name(path.name + ".part")
    try:
        yield draft
        os.replace(draft, path)
    except BaseException:
        with contextlib.suppress(OSError):
            draft.unlink(missing_ok=True)
        raise
