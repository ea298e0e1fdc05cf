# SPDX-License-Identifier: Apache-2.0
"""Compile the parts for later stages while the first one trains: another process fills the compiler's cache on disk.

A stage with another number of takes or another size needs its parts compiled for them, which takes a minute or two.
Reading them from the cache takes a fraction of that. This only saves time: where it fails, the stage compiles itself.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import torch

from longtake.families.cut3r import Cut3r, Cut3rConfig
from longtake.synthetic.config import WorldConfig
from longtake.training.flat import FlatParameters
from longtake.training.losses import LossWeights
from longtake.training.schedule import Stage
from longtake.training.shapes import Shape, shape_of
from longtake.training.step import Learner, Step

FRAMES = 2  # the first frame of a take and the one after it: parts do not know the length of a take


def later_shapes(stages: Sequence[Stage], frames_per_step: int) -> list[Shape]:
    """Shapes of later stages whose parts differ from those of the stages before, in order, as takes of two frames."""
    found: list[Shape] = []
    for stage in stages:
        for turn in range(len(stage.sizes)):
            shape = shape_of(stage, turn, frames_per_step)
            shape = Shape(shape.takes, FRAMES, shape.height, shape.width)
            if shape not in found:
                found.append(shape)
    first = len(stages[0].sizes) if stages else 0
    return found[first:]


def start(model: Cut3rConfig, shapes: Sequence[Shape], log: Path) -> subprocess.Popen[bytes]:
    """Begin compiling in a process of its own, which ends by itself; what it says goes to `log`."""
    job = json.dumps({"model": model.to_dict(), "shapes": [asdict(shape) for shape in shapes]})
    with log.open("wb") as file:
        return subprocess.Popen(
            [sys.executable, "-m", "longtake.training.precompile", job], stdout=file, stderr=subprocess.STDOUT
        )


def compile_shapes(model: Cut3rConfig, shapes: Sequence[Shape]) -> None:
    """Run one step of each shape with compiled parts."""
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = torch.bfloat16 if device.type == "cuda" else None
    learner = Learner(Cut3r(model)).to(device)
    learner.compile_parts()
    flat = FlatParameters([learner])
    for shape in shapes:
        step = Step(
            learner, shape, WorldConfig(), LossWeights(), flat.gradients, 0.5, precision=precision, compiled=True
        )
        step.forward_backward()
        print(shape, flush=True)


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    compile_shapes(Cut3rConfig.from_dict(told["model"]), [Shape(**shape) for shape in told["shapes"]])
