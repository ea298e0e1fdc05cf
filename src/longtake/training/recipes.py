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
MOSTLY = (FOUR[0], FOUR[1], FOUR[0], FOUR[2], FOUR[0], FOUR[3])  # half of the steps at the yardstick's size
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
# From here on confidence learns, and the model says metres, too; more rooms are painted, more paths return, and
# cameras turn faster.
_CONFIDENT = replace(
    _MUON,
    weights=replace(_LOSS, scale=0.3, confidence=0.1, alpha=1.0),
    world=replace(WorldConfig(), mesh_share=0.2, painted_share=0.65, revisit_share=0.4, max_turn=14.0),
)

# Each part goes on from the averaged weights of the one before it.
RECIPES: Mapping[str, Mapping[str, TrainConfig]] = {
    "small": {  # longtake-small, version 4; 1 to 3 are the versions of those numbers
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
        # On two devices. Later stages of that run made it worse: what is shipped went on from the weights before them,
        # on one device, uncompiled, at a falling rate.
        "4": replace(
            _CONFIDENT,
            minutes=10.5,
            stages=(Stage(16, until=1.00, sizes=MOSTLY, gated=0.5, share=1.0),),
            flat=0.99,
            frames_per_step=832,
            look_every=200.0,
        ),
        "4b": replace(
            _CONFIDENT,
            minutes=2.45,
            stages=(Stage(16, until=1.00, sizes=FOUR[:1], gated=0.5, share=1.0),),
            frames_per_step=896,
            rate=2e-4,
            warmup=20,
            flat=0.05,
            average=0.99,
            compiled=False,
            held_out=16,
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
