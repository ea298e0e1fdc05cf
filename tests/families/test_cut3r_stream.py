# SPDX-License-Identifier: Apache-2.0
"""Frames in, predictions out: what a stream returns is what the twin and section 8.2 of the kit's text say."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from case_files import DATA, NAMES, read_case, worst
from cut3r_twin import Seen, View
from hypothesis import example, given, settings
from hypothesis import strategies as st
from twin_cases import chain, matrix, weiszfeld

from longtake.errors import CapabilityError, InputError
from longtake.families.cut3r import Cut3r
from longtake.frame import Prediction
from longtake.stream import Stream, Streams

SIZES = [(48, 80), (80, 48), (16, 80), (80, 64)]  # height, width; the models' longest side is 80
names = pytest.mark.parametrize("name", NAMES)


def picture(seed: int, size: tuple[int, int]) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)


def seen_as(picture: np.ndarray) -> torch.Tensor:
    """Section 3: channels first, (u8 / 255 - 0.5) / 0.5, in float32 as images come."""
    return ((torch.tensor(picture).float() / 255 - 0.5) / 0.5).permute(2, 0, 1)


def agree(prediction: Prediction, seen: Seen, world_from_cam: torch.Tensor) -> None:
    fields = seen.fields
    points = fields["pts3d_in_self_view"]
    f = weiszfeld(points)
    height, width = points.shape[:2]
    k = torch.tensor([[f, 0, width // 2], [0, f, height // 2], [0, 0, 1]], dtype=torch.float64)
    assert worst(prediction.world_from_cam, world_from_cam) < 1e-9
    assert worst(prediction.points_self, points) < 1e-10
    assert worst(prediction.points, points @ world_from_cam[:3, :3].T + world_from_cam[:3, 3]) < 1e-9
    assert worst(prediction.confidence, fields["conf_self"]) < 1e-10
    assert worst(prediction.depth, points[..., 2].clamp(min=0)) < 1e-10
    chunk = world_from_cam @ torch.linalg.inv(matrix(fields["camera_pose"]))  # the world head knows its chunk only
    world = fields["pts3d_in_other_view"] @ chunk[:3, :3].T + chunk[:3, 3]
    assert worst(prediction.points_world, world) < 1e-9
    assert worst(prediction.confidence_world, fields["conf"]) < 1e-10
    assert worst(prediction.intrinsics, k) < 1e-8
    assert prediction.color is not None
    assert worst(prediction.color, fields["rgb"] * 0.5 + 0.5) < 1e-10
    assert prediction.color.min() > 0
    assert prediction.color.max() < 1


STEPS = st.lists(st.tuples(st.integers(0, 3), st.booleans(), st.booleans()), min_size=1, max_size=5)


@names
@settings(max_examples=8, deadline=None)
@given(steps=STEPS, rule=st.sampled_from(["ttt3r", "overwrite"]))
@example(steps=[(0, True, False), (1, True, True), (1, False, True), (2, True, True), (0, True, False)], rule="ttt3r")
def test_resets_feed_the_overlap_and_chain_the_poses(name: str, steps: list[tuple[int, bool, bool]], rule: str) -> None:
    case = read_case(DATA / name)
    stream = Stream(case.model(), rule=rule)
    views: list[View] = []
    predictions = []
    for i, (size, update, reset) in enumerate(steps):
        frame = picture(i, SIZES[size])
        predictions.append(stream.step(frame, update=update, reset=reset))
        views.append(View(seen_as(frame), None, update, reset))
        if reset:  # the demo's repetition of the same view, without the reset
            views.append(replace(views[-1], reset=False))
    seen = case.twin().run(views, "ttt3r" if rule == "ttt3r" else "cut3r")
    poses = torch.stack([each.fields["camera_pose"] for each in seen])
    world_from_cam, kept = chain(poses, [view.reset for view in views])
    assert len(kept) == len(predictions)
    for prediction, i, pose in zip(predictions, kept, world_from_cam, strict=True):
        agree(prediction, seen[i], pose)
    assert worst(stream.state.tokens[0], seen[-1].fields["state_after"]) < 1e-10
    assert worst(stream.state.pose_memory[0], seen[-1].fields["mem_after"]) < 1e-10


@names
def test_reset_every_is_the_demos_reset_interval(name: str) -> None:
    model = read_case(DATA / name).model()
    frames = [picture(i, SIZES[0]) for i in range(5)]
    scheduled, explicit = Stream(model, reset_every=2), Stream(model)
    for i, frame in enumerate(frames):  # section 8.2: every view number i with (i + 1) mod k = 0
        a, b = scheduled.step(frame), explicit.step(frame, reset=(i + 1) % 2 == 0)
        assert torch.equal(a.points, b.points)
    assert torch.equal(scheduled.state.tokens, explicit.state.tokens)


@names
def test_queries_read_the_state_and_leave_it(name: str) -> None:
    case = read_case(DATA / name)
    stream, twin = Stream(case.model()), case.twin()
    rays = case.inputs["raymaps_L"][1]
    first = stream.query(rays.permute(2, 0, 1)[None])  # before any view, too, the pose token is read from the memory
    wanted = twin.ask(rays, twin.state_init, twin.mem_init)
    assert worst(first.pose[0], wanted["camera_pose"]) < 1e-10
    frames = [picture(i, SIZES[0]) for i in range(2)]
    for frame in frames:
        stream.step(frame)
    before = {key: tensor.clone() for key, tensor in stream.state.tensors().items()}
    last = twin.run([View(seen_as(frame)) for frame in frames], "ttt3r")[-1].fields
    for rays in (case.inputs["raymaps_L"][0], case.inputs["raymaps_P"][0]):
        asked = stream.query(rays.permute(2, 0, 1)[None])
        wanted = twin.ask(rays, last["state_after"], last["mem_after"])
        assert worst(asked.points_self[0], wanted["pts3d_in_self_view"]) < 1e-10
        assert worst(asked.points_world[0], wanted["pts3d_in_other_view"]) < 1e-10
        assert worst(asked.pose[0], wanted["camera_pose"]) < 1e-10
    assert all(torch.equal(tensor, before[key]) for key, tensor in stream.state.tensors().items())


def test_queries_of_the_wrong_shape_and_models_without_ray_maps() -> None:
    case = read_case(DATA / NAMES[0])
    streams = Streams(case.model(), 2)
    with pytest.raises(InputError, match=r"\(2, 6, H, W\)"):
        streams.query(torch.zeros(1, 6, 32, 32))
    with pytest.raises(InputError, match="multiples of 16"):
        streams.query(torch.zeros(2, 6, 32, 40))
    with pytest.raises(InputError, match="wanted"):
        streams.query(torch.zeros(2, 32, 32, 6))
    blind = Stream(Cut3r(replace(case.model().config, ray_depth=0)))
    with pytest.raises(CapabilityError, match="ray-map encoder"):
        blind.query(torch.zeros(1, 6, 32, 32))


def test_half_precision_rotation_is_what_the_twin_rounds() -> None:
    for name in NAMES:
        case = read_case(DATA / name)
        frame = picture(0, SIZES[0])
        prediction = Stream(case.model(rounded_rope=True)).step(frame)
        rounded, exact = (case.twin(half_rope=half).run([View(seen_as(frame))], "cut3r")[0] for half in (True, False))
        agree(prediction, rounded, world_from_cam=prediction.world_from_cam)
        assert worst(prediction.points_self, exact.fields["pts3d_in_self_view"]) > 1e-5
