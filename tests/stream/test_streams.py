# SPDX-License-Identifier: Apache-2.0
"""Several takes in one batch, each with its own frames, sizes and resets, equal as many single takes."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from stream_models import PUBLISHED, SMALL, build, picture

from longtake.errors import InputError
from longtake.frame import Frame, Prediction
from longtake.stream import Stream, Streams

models = pytest.mark.parametrize("config", [PUBLISHED, SMALL], ids=["published", "small"])
SIZES = [(32, 48), (48, 32), (16, 48)]
# Per stream and moment: no frame, or one of a size, perhaps with a reset after it.
MOMENT = st.one_of(st.none(), st.tuples(st.integers(0, 2), st.booleans()))


def close(a: Prediction, b: Prediction) -> None:
    for name in ("points", "confidence", "depth", "world_from_cam", "intrinsics", "points_world", "confidence_world"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), rtol=1e-9, atol=1e-9)
    assert torch.equal(a.image, b.image)
    assert (a.index, a.time) == (b.index, b.time)
    assert (a.color is None) == (b.color is None)


@models
@settings(max_examples=12, deadline=None)
@given(moments=st.lists(st.tuples(MOMENT, MOMENT, MOMENT), min_size=1, max_size=5), every=st.sampled_from([None, 2]))
def test_streams_equal_single_streams(config: object, moments: list, every: int | None) -> None:
    model = build(config).double()
    together = Streams(model, 3, reset_every=every)
    alone = [Stream(model, reset_every=every) for _ in range(3)]
    for t, moment in enumerate(moments):
        frames = [None if m is None else picture(10 * t + i, *SIZES[m[0]]) for i, m in enumerate(moment)]
        resets = [m is not None and m[1] for m in moment]
        predictions = together.step(frames, reset=resets)
        for stream, frame, reset, prediction in zip(alone, frames, resets, predictions, strict=True):
            if frame is None:
                assert prediction is None
            else:
                assert prediction is not None
                close(prediction, stream.step(frame, reset=reset))
    assert together.frames == [stream.frames[0] for stream in alone]
    for i, stream in enumerate(alone):
        for name, tensor in together.state.tensors().items():
            torch.testing.assert_close(tensor[i : i + 1], stream.state.tensors()[name], rtol=1e-9, atol=1e-9)


def test_a_stream_without_a_frame_does_not_move_by_a_bit() -> None:
    streams = Streams(build(SMALL), 2)
    streams.step([picture(0), picture(1)])
    before = {name: tensor.clone() for name, tensor in streams.state.tensors().items()}
    assert streams.step([picture(2), None], reset=True)[1] is None
    after = streams.state.tensors()
    assert all(torch.equal(after[name][1], before[name][1]) for name in after)
    assert not torch.equal(after["tokens"][0], before["tokens"][0])
    assert streams.frames == [2, 1]
    assert streams.step([None, None]) == [None, None]


@models
def test_portrait_and_landscape_in_one_take(config: object) -> None:
    stream = Stream(build(config))
    bytes_before = stream.state_bytes
    for i, (height, width) in enumerate([(32, 48), (48, 32), (16, 48), (48, 48), (32, 48)]):
        p = stream.step(picture(i, height, width))
        assert p.points.shape == (height, width, 3)
        assert p.depth.shape == p.confidence.shape == (height, width)
        assert p.image.shape == (height, width, 3)
        assert p.points.isfinite().all()
    assert stream.state_bytes == bytes_before


def test_points_are_the_own_points_moved_by_the_pose() -> None:
    stream = Stream(build(SMALL).double(), reset_every=2)
    for i in range(5):
        p = stream.step(picture(i))
        moved = p.points_self @ p.world_from_cam[:3, :3].T + p.world_from_cam[:3, 3]
        torch.testing.assert_close(p.points, moved, rtol=0, atol=1e-12)
        torch.testing.assert_close(p.depth, p.points_self[..., 2], rtol=0, atol=0)
        rotation = p.world_from_cam[:3, :3]
        torch.testing.assert_close(rotation @ rotation.T, torch.eye(3).double(), rtol=0, atol=1e-12)


@models
def test_after_a_reset_all_points_stay_in_the_world_of_the_take(config: object) -> None:
    model = build(config).double()
    going, fresh = Stream(model), Stream(model)
    last = going.step(picture(0), reset=True)
    fresh.step(picture(0))
    for i in (1, 2):
        ours, theirs = going.step(picture(i)), fresh.step(picture(i))
        turn, shift = last.world_from_cam[:3, :3], last.world_from_cam[:3, 3]
        torch.testing.assert_close(ours.world_from_cam, last.world_from_cam @ theirs.world_from_cam)
        torch.testing.assert_close(ours.points, theirs.points @ turn.T + shift)
        torch.testing.assert_close(ours.points_world, theirs.points_world @ turn.T + shift)


@models
def test_weights_in_half_precision_leave_poses_in_full(config: object) -> None:
    stream = Stream(build(config).bfloat16(), reset_every=2)
    for i in range(4):
        p = stream.step(picture(i))
        assert p.world_from_cam.dtype == stream.state.world_from_chunk.dtype == torch.float32
        assert p.points.isfinite().all()
        turn = p.world_from_cam[:3, :3]
        torch.testing.assert_close(turn @ turn.T, torch.eye(3), rtol=0, atol=1e-5)


def test_colour_only_where_there_is_a_colour_head() -> None:
    color = Stream(build(PUBLISHED)).step(picture(0)).color
    assert color is not None
    assert color.shape == (32, 48, 3)
    assert 0 <= color.min() <= color.max() <= 1
    assert Stream(build(SMALL)).step(picture(0)).color is None


def test_metric_or_not_is_passed_on_with_the_frames_own_facts() -> None:
    frame = Frame(picture(3), time=2.5, index=40, name="a.png")
    for config in (PUBLISHED, SMALL):
        p = Stream(build(config)).step(frame)
        assert p.is_metric == config.is_metric
        assert (p.index, p.time, p.name) == (40, 2.5, "a.png")
        assert p.pixel_map is not None
        assert p.pixel_map.size == (48, 32)


def test_mistakes_are_named() -> None:
    model = build(SMALL)
    with pytest.raises(InputError, match="0 streams"):
        Streams(model, 0)
    with pytest.raises(InputError, match="reset_every=0"):
        Stream(model, reset_every=0)
    streams = Streams(model, 2)
    with pytest.raises(InputError, match="1 frames for 2 streams"):
        streams.step([picture(0)])
    with pytest.raises(InputError, match="3 resets for 2 streams"):
        streams.step([picture(0), None], reset=[True, False, True])
    with pytest.raises(InputError, match="uint8"):
        streams.step([picture(0).astype("float32"), None])
