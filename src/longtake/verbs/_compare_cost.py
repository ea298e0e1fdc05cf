# SPDX-License-Identifier: Apache-2.0
"""What a run costs while it grows: frames/s, peak memory and bytes kept, against the number of frames."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from longtake.frame import Frame, Prediction
from longtake.meter import finish_work, give_back_memory, is_lack_of_memory, peak_bytes, start_counting
from longtake.registry import Model
from longtake.stream import Streams

MARKS = tuple(digit * 10**power for power in range(5) for digit in (1, 2, 5))  # lengths that are reported


@dataclass(frozen=True, slots=True)
class Cost:
    """What a take had cost when it had so many frames."""

    frames_per_second: float  # over the frames since the length before
    peak_bytes: int | None  # the most so far: of a CUDA device, else of this process; None where the system hides it
    state_bytes: int  # kept after the last of these frames


@dataclass(slots=True)
class Bill:
    """The costs of one take while it runs."""

    by_length: dict[int, Cost] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)  # of tracking, a frame each
    seconds: float = 0.0  # in the model
    frames: int = 0
    _since: tuple[int, float] = (0, 0.0)  # frames and seconds at the length before
    _last: tuple[int | None, int] = (None, 0)

    def add(self, seconds: float, peak: int | None, state: int, said: str) -> None:
        """Take one frame's costs."""
        self.frames, self.seconds = self.frames + 1, self.seconds + seconds
        before = self._last[0]
        self._last = (peak if peak is None or before is None else max(peak, before), state)
        self.said.append(said)
        if self.frames in MARKS:
            self._note()

    def close(self) -> dict[int, Cost]:
        """Give the costs at every length of MARKS that was reached, and at the end."""
        if self.frames and self.frames not in self.by_length:
            self._note()
        return self.by_length

    def _note(self) -> None:
        frames, seconds = self.frames - self._since[0], self.seconds - self._since[1]
        self.by_length[self.frames] = Cost(frames / max(seconds, 1e-9), *self._last)
        self._since = (self.frames, self.seconds)


@dataclass(slots=True)
class Watched:
    """A model that begins streams as the comparison asks for, and keeps the bill of each.

    Running out of memory ends the streams that are there and nothing else: they then predict nothing any more.
    """

    model: Model
    options: dict[str, Any]
    begun: Streams | None = None
    bills: list[Bill] = field(default_factory=list)
    spent: bool = False  # whether memory was over

    def streams(self, n: int, *, rule: Any, reset_every: Any) -> Watched:
        """Begin n streams."""
        rule = rule if self.model.capabilities.rules else None
        self.begun = self.model.streams(n, rule=rule, reset_every=reset_every, **self.options)
        self.bills, self.spent = [Bill() for _ in range(n)], False
        return self

    def step(self, frames: Sequence[Frame | None]) -> Sequence[Prediction | None]:
        """Step them: a prediction each, None where there was no frame, and for all of them once memory is over."""
        if self.begun is None:
            return [None] * len(frames)
        device = self.begun.device
        start_counting(device)  # anew for each step: what else the comparison holds of a take is not the model's
        begin = time.perf_counter()
        predictions: Sequence[Prediction | None] = ()
        try:
            predictions = self.begun.step(frames)
            finish_work(device)
        except (MemoryError, RuntimeError) as error:
            if not is_lack_of_memory(error):
                raise
            self.begun, self.spent = None, True
        if self.begun is None:  # what it held is free for the figures, and for those that follow
            give_back_memory()
            return [None] * len(frames)
        share = (time.perf_counter() - begin) / max(1, sum(frame is not None for frame in frames))
        peak, state = peak_bytes(device), self.begun.state_bytes // len(frames)
        for bill, prediction in zip(self.bills, predictions, strict=True):
            if prediction is not None:
                bill.add(share, peak, state, prediction.tracking)
        return predictions
