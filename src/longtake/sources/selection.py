# SPDX-License-Identifier: Apache-2.0
"""Which frames are shown: start, end, stride, frame rate and count, decided before a picture is unpacked."""

from __future__ import annotations

import math
from dataclasses import dataclass

from longtake.errors import InputError

# A frame that comes up to a tenth of a slot early still counts for it: containers round times to milliseconds.
_EARLY = 0.1


@dataclass(frozen=True, slots=True)
class Selection:
    """Options of a source. Times are seconds since its first frame; start <= time < end."""

    stride: int = 1  # every stride-th decoded frame, counted from the first one in range
    fps: float | None = None  # at most this many frames a second, by dropping
    start: float | None = None
    end: float | None = None
    max_frames: int | None = None  # shown frames, after all else

    def __post_init__(self) -> None:
        wrong = None
        if not isinstance(self.stride, int) or self.stride < 1:
            wrong = f"stride={self.stride!r}; it must be a whole number, 1 or more (1 shows every frame)"
        elif self.fps is not None and not (math.isfinite(self.fps) and self.fps > 0):
            wrong = f"fps={self.fps!r}; it must be more than 0 frames a second"
        elif self.start is not None and not (math.isfinite(self.start) and self.start >= 0):
            wrong = f"start={self.start!r}; it must be 0 or more seconds from the first frame"
        elif self.end is not None and not self.end > (self.start or 0.0):
            wrong = f"end={self.end!r} with start={self.start or 0.0:g}; the end must come after the start (seconds)"
        elif self.max_frames is not None and (not isinstance(self.max_frames, int) or self.max_frames < 1):
            wrong = f"max_frames={self.max_frames!r}; it must be a whole number, 1 or more"
        if wrong:
            raise InputError(f"Wrong option: {wrong}.")

    def __str__(self) -> str:
        named = {"stride": self.stride, "fps": self.fps, "start": self.start, "end": self.end}
        given = [f"{name}={value:g}" for name, value in named.items() if value not in (None, 1)]
        return ", ".join(given) or "the options"

    def picker(self) -> Picker:
        """Start choosing: one picker for one pass over the source."""
        return Picker(self)

    def count(self, frames: int | None, fps: float) -> int | None:
        """Expect how many of `frames` evenly spaced frames are shown; None if `frames` is unknown."""
        if frames is None:
            return None if self.max_frames is None or self.end is not None else self.max_frames
        first = min(frames, math.ceil((self.start or 0.0) * fps - 1e-6))
        last = frames if self.end is None else min(frames, math.ceil(self.end * fps - 1e-6))
        shown = -(-max(last - first, 0) // self.stride)
        if self.fps is not None and self.fps < fps / self.stride:
            shown = math.ceil((last - first) * self.fps / fps - _EARLY)
        return shown if self.max_frames is None else min(shown, self.max_frames)


class Picker:
    """Decides frame by frame; `seen`, `taken` and `last_time` tell what happened."""

    def __init__(self, selection: Selection) -> None:
        self.selection = selection
        self.seen = 0
        self.taken = 0
        self.last_time = 0.0
        self._first: tuple[int, float] | None = None  # index and time of the first frame in range
        self._slot = -1

    @property
    def full(self) -> bool:
        """Tell whether max_frames frames were shown."""
        return self.selection.max_frames is not None and self.taken >= self.selection.max_frames

    def done(self, time: float) -> bool:
        """Tell whether neither a frame at this time nor any later one is wanted."""
        return self.full or (self.selection.end is not None and time >= self.selection.end - 1e-6)

    def wants(self, index: int, time: float) -> bool:
        """Tell whether the frame at this position (counted before stride and start) and time is shown."""
        s = self.selection
        self.passed(time)
        if (s.start is not None and time < s.start - 1e-6) or self.done(time):
            return False
        if self._first is None:
            self._first = (index, time)
        first_index, first_time = self._first
        if (index - first_index) % s.stride:
            return False
        if s.fps is not None:
            slot = math.floor((time - first_time) * s.fps + _EARLY)
            if slot <= self._slot:
                return False
            self._slot = slot
        return True

    def passed(self, time: float) -> None:
        """Count a frame as read, wanted or not."""
        self.seen += 1
        self.last_time = time

    def took(self) -> None:
        """Count a frame as shown."""
        self.taken += 1
