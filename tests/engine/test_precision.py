# SPDX-License-Identifier: Apache-2.0
"""Precision: what is narrow, what is not, and how far the results move. On the CPU, with the models of the registry."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import longtake
from longtake.engine import PRECISIONS, narrow, precision_of, running
from longtake.errors import CapabilityError
from longtake.registry import MODELS, SMALL
from longtake.stream import Stream


def small() -> nn.Module:
    from longtake.families.cut3r import Cut3r

    torch.manual_seed(5)
    return Cut3r(SMALL.tiny()).eval()


def frames(count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(3)
    base = rng.integers(0, 255, (12, 16, 3), dtype=np.uint8).repeat(8, 0).repeat(8, 1)
    return [np.roll(base, 3 * i, 1) for i in range(count)]


def test_matrices_are_narrow_and_nothing_else() -> None:
    model = narrow(small(), "bf16")
    assert precision_of(model) == "bf16"
    for part in model.modules():
        for parameter in part.parameters(recurse=False):
            narrowed = isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d)
            assert parameter.dtype == (torch.bfloat16 if narrowed else torch.float32), type(part)


def test_the_state_and_what_leaves_stay_wide_and_near() -> None:
    wide, near = Stream(small()), Stream(narrow(small(), "bf16"))
    for frame in frames(6):
        a, b = wide.step(frame), near.step(frame)
        assert b.points.dtype == b.world_from_cam.dtype == b.depth.dtype == torch.float32
        assert (a.depth - b.depth).abs().max() < 0.05 * a.depth.max()
        assert (a.world_from_cam - b.world_from_cam).abs().max() < 0.05
        assert not torch.equal(a.depth, b.depth), "bf16 was asked for and rounds"
    assert {t.dtype for t in near.state.tensors().values()} <= {torch.float32, torch.bool}
    assert near.describe()["precision"] == "bf16" and wide.describe()["precision"] == "float32"


def test_a_narrow_stream_resumes_bit_for_bit(tmp_path: Path) -> None:
    model = narrow(small(), "bf16")
    going = Stream(model)
    take = frames(6)
    for frame in take[:3]:
        going.step(frame)
    going.save(tmp_path / "s.safetensors")
    resumed = Stream.resume(model, tmp_path / "s.safetensors")
    for frame in take[3:]:
        assert torch.equal(going.step(frame).points, resumed.step(frame).points)  # type: ignore[union-attr]


@pytest.mark.parametrize("name", MODELS)
def test_every_family_runs_narrow(name: str) -> None:
    from longtake.registry import find

    entry = find(name)
    torch.manual_seed(1)
    with torch.device("cpu"):
        model = type(entry.build())(entry.config.tiny()).eval()
    stream = Stream(narrow(model, "bf16"))
    for frame in frames(2):
        p = stream.step(frame)
    assert p.points.isfinite().all() and p.points.dtype == torch.float32


def test_the_embedded_model_keeps_its_answer() -> None:
    """The shipped weights on eight frames of a real walk: depth within 1 % in the median, poses within a degree."""
    clip = Path(__file__).parents[2] / "examples" / "office_walk.mp4"
    streams = [longtake.load(device="cpu", precision=p).stream() for p in PRECISIONS]
    for i, frame in enumerate(longtake.video(clip)):
        a, b = (stream.step(frame) for stream in streams)
        if i == 7:
            break
    assert ((a.depth - b.depth).abs() / a.depth).median() < 0.01
    turn = a.world_from_cam[:3, :3].T @ b.world_from_cam[:3, :3]
    assert torch.rad2deg(torch.arccos(((turn.trace() - 1) / 2).clamp(-1, 1))) < 1


def test_unknown_precisions_are_named() -> None:
    with pytest.raises(CapabilityError, match="fp7.*float32, bf16"):
        narrow(small(), "fp7")
    with pytest.raises(CapabilityError, match="precision='half'"):
        longtake.load(device="cpu", precision="half")


def test_no_gradients_and_no_autocast_in_float32() -> None:
    with running(small()):
        assert not torch.is_grad_enabled() and not torch.is_autocast_enabled("cpu")
    with running(narrow(small(), "bf16")):
        assert torch.is_autocast_enabled("cpu")
    assert torch.is_grad_enabled()
