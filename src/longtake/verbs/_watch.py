# SPDX-License-Identifier: Apache-2.0
"""`--view`: a viewer beside a running take, started with its first frame and kept open after its last."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Self

from longtake.scene import Progress


class Watch:
    """Context manager; call it with each Progress. It waits while a visitor pauses the take."""

    def __init__(self, folder: Path, port: int, on_frame: Callable[[Progress], None] | None) -> None:
        """Raises MissingExtra or InputError before anything else is done."""
        from longtake.viewer import Viewer

        self._viewer = Viewer(folder, port=port, pausable=True)
        self._on_frame = on_frame
        print(f"look at {self._viewer.url}", file=sys.stderr, flush=True)

    def __enter__(self) -> Self:
        return self

    def __call__(self, progress: Progress) -> None:
        self._viewer.start()  # not before the first frame: an earlier take may still be in the folder
        if self._on_frame is not None:
            self._on_frame(progress)
        self._viewer.wait_while_paused()

    def stay(self) -> None:
        """Keep the page open until Ctrl-C."""
        print(f"still at {self._viewer.url} (Ctrl-C ends the viewer)", file=sys.stderr, flush=True)
        try:
            self._viewer.wait()
        except KeyboardInterrupt:
            print(file=sys.stderr)

    def __exit__(self, *_: object) -> None:
        self._viewer.close()
