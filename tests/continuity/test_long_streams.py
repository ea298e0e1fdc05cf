# SPDX-License-Identifier: Apache-2.0
"""Streams that go on: caps, cuts, nonsense from the model, resets by trigger, and chunks that share one world."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from stream_models import SMALL
from stream_models import build as build_tiny

from longtake.continuity.trigger import ResetTrigger, begin_trigger, pull
from longtake.families.cut3r import Cut3r
from longtake.frame import Prediction
from longtake.stream import Stream, Streams

CONFIG = replace(SMALL, image_size=64, encoder_width=16, state_heads=2, is_metric=True)
JOINS = ("exact", "scale", "sim3")
RULES = ["overwrite", "filt3r", "recal3r", "ttsa3r+memix+keyframe"]  # every kind of buffer and statistic


def build() -> Cut3r:
    return build_tiny(CONFIG)


def scene(seed: int, frames: int) -> list[np.ndarray]:
    """A camera that slides over a smooth random wall."""
    rng = np.random.default_rng(seed)
    wall = np.kron(rng.integers(0, 256, (6, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    return [np.ascontiguousarray(wall[:, 2 * t : 2 * t + 64]) for t in range(frames)]


def finite(stream: Streams) -> bool:
    return all(bool(t.isfinite().all()) for t in stream.state.tensors().values())


@pytest.mark.parametrize("rule", RULES)
def test_caps_duplicates_exposure_and_cuts(rule: str) -> None:
    stream = Stream(build(), rule=rule, reset_when=ResetTrigger(spent=6), join="scale")
    walk, other = scene(0, 20), scene(1, 6)
    take = [
        *walk[:6],
        *[np.zeros_like(walk[0])] * 50,
        *[walk[6]] * 5,
        *[(frame * gain).astype(np.uint8) for frame, gain in zip(walk[7:13], [1, 0.3, 1, 0.2, 1, 0.5], strict=True)],
        *other,
        np.full_like(walk[0], 255),
        *walk[13:16],
    ]
    nbytes = stream.state_bytes
    said = []
    for frame in take:
        p = stream.step(frame)
        said.append(p.tracking)
        assert p.world_from_cam.isfinite().all()
        assert p.points.isfinite().all()
        assert finite(stream)
    assert said[:6] == ["ok"] * 6
    assert said[6:56] == ["lost"] * 50
    assert said[67] == "lost", "the cut"
    assert said[73] == "lost", "all white"
    assert "lost" not in said[56:67]
    assert stream.state_bytes == nbytes


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("join", JOINS)
def test_a_head_that_says_nonsense_breaks_nothing(value: float, join: str) -> None:
    """The heads are made to speak nonsense for three frames, resets among them; afterwards all is as before."""
    model = build()
    stream = Stream(model, rule="filt3r", reset_every=4, join=join)
    broken = [p for p in model.heads.parameters() if p.dim() == 1]
    kept = [p.clone() for p in broken]
    for t, frame in enumerate(scene(0, 16)):
        for parameter, old in zip(broken, kept, strict=True):
            parameter.copy_(torch.full_like(old, value) if 6 <= t < 9 else old)
        p = stream.step(frame)
        assert finite(stream), t
        assert (p.tracking == "ok") == (t < 6 or t >= 9 + 10), t
        if not 6 <= t < 9:
            assert p.world_from_cam.isfinite().all()


def test_a_proposal_that_is_not_finite_is_not_written() -> None:
    model = build()
    streams = Streams(model, 2, rule="filt3r")
    for a, b in zip(scene(0, 3), scene(1, 3), strict=True):
        streams.step([a, b])
    before = {k: v.clone() for k, v in streams.state.tensors().items() if not k.startswith("watch")}
    norm = model.memory.state_norm.bias
    kept = norm.clone()
    norm.fill_(float("nan"))
    streams.step([scene(0, 4)[3], scene(1, 4)[3]])
    norm.copy_(kept)
    after = streams.state.tensors()
    assert all(torch.equal(after[k], v) for k, v in before.items())


def test_the_trigger_acts_a_frame_later_and_for_each_stream() -> None:
    streams = Streams(build(), 2, rule="overwrite", reset_when=ResetTrigger(spent=5, confidence=0, on_cut=True))
    a, b = scene(0, 40), [*scene(1, 4), *scene(2, 36)]
    resets = []
    for t in range(40):
        chain = streams.state.world_from_chunk.clone()
        streams.step([a[t], b[t]])
        resets.append(
            [not torch.equal(old, new) for old, new in zip(chain, streams.state.world_from_chunk, strict=True)]
        )
    first, second = ([t for t in range(40) if resets[t][i]] for i in range(2))
    assert first[0] == 10, "ten frames at rate one are twice five; the eleventh resets"
    assert np.diff(first).tolist() == [11] * (len(first) - 1)
    assert second[0] == 5, "the cut was frame four"


def test_low_confidence_halves_what_may_be_spent() -> None:
    trigger, memory = ResetTrigger(spent=3, confidence=0.7, on_cut=False), begin_trigger(2)
    code, never = torch.zeros(2, dtype=torch.int64), torch.zeros(2, dtype=torch.bool)
    due = []
    for t in range(8):
        sure = torch.tensor([1.0, 1.0 if t < 2 else 0.4])
        memory = pull(trigger, memory, torch.ones(2), sure, code, never)
        due.append(memory["due"].tolist())
    assert [d[0] for d in due].index(True) == 5
    assert [d[1] for d in due].index(True) == 2
    memory = pull(trigger, memory, torch.ones(2), torch.ones(2), code, torch.tensor([True, False]))
    assert memory["due"].tolist() == [False, True]
    assert memory["spent"].tolist() == [0, 9]


@pytest.mark.parametrize("join", JOINS)
def test_saved_in_the_middle_of_everything(tmp_path: Path, join: str) -> None:
    going = Stream(build(), rule="filt3r", reset_when=ResetTrigger(spent=0.5, confidence=2), join=join)
    take = [*scene(0, 9), *scene(1, 12)]
    for frame in take[:10]:
        going.step(frame)
    going.save(tmp_path / "s.safetensors")
    resumed = Stream.resume(build(), tmp_path / "s.safetensors")
    assert isinstance(resumed, Stream)
    assert (resumed.join, resumed.watch.trigger) == (going.join, going.watch.trigger)
    for frame in take[10:]:
        a, b = going.step(frame), resumed.step(frame)
        assert isinstance(b, Prediction)
        assert torch.equal(a.points, b.points)
        assert a.tracking == b.tracking
    assert not torch.equal(going.state.world_from_chunk, torch.eye(4)[None])
    assert all(torch.equal(t, resumed.state.tensors()[k]) for k, t in going.state.tensors().items())
    assert all(torch.equal(t, resumed.watch.tensors()[k]) for k, t in going.watch.tensors().items())


@pytest.mark.parametrize("join", ["scale", "sim3"])
def test_what_leaves_is_rigid_and_in_one_scale(join: str) -> None:
    model = build().double()
    stream = Stream(model, rule="ttt3r", reset_every=3, join=join)
    for frame in scene(0, 9):
        p = stream.step(frame)
        turn = p.world_from_cam[:3, :3]
        torch.testing.assert_close(turn @ turn.T, torch.eye(3).double(), rtol=0, atol=1e-6)
        moved = p.points_self @ turn.T + p.world_from_cam[:3, 3]
        torch.testing.assert_close(p.points, moved, rtol=0, atol=1e-9)
        torch.testing.assert_close(p.depth, p.points_self[..., 2].clamp_min(0), rtol=0, atol=0)
