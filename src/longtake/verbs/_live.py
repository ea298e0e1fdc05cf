# SPDX-License-Identifier: Apache-2.0
"""How far a take is: two lines that change on a terminal, a plain line now and then elsewhere. Always on stderr."""

from __future__ import annotations

import sys
import time
from collections import deque
from typing import Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from longtake.scene import Progress

EVERY = 5.0  # seconds between plain lines
_RECENT = 15.0  # seconds over which the rate is taken: a take gets slower where its memory grows
_COLORS = {"ok": "green", "weak": "yellow", "lost": "red"}


def amount(count: float) -> str:
    """Return bytes for people: 813 B, 1.4 MB."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError


def clock(seconds: float) -> str:
    """Return a length of time for people: 0:07, 12:34, 1:02:03."""
    whole = round(seconds)
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


class Pace:
    """Frames a second of late, and how long the rest will take."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self.rate = 0.0

    def see(self, progress: Progress) -> None:
        """Take note of a frame."""
        self._seen.append((progress.seconds, progress.frames))
        while len(self._seen) > 2 and self._seen[0][0] < progress.seconds - _RECENT:
            self._seen.popleft()
        (begin, before), (end, frames) = self._seen[0], self._seen[-1]
        if end > begin:
            self.rate = (frames - before) / (end - begin)
        elif progress.seconds > 0:
            self.rate = progress.frames / progress.seconds

    def left(self, progress: Progress) -> float | None:
        """Seconds until the last frame; None where nobody knows."""
        if progress.expected is None or self.rate <= 0 or progress.frames < 2:
            return None
        return max(progress.expected - progress.frames, 0) / self.rate


def describe(progress: Progress, pace: Pace) -> str:
    """Return one plain line about a running take."""
    of = f"/{progress.expected}" if progress.expected else ""
    left = pace.left(progress)
    parts = [
        f"{progress.frames}{of} frames",
        f"{pace.rate:.1f} frames/s",
        f"{progress.points:,} points",
        "" if progress.memory_bytes is None else f"memory {amount(progress.memory_bytes)}",
        f"state {amount(progress.state_bytes)}",
        f"tracking {progress.tracking}",
        f"{clock(progress.seconds)} so far" if left is None else f"{clock(left)} left",
    ]
    return "  ".join(part for part in parts if part)


def draw(progress: Progress, pace: Pace, spinner: Spinner) -> RenderableType:
    """Return the two lines for a terminal: how far, and how well."""
    left = pace.left(progress)
    far = Table.grid(padding=(0, 2), expand=False)
    if progress.expected:
        done = f"[bold]{progress.frames:,}[/] [dim]of {progress.expected:,} frames[/]"
        bar = ProgressBar(progress.expected, progress.frames, width=32, complete_style="blue", finished_style="blue")
        when = f"[bold]{clock(left)}[/] [dim]left[/]" if left is not None else f"[dim]{clock(progress.seconds)}[/]"
        far.add_row(bar, done, f"[bold]{pace.rate:.1f}[/] [dim]a second[/]", when)
    else:
        done = f"[bold]{progress.frames:,}[/] [dim]frames[/]"
        far.add_row(spinner, done, f"[bold]{pace.rate:.1f}[/] [dim]a second[/]", f"[dim]{clock(progress.seconds)}[/]")
    color = _COLORS[progress.tracking]
    memory = "" if progress.memory_bytes is None else f"   memory {amount(progress.memory_bytes)}"
    rest = f"   {progress.points:,} points{memory}   state {amount(progress.state_bytes)}"
    return Group(far, Text.assemble(("● ", color), (f"tracking {progress.tracking}", color), (rest, "dim")))


class LiveLine:
    """Context manager; call it with each Progress."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stderr, highlight=False)
        self._live = Live(console=self._console, transient=True, refresh_per_second=8)
        self._spinner = Spinner("dots", style="blue")
        self._pace = Pace()
        self._shown = time.monotonic()

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __call__(self, progress: Progress) -> None:
        self._pace.see(progress)
        if self._console.is_terminal:
            self._live.update(draw(progress, self._pace, self._spinner))
        elif progress.frames == 1 or time.monotonic() - self._shown >= EVERY:
            self._shown = time.monotonic()
            print(describe(progress, self._pace), file=self._console.file, flush=True)

    def stop(self) -> None:
        """Take the lines away. Calling it twice is fine."""
        self._live.stop()

    def __exit__(self, *_: object) -> None:
        self.stop()
