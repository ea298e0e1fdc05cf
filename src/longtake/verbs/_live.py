# SPDX-License-Identifier: Apache-2.0
"""The line that shows how far a take is: live on a terminal, a plain line now and then elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.text import Text

from longtake.scene import Progress

EVERY = 5.0  # seconds between plain lines


def amount(count: float) -> str:
    """Return bytes for people: 813 B, 1.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def describe(progress: Progress) -> str:
    """Return one line about a running take."""
    of = f"/{progress.expected}" if progress.expected else ""
    rate = progress.frames / progress.seconds if progress.seconds > 0 else 0.0
    return (
        f"{progress.frames}{of} frames  {rate:.1f} frames/s  "
        f"{progress.points:,} points  state {amount(progress.state_bytes)}  tracking {progress.tracking}"
    )


class LiveLine:
    """Context manager; call it with each Progress."""

    def __init__(self) -> None:
        self._console = Console(file=sys.stderr)
        self._live = Live(console=self._console, transient=True, refresh_per_second=8)
        self._last: Progress | None = None
        self._shown = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __call__(self, progress: Progress) -> None:
        self._last = progress
        if self._console.is_terminal:
            self._live.update(Text(describe(progress)))
        elif progress.frames == 1 or time.monotonic() - self._shown >= EVERY:
            self._shown = time.monotonic()
            print(describe(progress), file=sys.stderr, flush=True)

    def stop(self) -> None:
        """Take the line away. Calling it twice is fine."""
        self._live.stop()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
