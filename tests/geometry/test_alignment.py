# SPDX-License-Identifier: Apache-2.0
"""Pointmaps laid over one another: the torch form against the numpy one, and maps that leave nothing to lay."""

from __future__ import annotations

import numpy as np
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from longtake.geometry.alignment import align_maps, surest
from longtake.geometry.pose import transform
from longtake.geometry.rotation import matrix_from_quat_wxyz
from longtake.geometry.similarity import align


def maps(seed: int, n: int = 2) -> tuple[torch.Tensor, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    source = torch.randn(n, 6, 7, 3, dtype=torch.float64, generator=g)
    turn = matrix_from_quat_wxyz(torch.randn(n, 4, dtype=torch.float64, generator=g))
    scale = torch.rand(n, 1, 1, 1, dtype=torch.float64, generator=g) + 0.5
    shift = torch.randn(n, 1, 1, 3, dtype=torch.float64, generator=g)
    noise = 0.1 * torch.randn(n, 6, 7, 3, dtype=torch.float64, generator=g)
    return source, scale * (source @ turn.transpose(1, 2)[:, None]) + shift + noise


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), mirrored=st.booleans())
def test_it_is_umeyamas_solution(seed: int, mirrored: bool) -> None:
    source, target = maps(seed)
    if mirrored:  # where a mirror image would fit better, a rotation comes out all the same
        target = target * torch.tensor([-1.0, 1, 1], dtype=torch.float64)
    scale, motion = align_maps(source, target)
    for i in range(len(source)):
        wanted = align(source[i].reshape(-1, 3).numpy(), target[i].reshape(-1, 3).numpy())
        assert abs(float(scale[i]) - wanted.scale) < 1e-9
        np.testing.assert_allclose(motion[i, :3, :3].numpy(), wanted.rotation, atol=1e-8)
        np.testing.assert_allclose(motion[i, :3, 3].numpy(), wanted.translation, atol=1e-8)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6))
def test_points_of_no_weight_and_points_that_are_not_finite_do_not_count(seed: int) -> None:
    source, target = maps(seed)
    weight = torch.ones(source.shape[:3], dtype=torch.float64)
    weight[:, :2] = 0
    plain = align_maps(source[:, 2:], target[:, 2:])
    spoilt = target.clone()
    spoilt[:, :2] = 100
    for one, other in zip(plain, align_maps(source, spoilt, weight), strict=True):
        torch.testing.assert_close(one, other)
    spoilt[:, 0], spoilt[:, 1] = torch.nan, torch.inf
    for weights in (None, torch.ones_like(weight)):
        for one, other in zip(plain, align_maps(source, spoilt, weights), strict=True):
            torch.testing.assert_close(one, other)


def test_maps_that_leave_nothing_to_lay_give_a_rigid_motion() -> None:
    source = torch.randn(3, 4, 4, 3)
    target = source.clone()
    target[0] = torch.nan
    source[1] = 2.0
    scale, motion = align_maps(source, target)
    assert scale.isfinite().all()
    assert motion.isfinite().all()
    turn = motion[:, :3, :3]
    torch.testing.assert_close(turn @ turn.transpose(1, 2), torch.eye(3).expand(3, 3, 3), rtol=0, atol=1e-5)
    torch.testing.assert_close(transform(motion[2], scale[2] * source[2]), target[2], rtol=1e-4, atol=1e-4)


@settings(deadline=None)
@given(seed=st.integers(0, 10**6), share=st.floats(0.05, 1))
def test_the_surest_pixels_are_those_above_the_quantile(seed: int, share: float) -> None:
    place = (1 - share) * 44
    assume(place == round(place) or abs(place - round(place)) > 1e-6)  # else the last bit decides which side a pixel is
    confidence = torch.rand(2, 5, 9, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    limit = torch.quantile(confidence.flatten(1), 1 - share, dim=1)
    wanted = confidence.flatten(1) >= limit[:, None] - 1e-12
    made = surest(confidence, share).flatten(1)
    for row, mine in zip(wanted, made, strict=True):
        assert torch.equal(mine, row.double() if row.sum() >= 3 else torch.ones_like(mine))


def test_autocast_rounds_nothing() -> None:
    source, target = (each.float() for each in maps(3))
    wanted = align_maps(source, target)
    with torch.autocast("cpu", torch.bfloat16):
        made = align_maps(source, target)
    assert all(torch.equal(mine, theirs) for mine, theirs in zip(made, wanted, strict=True))
