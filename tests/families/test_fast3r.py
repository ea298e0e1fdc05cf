# SPDX-License-Identifier: Apache-2.0
"""Fast3R beyond the kit's cases: order, batches, numbers of frames, and the stream against the pass over a set."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import torch
from tiny_models import picture, tiny
from torch import Tensor

from longtake.errors import CapabilityError
from longtake.families.fast3r import Fast3r, Fast3rConfig
from longtake.frame import Heads
from longtake.geometry.alignment import surest
from longtake.geometry.pose import world_from_cam
from longtake.geometry.similarity import align
from longtake.memory.joint import FRAMES, SEED, draw_seed, frame_numbers
from longtake.stream import Stream
from longtake.tokenize.images import to_tensor

NUMBERS = torch.tensor([[0, 7, 500, 42]])


def model() -> Fast3r:
    return tiny("fast3r").double()


def images(sizes: Sequence[tuple[int, int]], n: int = 1, seed: int = 0) -> list[Tensor]:
    g = torch.Generator().manual_seed(seed)
    return [torch.rand(n, 3, *size, dtype=torch.float64, generator=g) * 2 - 1 for size in sizes]


def parts(heads: Heads) -> dict[str, Tensor]:
    named = {f.name: getattr(heads, f.name) for f in fields(heads)}
    return {name: value for name, value in named.items() if isinstance(value, Tensor)}


def close(a: Heads, b: Heads, tolerance: float = 1e-9) -> None:
    mine, theirs = parts(a), parts(b)
    for name in mine:
        torch.testing.assert_close(mine[name], theirs[name], rtol=tolerance, atol=tolerance)


SIZES = [(32, 48), (48, 32), (16, 64), (32, 48)]


@torch.no_grad()
def test_views_after_the_first_come_in_any_order() -> None:
    """They are told apart by their numbers only; so is the first, whose number is 0."""
    net, views = model(), images(SIZES)
    said = net(views, NUMBERS)
    for order in ([0, 3, 1, 2], [2, 0, 3, 1]):
        again = net([views[i] for i in order], NUMBERS[:, order])
        for place, i in enumerate(order):
            close(again[place], said[i])


@torch.no_grad()
def test_a_batch_is_its_samples() -> None:
    net, views = model(), images([(32, 48)] * 3, n=2)
    numbers = torch.tensor([[0, 7, 500], [0, 1, 999]])
    together = net(views, numbers)
    for i in range(2):
        alone = net([view[i : i + 1] for view in views], numbers[i : i + 1])
        for one, both in zip(alone, together, strict=True):
            close(one, Heads(**{name: tensor[i : i + 1] for name, tensor in parts(both).items()}))


@torch.no_grad()
def test_every_view_reads_every_other_and_its_number() -> None:
    net, views = model(), images([(32, 48)] * 3)
    said = net(views, NUMBERS[:, :3])
    other = net([*views[:2], -views[2]], NUMBERS[:, :3])
    renumbered = net(views, torch.tensor([[0, 8, 500]]))
    for changed in (other, renumbered):
        assert all(not torch.allclose(a.points_world, b.points_world) for a, b in zip(said, changed, strict=True))


@torch.no_grad()
def test_the_pose_lays_the_own_points_over_the_world_points() -> None:
    """Where the model is surest no other similarity is nearer; the scale is in the own points already."""
    (said,) = model()(images([(32, 48)]), NUMBERS[:, :1])
    sure = surest(said.confidence_world)[0] > 0
    own, world = said.points_self[0][sure].numpy(), said.points_world[0][sure].numpy()
    wanted = align(own, world)
    assert abs(wanted.scale - 1) < 1e-9
    pose = world_from_cam(said.pose)[0].numpy()
    np.testing.assert_allclose(pose[:3, :3], wanted.rotation, atol=1e-8)
    np.testing.assert_allclose(pose[:3, 3], wanted.translation, atol=1e-8)


def test_numbers_are_drawn_as_the_text_says() -> None:
    torch.manual_seed(31)
    seed = int(torch.randint(0, 2**32, (1,)).item())
    generator = torch.Generator().manual_seed(seed)
    wanted = [torch.randperm(999, generator=generator)[:3] + 1 for _ in range(2)]
    torch.manual_seed(31)
    made = frame_numbers(2, 4, draw_seed())
    assert torch.equal(made, torch.cat((torch.zeros(2, 1, dtype=torch.int64), torch.stack(wanted)), 1))


@pytest.mark.parametrize("seed", [0, 5, None])
def test_numbers_are_distinct_and_a_longer_take_only_adds_some(seed: int | None) -> None:
    whole = frame_numbers(1, FRAMES, seed)
    assert sorted(whole[0].tolist()) == list(range(FRAMES))
    assert int(whole[0, 0]) == 0
    assert torch.equal(frame_numbers(1, 1, seed), whole[:, :1])
    assert torch.equal(frame_numbers(1, 17, seed), whole[:, :17])
    with pytest.raises(CapabilityError, match="window="):
        frame_numbers(1, FRAMES + 1, seed)


@torch.no_grad()
def test_calls_without_numbers_draw_new_ones() -> None:
    net, views = model(), images([(32, 48)] * 2)
    torch.manual_seed(1)
    one = net(views)
    other = net(views)
    torch.manual_seed(1)
    again = net(views)
    close(one[1], again[1], 0)
    assert not torch.allclose(one[1].points_world, other[1].points_world)


@torch.no_grad()
@pytest.mark.parametrize("window", [None, 3])
def test_a_stream_is_the_pass_over_what_it_kept(window: int | None) -> None:
    net = model()
    stream = Stream(net, window=window)
    frames = [picture(i) for i in range(5)]
    for i, frame in enumerate(frames):
        p = stream.step(frame)
        kept = list(range(i + 1)) if window is None or i < window else [0, *range(i - window + 2, i + 1)]
        seen = [to_tensor(net.prepare(frames[k])[0])[None].double() for k in kept]
        said = net(seen, frame_numbers(1, FRAMES, SEED)[:, kept])
        assert [r.index for r in p.revised] == kept[:-1]
        for row, heads in zip((*p.revised, p), said, strict=True):
            torch.testing.assert_close(row.points_self, heads.points_self[0])
            torch.testing.assert_close(row.points_world, heads.points_world[0])
            torch.testing.assert_close(row.confidence, heads.confidence_self[0])


def test_past_a_thousand_frames_numbers_come_again_only_after_they_left_the_window() -> None:
    memory: Any = tiny("fast3r").memory
    device = torch.device("cpu")
    drawn = [int(memory._number(taken, 1, device)) for taken in range(2500)]
    assert drawn.count(0) == 1
    for start in range(1, 1500, 97):
        assert len(set(drawn[start : start + FRAMES - 1])) == FRAMES - 1
    with pytest.raises(CapabilityError, match="window="):
        memory._number(FRAMES, FRAMES + 1, device)


def test_windows_that_are_too_small_and_the_default_configuration() -> None:
    with pytest.raises(CapabilityError, match="at least 2"):
        Stream(tiny("fast3r"), window=1)
    assert Fast3rConfig.from_official({}) == Fast3rConfig()
    assert Fast3rConfig.from_dict(Fast3rConfig().to_dict()) == Fast3rConfig()
