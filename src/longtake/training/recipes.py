# SPDX-License-Identifier: Apache-2.0
"""How shipped weights were made, every number of it: `longtake train --config NAME` does it again from nothing.

A recipe is frozen: where defaults of the trainer move on, what it says stays. Runs are cut off by a clock, so the same
recipe sees as many frames as the device is fast; the docs name the devices and the frames of the shipped runs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from longtake.synthetic.config import WorldConfig, worlds
from longtake.training.loop import TrainConfig
from longtake.training.losses import LossWeights
from longtake.training.schedule import Stage

WIDE = ((112, 160), (96, 160))
FOUR = ((128, 160), (112, 160), (96, 160), (160, 112))
_WORLD = worlds()["first"]  # bare rooms, hand-held cameras: what there was then
# Their confidence stood on its floor of 1, by an alpha below the errors of the beginning; so it weighed nothing.
_LOSS = LossWeights(
    depth=1.0, edges=0.5, world=0.5, translation=1.0, rotation=2.0, step=0.5, focal=0.3, flow=20.0, alpha=0.2
)
_COMMON = TrainConfig(
    frames_per_step=1024, decay=0.03, clip=1.0, seed=0, precision="bf16", held_out=32, world=_WORLD, weights=_LOSS
)
_MUON = replace(_COMMON, compiled=True, rate=3e-4, warmup=100, flat=0.55, muon=0.6, average=0.999, look_every=180.0)
_MIXTURE = replace(_MUON, world=replace(WorldConfig(), mesh_share=0.2))

# Each part goes on from the averaged weights of the one before it.
RECIPES: Mapping[str, Mapping[str, TrainConfig]] = {
    "small": {  # longtake-small, version 3; 1 and 2 are the versions of those numbers
        "1": replace(
            _COMMON,
            minutes=5.9,
            stages=(
                Stage(3, until=0.38, flow_below=0.65, sizes=((128, 160),), gated=0.0, share=0.5),
                Stage(4, until=0.50, flow_below=0.45, sizes=((128, 160),), gated=0.5, share=1.0),
                Stage(8, until=0.78, sizes=((128, 160),), gated=0.5, share=1.0),
                Stage(16, until=1.00, sizes=((128, 160),), gated=0.5, share=1.0),
            ),
            rate=6e-4,
            warmup=100,
            flat=0.45,
            muon=0.0,
            average=0.996,
            look_every=150.0,
        ),
        "2": replace(
            _MUON,
            minutes=10.9,
            stages=(
                Stage(4, until=0.20, flow_below=0.60, sizes=WIDE[:1], gated=0.0, share=0.5),
                Stage(8, until=0.40, flow_below=0.25, sizes=WIDE[:1], gated=0.5, share=1.0),
                Stage(16, until=0.80, sizes=WIDE, gated=0.5, share=1.0),
                Stage(32, until=1.00, sizes=WIDE, gated=0.5, share=2.0),
            ),
            start_stage=1,
        ),
        # One run that ran out of memory after its first stage, and one that went on with smaller steps.
        "3": replace(
            _MIXTURE,
            minutes=13.1,
            stages=(Stage(16, until=1.00, sizes=FOUR, gated=0.5, share=1.0),),
            flat=0.99,  # the run was to be longer: its rate had not begun to fall
        ),
        "3b": replace(
            _MIXTURE,
            minutes=10.7,
            stages=(
                Stage(16, until=0.50, sizes=FOUR, gated=0.5, share=1.0),
                Stage(32, until=1.00, sizes=FOUR, gated=0.5, share=2.0),
            ),
            start_stage=1,
            frames_per_step=612,
        ),
    }
}


def recipe(name: str, out: Path) -> list[TrainConfig]:
    """Return the parts of a recipe in order, each with its folder below `out` and the weights that it goes on from."""
    parts: list[TrainConfig] = []
    for part, config in RECIPES[name].items():
        before = parts[-1].out / "average.safetensors" if parts else None
        parts.append(replace(config, out=out / part, resume=before))
    return parts
