# SPDX-License-Identifier: Apache-2.0
"""VGGT and StreamVGGT: who may see whom, and a stream says what the pass over all frames says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from tiny_models import picture, tiny
from torch import Tensor

from longtake.errors import CapabilityError, CheckpointError
from longtake.families.streamvggt import StreamVggt
from longtake.families.vggt import Vggt, VggtOutputs
from longtake.families.vggt_config import VggtConfig
from longtake.frame import Flags, Prediction, Views
from longtake.geometry.pose import inverse
from longtake.geometry.pose_encoding import decode_camera
from longtake.memory.alternating import causal_mask
from longtake.memory.cache import caches_of
from longtake.memory.keep import at_least_two
from longtake.stream import Stream
from longtake.tokenize.images import to_tensor

DENSE = ("depth", "confidence", "points_world", "confidence_world")


def frames_of(count: int, height: int = 42, width: int = 56) -> Tensor:
    """(1, count, 3, height, width) in [0, 1]."""
    return torch.rand(1, count, 3, height, width, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def said_of(model: Vggt, images: Tensor) -> dict[str, Tensor]:
    """The outputs by name, (S, ...)."""
    said = model(images)
    return {name: getattr(said, name)[0] for name in DENSE} | {"pose": said.pose_rounds[-1, 0]}


def assert_same(a: dict[str, Tensor], b: dict[str, Tensor]) -> None:
    assert a.keys() == b.keys()
    for name, tensor in a.items():
        torch.testing.assert_close(tensor, b[name], rtol=1e-9, atol=1e-9)


def differs(a: Tensor, b: Tensor) -> bool:
    return bool((a - b).abs().max() > 1e-4)


def test_frames_after_the_first_come_in_any_order() -> None:
    model, images = tiny("vggt").double(), frames_of(5)
    order = [0, 3, 1, 4, 2]
    straight, shuffled = said_of(model, images), said_of(model, images[:, order])
    assert_same({name: tensor[order] for name, tensor in straight.items()}, shuffled)


def test_the_first_frame_is_not_like_the_others() -> None:
    model, images = tiny("vggt").double(), frames_of(3)
    straight, swapped = said_of(model, images), said_of(model, images[:, [1, 0, 2]])
    assert differs(straight["pose"][2], swapped["pose"][2])


@pytest.mark.parametrize("name", ["vggt", "streamvggt"])
def test_only_causal_attention_leaves_earlier_frames_alone(name: str) -> None:
    model, images = tiny(name).double(), frames_of(4)
    other = images.clone()
    other[:, 2:] = 1 - other[:, 2:]
    before, after, prefix = said_of(model, images), said_of(model, other), said_of(model, images[:, :2])
    if name == "streamvggt":
        for changed in (after, prefix):
            assert_same({k: t[:2] for k, t in before.items()}, {k: t[:2] for k, t in changed.items()})
    else:
        assert differs(before["pose"][:2], after["pose"][:2])
        assert differs(before["depth"][:2], after["depth"][:2])
    assert differs(before["depth"][2:], after["depth"][2:])


def test_each_frame_of_a_batch_sees_its_own_take_only() -> None:
    for name in ("vggt", "streamvggt"):
        model, images = tiny(name).double(), frames_of(4).unflatten(1, (2, 2))[0]  # two takes of two frames
        both = model(images)
        for i in (0, 1):
            alone = model(images[i : i + 1])
            for field in ("depth", "points_world", "confidence"):
                torch.testing.assert_close(getattr(both, field)[i], getattr(alone, field)[0], rtol=1e-9, atol=1e-9)
            torch.testing.assert_close(both.pose_rounds[:, i], alone.pose_rounds[:, 0], rtol=1e-9, atol=1e-9)


def test_the_causal_mask_is_by_frame() -> None:
    mask = causal_mask(3, 2)
    for query in range(6):
        assert mask[query].tolist() == [key // 2 <= query // 2 for key in range(6)]


# --- streams ---


def as_seen(model: Vggt, count: int) -> tuple[list, Tensor]:
    """Pictures, and what the model sees of them."""
    pictures = [picture(i) for i in range(count)]
    seen = torch.stack([to_tensor(model.prepare(p)[0]) for p in pictures])[None].double()
    return pictures, seen * 0.5 + 0.5


def assert_says(prediction: Prediction, said: VggtOutputs, row: int, *, pose: bool = True) -> None:
    """A prediction is row `row` of a pass over all frames."""
    close = torch.testing.assert_close
    close(prediction.depth, said.depth[0, row], rtol=1e-9, atol=1e-9)
    close(prediction.confidence, said.confidence[0, row], rtol=1e-9, atol=1e-9)
    close(prediction.points_world, said.points_world[0, row], rtol=1e-9, atol=1e-9)
    if pose:
        height, width = prediction.depth.shape
        cam_from_world, _ = decode_camera(said.pose_rounds[-1, 0, row], height, width)
        close(prediction.world_from_cam, inverse(cam_from_world), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("window", [None, 2, 3, 9])
def test_full_attention_says_what_a_pass_over_the_window_says(window: int | None) -> None:
    model = tiny("vggt").double()
    pictures, seen = as_seen(model, 5)
    stream = Stream(model, window=window)
    for t, shown in enumerate(pictures):
        p = stream.step(shown)
        read = list(range(t + 1))
        if window is not None and t + 1 > window:
            read = [0, *read[t + 2 - window :]]
        said = model(seen[:, read])
        everyone = [*p.revised, p]
        assert [q.index for q in everyone] == read
        for row, q in enumerate(everyone):
            assert_says(q, said, row)


def test_without_revision_the_newest_frame_is_said_the_same() -> None:
    model = tiny("vggt").double()
    revising, plain = Stream(model), Stream(model, revise=False)
    for t in range(3):
        a, b = revising.step(picture(t)), plain.step(picture(t))
        assert (len(a.revised), len(b.revised)) == (t, 0)
        torch.testing.assert_close(a.points, b.points, rtol=1e-9, atol=1e-9)
    assert plain.state_bytes < revising.state_bytes  # no pictures are kept for nobody


def test_causal_streams_say_what_the_batched_pass_says_but_for_poses() -> None:
    model = tiny("streamvggt").double()
    pictures, seen = as_seen(model, 5)
    said, stream = model(seen), Stream(model)
    predictions = [stream.step(shown) for shown in pictures]
    for row, p in enumerate(predictions):
        assert_says(p, said, row, pose=False)
    height, width = predictions[0].depth.shape
    batched, _ = decode_camera(said.pose_rounds[-1, 0], height, width)
    assert differs(torch.stack([p.world_from_cam for p in predictions]), inverse(batched))


def test_the_cameras_cache_holds_every_round_of_every_frame() -> None:
    """Round 0 of the first frame has nothing else to read and equals the batched one; round 1 already does not."""
    model = tiny("streamvggt").double()
    _, seen = as_seen(model, 3)
    said, keep, state = model(seen), model.writer(), model.begin(1)
    for t in range(3):
        tokens = model.tokenize(Views(image=seen[:, t] * 2 - 1))
        reading = model.exchange(state, tokens, keep)
        if t == 0:
            torch.testing.assert_close(reading.pose_rounds[0, 0, 0], said.pose_rounds[0, 0, 0], rtol=1e-9, atol=1e-9)
            assert differs(reading.pose_rounds[1, 0, 0], said.pose_rounds[1, 0, 0])
        state = model.commit(state, reading, keep, Flags.plain(1))
        caches = caches_of("camera", state.memories[0])
        assert caches is not None
        assert {keys.shape[-2] for keys, _ in caches} == {4 * (t + 1)}


def test_a_budget_bounds_the_cache_and_a_wide_one_changes_nothing() -> None:
    model = tiny("streamvggt").double()
    free, wide, tight = Stream(model), Stream(model, budget=6), Stream(model, budget=2)
    sizes: list[int] = []
    for t in range(6):
        a, b, c = (stream.step(picture(t)) for stream in (free, wide, tight))
        torch.testing.assert_close(a.points, b.points, rtol=0, atol=0)
        if t < 2:  # nothing was dropped before the third frame read
            torch.testing.assert_close(a.points, c.points, rtol=0, atol=0)
        sizes.append(tight.state_bytes)
    assert len(set(sizes[1:])) == 1
    assert differs(a.depth, c.depth)


def test_the_first_frame_stays_whole_under_a_budget() -> None:
    model = tiny("streamvggt").double()
    stream = Stream(model, budget=2)
    stream.step(picture(0))
    start = {name: tensor.clone() for name, tensor in stream.state.memories[0].items() if name != "first"}
    for t in range(1, 5):
        stream.step(picture(t))
    for name, tensor in stream.state.memories[0].items():
        if name != "first":
            assert torch.equal(tensor[..., : start[name].shape[-2], :], start[name])


def test_another_size_in_one_take() -> None:
    """A cache does not mind; full attention says what to do."""
    shapes: Sequence[tuple[int, int]] = ((60, 84), (84, 60), (30, 84))
    stream = Stream(tiny("streamvggt"))
    for shape in shapes:
        p = stream.step(picture(0, *shape))
        assert p.points.isfinite().all()
    stream = Stream(tiny("vggt"))
    stream.step(picture(0))
    before = stream.state.tensors()
    with pytest.raises(CapabilityError, match=r"56 x 56 pixels in a take of 56 x 42.*one size"):
        stream.step(picture(0, 84, 60))
    assert stream.state.tensors().keys() == before.keys()
    assert stream.step(picture(1), reset=True).points.isfinite().all()


@pytest.mark.parametrize(("name", "option"), [("vggt", "window"), ("streamvggt", "budget")])
def test_bounds_that_are_too_tight(name: str, option: str) -> None:
    with pytest.raises(CapabilityError, match=f"{option}=1: give at least 2"):
        Stream(tiny(name), **{option: 1})


@pytest.mark.parametrize("value", [1, 0, -3, 2.5, "4"])
def test_bounds_are_whole_numbers_of_frames(value: object) -> None:
    with pytest.raises(CapabilityError, match=f"budget={value!r}: give at least 2"):
        at_least_two("budget", value)
    at_least_two("budget", np.int64(2))


def test_views_without_an_image() -> None:
    with pytest.raises(CapabilityError, match="images only"):
        tiny("vggt").tokenize(Views(rays=torch.zeros(1, 6, 28, 28)))


def test_a_clipped_view_angle_leaves_finite_cameras() -> None:
    model = tiny("vggt")
    model.camera_head.pose_branch.fc2.bias[7:] = -100.0
    assert model(frames_of(1).float()).pose_rounds[-1, ..., 7:].max() == 0
    p = Stream(model).step(picture(0))
    assert p.intrinsics.isfinite().all()
    assert p.points.isfinite().all()


# --- configurations ---


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"heads": 3}, "heads=3"),
        ({"dpt_read": (0, 1, 2)}, "dpt_read"),
        ({"dpt_read": (0, 1, 2, 24)}, "0 to 23"),
        ({"dpt_layers": (5, 8, 8, 8)}, "multiples of 4"),
        ({"image_size": 500}, "multiples of 14"),
        ({"later": 1}, "unknown entries"),
    ],
)
def test_numbers_that_no_model_has(changes: dict, words: str) -> None:
    with pytest.raises(CheckpointError, match=words):
        VggtConfig.from_dict(VggtConfig().to_dict() | changes)


def test_configurations_survive_their_plain_form() -> None:
    for config in (VggtConfig(), VggtConfig(causal=True).tiny()):
        assert VggtConfig.from_dict(config.to_dict()) == config
    assert VggtConfig.from_official({}) == VggtConfig()
    with pytest.raises(CheckpointError, match="causal=True"):
        StreamVggt(VggtConfig().tiny())
    with pytest.raises(CheckpointError, match=r"dino.embed_dim=7"):
        VggtConfig.from_official({"dino": {"embed_dim": 7}})
