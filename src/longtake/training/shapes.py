# SPDX-License-Identifier: Apache-2.0
"""How many takes, frames and pixels a step has."""

from __future__ import annotations

from dataclasses import dataclass, replace

from longtake.errors import InputError
from longtake.training.schedule import Stage


@dataclass(frozen=True, slots=True)
class Shape:
    """Takes x frames x pixels of one step on one device.

    window: frames that gradients go back through; longer takes are walked window by window, and must be so many whole
    windows long (InputError). 0: the whole take.
    """

    takes: int
    frames: int
    height: int
    width: int
    window: int = 0

    def __post_init__(self) -> None:
        if self.window and (self.window < 2 or (self.frames > self.window and self.frames % self.window)):
            raise InputError(
                f"takes of {self.frames} frames in windows of {self.window}: give windows of at least two frames that "
                "divide the take, or 0 for the whole take"
            )

    @property
    def windows(self) -> int:
        """How many windows a take has."""
        return max(1, self.frames // self.window) if self.window else 1

    @property
    def brief(self) -> Shape:
        """As many takes and pixels, and as few frames as do everything once: two, or two windows of two."""
        return replace(self, frames=2, window=0) if self.windows == 1 else replace(self, frames=4, window=2)


def shape_of(stage: Stage, turn: int, frames_per_step: int) -> Shape:
    """The shape of a turn: sizes rotate, the number of pixels stays. `frames_per_step` counts frames of 160x128."""
    height, width = stage.sizes[turn % len(stage.sizes)]
    takes = stage.share * frames_per_step * 160 * 128 / (height * width) / stage.frames
    count = max(1, round(takes / 4) * 4 if takes >= 4 else round(takes))
    return Shape(count, stage.frames, height, width, stage.window)
