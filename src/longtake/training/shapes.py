# SPDX-License-Identifier: Apache-2.0
"""How many takes, frames and pixels a step has."""

from __future__ import annotations

from dataclasses import dataclass

from longtake.training.schedule import Stage


@dataclass(frozen=True, slots=True)
class Shape:
    """Takes x frames x pixels of one step on one device."""

    takes: int
    frames: int
    height: int
    width: int


def shape_of(stage: Stage, turn: int, frames_per_step: int) -> Shape:
    """The shape of a turn: sizes rotate, the number of pixels stays. `frames_per_step` counts frames of 160x128."""
    height, width = stage.sizes[turn % len(stage.sizes)]
    takes = stage.share * frames_per_step * 160 * 128 / (height * width) / stage.frames
    return Shape(max(1, round(takes / 4) * 4 if takes >= 4 else round(takes)), stage.frames, height, width)
