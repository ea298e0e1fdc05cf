# SPDX-License-Identifier: Apache-2.0
"""Files that are replaced in one move or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor


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


def save_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a safetensors file, all or nothing. Every tensor needs contiguous memory of its own.

    Raises OSError or safetensors.SafetensorError; an earlier file of that name is then as it was.
    """
    with replacing(path) as draft:
        draft.touch()
        mode = draft.stat().st_mode  # of any new file here; safetensors would let nobody but the owner read its own
        save_file(dict(tensors), draft, metadata=dict(metadata))
        draft.chmod(mode)
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
