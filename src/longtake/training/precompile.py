# SPDX-License-Identifier: Apache-2.0
"""Compile the parts for other sizes while the first one trains: another process fills the compiler's cache on disk.

Another number of takes or another picture size needs its parts compiled for them, which takes a minute or two. Reading
them from the cache takes a fraction of that, so a stage takes turns only among the sizes that are there. This only
saves time: where it fails, a stage compiles its first size itself.
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
    """All shapes but the very first whose parts differ from those before, in order, as takes of two frames."""
    found: list[Shape] = []
    for stage in stages:
        for turn in range(len(stage.sizes)):
            shape = as_compiled(shape_of(stage, turn, frames_per_step))
            if shape not in found:
                found.append(shape)
    return found[1:]


def as_compiled(shape: Shape) -> Shape:
    """The shape that stands for all takes of its parts."""
    return Shape(shape.takes, FRAMES, shape.height, shape.width)


class Ready:
    """Which shapes the other process has compiled: it writes one line of JSON for each."""

    def __init__(self, log: Path, first: Shape) -> None:
        self.log, self.shapes = log, {as_compiled(first)}

    def look(self) -> None:
        """Read what it has written so far."""
        text = self.log.read_text(encoding="utf-8", errors="replace") if self.log.exists() else ""
        complete = text.split("\n")[:-1]  # the last line may be half written
        self.shapes |= {Shape(**json.loads(line)["ready"]) for line in complete if line.startswith('{"ready"')}

    def turns(self, shapes: Sequence[Shape]) -> list[int]:
        """The places of the shapes that are there; the first if none is."""
        return [i for i, shape in enumerate(shapes) if as_compiled(shape) in self.shapes] or [0]


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
        print(json.dumps({"ready": asdict(shape)}), flush=True)


if __name__ == "__main__":
    told = json.loads(sys.argv[1])
    compile_shapes(Cut3rConfig.from_dict(told["model"]), [Shape(**shape) for shape in told["shapes"]])
