# SPDX-License-Identifier: Apache-2.0
"""Developing eight frames at a time through the compiler gives the pictures of the plain steps."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

COMPARE = """
import torch
from torch._dynamo.utils import counters
from longtake.synthetic.effects import build_camera, develop
from longtake.synthetic.uniforms import Uniforms, draw_uniforms

generator = torch.Generator().manual_seed(1)
for takes, frames in ((4, 2), (4, 6), (8, 3)):
    light = torch.rand(takes, frames, 3, 32, 48, generator=generator)
    light = torch.nn.functional.avg_pool2d(light.flatten(0, 1), 5, 1, 2).view_as(light)  # smooth, as pictures are
    camera = build_camera(Uniforms(draw_uniforms(takes, frames, "cpu", generator)), frames)
    step = torch.linspace(0, 0.05, takes)
    plain, fast = develop(light, camera, step), develop(light, camera, step, compiled=True)
    off = (plain - fast).abs()
    wrong = float((off > 1.5 / 255).float().mean())
    print(counters["stats"]["unique_graphs"], wrong, float(off.mean()), float(plain.std()))
"""


@pytest.mark.slow
def test_compiled_pictures_are_the_plain_ones_and_one_compilation_serves_all() -> None:
    """In a process of its own: the type checks of the tests would be compiled too."""
    told = subprocess.run([sys.executable, "-c", COMPARE], capture_output=True, text=True, check=True, env=os.environ)
    rows = [[float(word) for word in line.split()] for line in told.stdout.splitlines()]
    assert [graphs for graphs, *_ in rows] == [1, 1, 1], (
        "other numbers of takes or frames must not compile anything again"
    )
    assert max(share for _, share, _, _ in rows) < 0.005
    assert max(mean for _, _, mean, _ in rows) < 5e-4
    assert min(spread for *_, spread in rows) > 0.02, "or there was nothing to see"
