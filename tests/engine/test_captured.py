# SPDX-License-Identifier: Apache-2.0
"""Captured graphs against plain calls: the same streams, some without a frame, some reset, of two picture sizes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from longtake.engine import Tuning, tune
from longtake.engine.fp8 import EightBitLinear, eight_bits, plain_product
from longtake.errors import CapabilityError
from longtake.families.cut3r import Cut3r
from longtake.families.vggt import Vggt
from longtake.frame import Frame
from longtake.nn import Lanes
from longtake.predictions import Prepared
from longtake.registry import SMALL, find
from longtake.stream import Stream, Streams

gpu = pytest.mark.gpu


def build(device: str) -> Cut3r:
    torch.manual_seed(5)
    return Cut3r(SMALL.tiny()).eval().to(device)


def picture(i: int, height: int = 64, width: int = 96) -> np.ndarray:
    return np.random.default_rng(i).integers(0, 255, (height, width, 3), dtype=np.uint8)


def test_where_no_graph_can_be_it_says_so() -> None:
    with pytest.raises(CapabilityError, match="CUDA device.*cpu"):
        Stream(build("cpu"), graphs=True)
    assert Stream(build("cpu")).describe()["engine"] == "plain"


@gpu
def test_memories_that_grow_are_refused() -> None:
    model = Vggt(find("vggt").config.tiny()).eval().cuda()
    with pytest.raises(CapabilityError, match="grows"):
        Stream(model, graphs=True)


@gpu
@pytest.mark.parametrize("rule", ["ttt3r", "filt3r+memix", "keyframe"])
def test_graphs_say_what_plain_calls_say(rule: str) -> None:
    model = build("cuda")
    plain = Streams(model, 3, rule=rule, reset_every=4)
    captured = Streams(model, 3, rule=rule, reset_every=4, graphs=True)
    assert captured.describe()["engine"] == "captured"
    kept = []
    for i in range(12):
        size = (64, 96) if i % 5 else (96, 64)
        frames = [None if (i + k) % 4 == 0 else picture(10 * i + k, *size) for k in range(3)]
        for a, b in zip(plain.step(frames), captured.step(frames), strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                torch.testing.assert_close(a.points, b.points, rtol=1e-4, atol=1e-4)
                torch.testing.assert_close(a.world_from_cam, b.world_from_cam, rtol=1e-4, atol=1e-4)
                kept.append((b.points, b.points.clone()))
    assert all(torch.equal(now, then) for now, then in kept), "a later frame overwrote a prediction"
    for name, tensor in plain.state.tensors().items():
        torch.testing.assert_close(tensor, captured.state.tensors()[name], rtol=1e-4, atol=1e-4)


@gpu
def test_a_captured_stream_is_saved_resumed_and_moved(tmp_path: Path) -> None:
    model = build("cuda")
    going = Stream(model, graphs=True)
    for i in range(3):
        going.step(picture(i))
    going.save(tmp_path / "s.safetensors")
    resumed = Stream.resume(model, tmp_path / "s.safetensors")
    for i in range(3, 6):
        a, b = going.step(picture(i)), resumed.step(picture(i))
        torch.testing.assert_close(a.points, b.points, rtol=1e-4, atol=1e-4)  # type: ignore[union-attr]


@gpu
def test_a_tuned_graph_says_what_plain_calls_say() -> None:
    """Lanes are streams here: were a lane not joined, or its memory given away too early, numbers would differ."""
    tuning = Tuning(lanes=True, joint=True, tables=True, channels_last=True, benchmark=True, attention="cudnn")
    config = find("cut3r-512").config.tiny()
    torch.manual_seed(5)
    plain, tuned = (Cut3r(config).eval().requires_grad_(False).cuda() for _ in range(2))
    tuned.load_state_dict(plain.state_dict())
    tune(tuned, tuning)
    one, two = Streams(plain, 2, reset_every=4), Streams(tuned, 2, reset_every=4, graphs=True)
    three = Streams(tuned, 2, reset_every=4)
    for i in range(40):
        frames = [picture(2 * i, 36, 48), None if i % 3 == 1 else picture(2 * i + 1, 36, 48)]
        for a, *others in zip(one.step(frames), two.step(frames), three.step(frames), strict=True):
            for b in others:
                if a is not None and b is not None:
                    torch.testing.assert_close(b.points, a.points, rtol=1e-3, atol=1e-3)
                    torch.testing.assert_close(b.points_world, a.points_world, rtol=1e-3, atol=1e-3)
                    torch.testing.assert_close(b.world_from_cam, a.world_from_cam, rtol=1e-3, atol=1e-3)
    for name, tensor in one.state.tensors().items():
        torch.testing.assert_close(two.state.tensors()[name], tensor, rtol=1e-3, atol=1e-3)


@gpu
@pytest.mark.parametrize("settings", [{}, {"lanes": True, "joint": True, "tables": True}])
def test_a_graph_that_looks_ahead_says_what_plain_calls_say(settings: dict[str, bool]) -> None:
    """The next frame is encoded while this one is decoded: were a token overwritten too early, numbers would differ.

    With streams that join and leave, resets with their repeated frame, sizes that change, and frames that are not told.
    """
    torch.manual_seed(5)
    config = find("cut3r-512").config.tiny()
    plain, tuned = (Cut3r(config).eval().requires_grad_(False).cuda() for _ in range(2))
    tuned.load_state_dict(plain.state_dict())
    tune(tuned, Tuning(ahead=True, **settings))
    one, two = Streams(plain, 2, reset_every=4), Streams(tuned, 2, reset_every=4, graphs=True)
    assert two.describe()["engine"] == "captured" and "ahead" in two.describe()["tuning"]
    rows: list[list[Prepared | None]] = []
    for i in range(40):
        size = (36, 48) if i % 9 != 8 else (48, 36)
        frames = [Frame(picture(2 * i + k, *size), i / 30, i) for k in range(2)]
        rows.append([one.prepare(frames[0]), None if i % 6 == 1 else one.prepare(frames[1])])
    kept = []
    for i, (row, following) in enumerate(zip(rows, [*rows[1:], []], strict=True)):
        told = following if i % 5 else []
        for a, b in zip(one.step(row), two.step(row, upcoming=told), strict=True):
            assert (a is None) == (b is None)
            if a is not None and b is not None:
                torch.testing.assert_close(b.points, a.points, rtol=1e-3, atol=1e-3)
                torch.testing.assert_close(b.points_world, a.points_world, rtol=1e-3, atol=1e-3)
                torch.testing.assert_close(b.world_from_cam, a.world_from_cam, rtol=1e-3, atol=1e-3)
                kept += [(t, t.clone()) for t in (b.confidence, b.confidence_world, b.points_self)]
    assert all(torch.equal(now, then) for now, then in kept), "a later frame overwrote a prediction"
    for name, tensor in one.state.tensors().items():
        torch.testing.assert_close(two.state.tensors()[name], tensor, rtol=1e-3, atol=1e-3)


@gpu
def test_lanes_are_streams_of_their_own() -> None:
    """PyTorch hands out 32 streams in turn: after that many, a lane could be the stream that it should run beside."""
    device = torch.device("cuda", torch.cuda.current_device())
    lanes = Lanes()
    for _ in range(40):
        main = torch.cuda.Stream(device)
        with torch.cuda.stream(main):
            for lane in range(3):
                lanes.run(lane, device, torch.zeros, 1)
            lanes.join(device)
        assert len({stream.cuda_stream for stream in (main, *lanes.streams.values())}) == 4


@gpu
def test_eight_bit_products_of_the_device_and_the_plain_ones() -> None:
    torch.manual_seed(1)
    rows, scale = eight_bits(torch.randn(769, 1024))
    weight, weight_scale = eight_bits(torch.randn(3072, 1024))
    layer = torch.nn.Linear(1024, 3072).cuda()
    layer.__class__ = EightBitLinear
    layer.weight = torch.nn.Parameter(weight.cuda(), requires_grad=False)
    layer.weight_scale = weight_scale.t().contiguous().cuda()
    layer.bias = torch.nn.Parameter(layer.bias.detach().bfloat16(), requires_grad=False)
    made = layer((rows.float() * scale).cuda()).cpu()
    wanted = plain_product(rows, scale, weight, weight_scale.t(), layer.bias.cpu())
    assert (made.float() - wanted.float()).norm() / wanted.float().norm() < 0.01
