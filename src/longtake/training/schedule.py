# SPDX-License-Identifier: Apache-2.0
"""Curriculum and learning rate. Stages follow what was learned (flow against zero flow), with a time limit."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

REWARM = 50  # steps


@dataclass(frozen=True, slots=True)
class Stage:
    """A part of the curriculum."""

    frames: int  # frames a take
    until: float  # share of the time budget at which the stage ends at the latest
    flow_below: float = 0.0  # ends earlier once flow error / zero-flow error falls below this
    sizes: tuple[tuple[int, int], ...] = ((128, 160),)  # (height, width); ranks and steps take turns
    gated: float = 0.5  # share of the takes whose state is updated by the ttt3r rate; the rest is overwritten
    filtered: float = 0.0  # share under filt3r
    damped: float = 0.0  # share at a rate of 1/2
    share: float = 1.0  # of the frames of a full step: smaller steps come more often
    window: int = 0  # frames that gradients go back through, and memory is needed for; 0: all of a take's


SHAPES = ((112, 160), (96, 160), (128, 160), (160, 112))  # what 4:3, 3:2, 5:4 and upright pictures become
LARGE = ((176, 240), (160, 240), (240, 176))
# As few numbers of takes in a step as can be: compiled parts know that number, not the length of a take.
CURRICULUM = (
    Stage(4, until=0.15, flow_below=0.60, sizes=SHAPES[:1], gated=0.0, share=0.5),
    Stage(8, until=0.30, flow_below=0.25, sizes=SHAPES[:1]),
    Stage(16, until=0.55, sizes=SHAPES),
    Stage(32, until=0.70, sizes=SHAPES, share=2.0),
    # In windows, parts and memory are those of the stage before.
    Stage(64, until=0.85, sizes=SHAPES, gated=0.3, filtered=0.25, damped=0.2, share=4.0, window=32),
    Stage(64, until=1.00, sizes=LARGE, gated=0.3, filtered=0.25, damped=0.2, share=4.0, window=32),
)
SHORT = (  # a few minutes: no time for long takes, the rate falls early
    Stage(3, until=0.38, flow_below=0.65, gated=0.0, share=0.5),
    Stage(4, until=0.50, flow_below=0.45),
    Stage(8, until=0.78),
    Stage(16, until=1.00),
)
# For weights that can match already: memory. One size most of the time, which is that of the yardstick; the same
# number of takes in all stages, so that nothing is compiled twice.
MOSTLY = tuple(size for other in (SHAPES[0], SHAPES[1], SHAPES[3]) for size in (SHAPES[2], other))
LONG = (
    Stage(32, until=0.10, sizes=MOSTLY, gated=0.3, filtered=0.25, damped=0.2, share=2.0),
    Stage(64, until=1.00, sizes=MOSTLY, gated=0.3, filtered=0.25, damped=0.2, share=4.0, window=32),
)
# For weights that can match and are to become better at all of it: many short takes, then long ones. The upright size
# is left to the short ones; three sizes are three graphs fewer to wait for.
ONWARD = (
    Stage(16, until=0.35, sizes=MOSTLY),
    Stage(64, until=1.00, sizes=MOSTLY[:4], gated=0.3, filtered=0.2, damped=0.2, share=4.0, window=32),
)
TOY = (
    Stage(2, until=0.5, gated=0.0, sizes=((48, 64),)),
    Stage(4, until=1.0, sizes=((48, 64),)),
)
CURRICULA: dict[str, tuple[Stage, ...]] = {
    "standard": CURRICULUM,
    "short": SHORT,
    "long": LONG,
    "onward": ONWARD,
    "toy": TOY,
}


@dataclass(slots=True)
class Schedule:
    """Where training stands, as a function of the share of the budget that is used."""

    stages: tuple[Stage, ...]
    rate: float
    warmup: int  # steps
    flat: float = 0.5  # share of the budget at the full rate
    floor: float = 0.02  # final rate / full rate
    index: int = field(default=0)
    began: int = field(default=0)  # step at which the stage in force began

    @property
    def stage(self) -> Stage:
        """The stage in force."""
        return self.stages[self.index]

    def advance(self, progress: float, flow_ratio: float, step: int = 0) -> bool:
        """Move on to the next stage if it is time; returns whether it did. `step` counts all steps so far."""
        done = progress >= self.stage.until or flow_ratio < self.stage.flow_below
        if done and self.index + 1 < len(self.stages):
            self.index, self.began = self.index + 1, step
            return True
        return False

    def learning_rate(self, progress: float, step: int) -> float:
        """Warm-up, flat, then a cosine to the floor; a short warm-up again where a stage begins.

        Longer takes bring gradients to weights that had nearly none, and the optimiser's memory is wrong about them.
        """
        warm = min(1.0, (step + 1) / self.warmup)
        if self.index:
            warm *= min(1.0, 0.1 + (step - self.began) / REWARM)
        fall = min(1.0, max(0.0, (progress - self.flat) / (1 - self.flat)))
        return self.rate * warm * (self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * fall)))
