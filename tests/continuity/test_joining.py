# SPDX-License-Identifier: Apache-2.0
"""Chunks in one world: the exact chain, the scale chain, the similarity; what holds when a model says nonsense."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtake.continuity.joining import camera_similarity, depth_scale, join_chunks, split_scale, weighted_median
from longtake.errors import InputError
from longtake.frame import Heads
from longtake.geometry.pose import inverse, transform, world_from_cam

SEED = st.integers(0, 2**31)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def heads(n: int = 2, seed: int = 0) -> Heads:
    points = random(n, 6, 8, 3, seed=seed)
    points[..., 2] = points[..., 2].abs() + 0.5
    sure = 1 + random(n, 6, 8, seed=seed + 1).abs()
    return Heads(points, sure, points, sure, torch.cat((random(n, 3, seed=seed + 2), random(n, 4, seed=seed + 3)), 1))


@settings(max_examples=60, deadline=None)
@given(count=st.integers(1, 9), seed=SEED)
def test_weighted_median_is_its_definition(count: int, seed: int) -> None:
    values, weights = random(2, count, seed=seed), random(2, count, seed=seed + 1).abs()
    weights[1, : count // 2] = 0
    made = weighted_median(values, weights)
    for row in range(2):
        pairs = sorted(zip(values[row].tolist(), weights[row].tolist(), strict=True))
        half, run, wanted = sum(w for _, w in pairs) / 2, 0.0, float("nan")
        for value, weight in pairs:
            run += weight
            if run >= half * (1 - 1e-12):
                wanted = value
                break
        cost = [sum(w * abs(v - m) for v, w in pairs) for m in (float(made[row]), wanted)]
        assert cost[0] == pytest.approx(cost[1], abs=1e-9)
    assert weighted_median(values, weights * 0).tolist() == [1, 1]


@settings(max_examples=30, deadline=None)
@given(scale=st.floats(0.2, 4), seed=SEED, join=st.sampled_from(["scale", "sim3"]))
def test_a_chunk_in_another_world_is_brought_back(scale: float, seed: int, join: str) -> None:
    """The new chunk has another origin and scale; joined, the frame's points fall on those of the old chunk."""
    old = heads(seed=seed)
    new = replace(old, points_self=old.points_self / scale, pose=heads(seed=seed + 9).pose)
    chain = world_from_cam(heads(seed=seed + 5).pose)
    joined = join_chunks(join, chain, old, new, torch.tensor([True, True]))
    before = transform(chain @ world_from_cam(old.pose), old.points_self)
    after = transform(joined @ world_from_cam(new.pose), new.points_self)
    torch.testing.assert_close(after, before, rtol=1e-4, atol=1e-3)
    motion, size = split_scale(joined)
    torch.testing.assert_close(size, torch.full((2,), scale, dtype=torch.float64), rtol=1e-4, atol=0)
    turn = motion[:, :3, :3]
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(3).double().expand(2, 3, 3), rtol=0, atol=1e-4)


def test_exact_is_the_published_chain_to_the_bit() -> None:
    old, chain = heads(), world_from_cam(heads(seed=5).pose)
    reset = torch.tensor([True, False])
    joined = join_chunks("exact", chain, old, None, reset)
    assert torch.equal(joined[0], (chain @ world_from_cam(old.pose))[0])
    assert torch.equal(joined[1], chain[1])


def test_only_streams_that_reset_move() -> None:
    old, new, chain = heads(), heads(seed=4), world_from_cam(heads(seed=5).pose)
    for join in ("scale", "sim3"):
        joined = join_chunks(join, chain, old, new, torch.tensor([False, True]))
        assert torch.equal(joined[0], chain[0])
        assert not torch.equal(joined[1], chain[1])


def test_a_third_of_wild_pixels_does_not_move_the_scale() -> None:
    old = heads(1)
    new = replace(old, points_self=old.points_self / 2)
    wild = torch.rand(1, 6, 8, generator=torch.Generator().manual_seed(1)) < 0.33
    new.points_self[wild] = new.points_self[wild] * 37
    new.points_self[0, 0, 0] = float("nan")
    new.confidence_self[0, 0, 1] = float("inf")
    assert depth_scale(old, new).item() == pytest.approx(2, rel=1e-6)
    assert camera_similarity(old, new)[0, :3, 0].norm().item() == pytest.approx(2, rel=0.02)


@pytest.mark.parametrize("join", ["exact", "scale", "sim3"])
def test_nonsense_leaves_a_finite_chain(join: str) -> None:
    chain = world_from_cam(heads(seed=5).pose)
    every = torch.tensor([True, True])
    for value in (float("nan"), float("inf"), 0.0, -1.0):
        for name in ("points_self", "confidence_self", "pose"):
            new = replace(heads(seed=1), **{name: torch.full_like(getattr(heads(), name), value)})
            for old_says, new_says in ((heads(), new), (new, heads())):
                joined = join_chunks(join, chain, old_says, new_says, every)
                assert joined.isfinite().all(), (value, name)
                assert inverse(split_scale(joined)[0]).isfinite().all()


def test_another_name_is_refused() -> None:
    from longtake.continuity.joining import check_join

    with pytest.raises(InputError, match=r"'se3'.*exact, scale, sim3"):
        check_join("se3")
