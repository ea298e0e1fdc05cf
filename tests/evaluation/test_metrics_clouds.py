# SPDX-License-Identifier: Apache-2.0
"""Point clouds: alignment, ICP, normals and distances against plain twins and by what they must not change."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_oracle import random_path
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.evaluation.metrics.cloud_alignment import central_crop, fit_clouds
from longtake.evaluation.metrics.cloud_errors import cloud_errors, voxel_means
from longtake.evaluation.metrics.icp import icp
from longtake.evaluation.metrics.normals import estimate_normals

quick = settings(deadline=None, max_examples=20)
seeds = st.integers(0, 10_000)


def room(seed: int, n: int = 400) -> np.ndarray:
    """Points on three walls of a room."""
    rng = np.random.default_rng(seed)
    points = rng.uniform(0, 3, (n, 3))
    points[np.arange(n), np.arange(n) % 3] = 0
    return points


def moved(points: np.ndarray, motion: np.ndarray) -> np.ndarray:
    return points @ motion[:3, :3].T + motion[:3, 3]


def small_motion(seed: int, size: float) -> np.ndarray:
    rng, motion = np.random.default_rng(seed), np.eye(4)
    a, b = size * rng.normal(size=2)
    motion[:3, :3] = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]) @ np.array(
        [[1, 0, 0], [0, np.cos(b), -np.sin(b)], [0, np.sin(b), np.cos(b)]]
    )
    motion[:3, 3] = size * rng.normal(size=3)
    return motion


@quick
@given(seeds)
def test_figures_equal_a_table_of_all_distances(seed: int) -> None:
    g, p = room(seed, 150), room(seed + 1, 120)
    ng, np_ = estimate_normals(g), estimate_normals(p)
    found = cloud_errors(p, g, np_, ng, f_distance=0.2)
    table = np.linalg.norm(p[:, None] - g[None], axis=-1)
    to_true, to_predicted = table.min(1), table.min(0)
    assert (found.acc, found.acc_med) == pytest.approx((to_true.mean(), np.median(to_true)))
    assert (found.comp, found.comp_med) == pytest.approx((to_predicted.mean(), np.median(to_predicted)))
    same = np.abs((np_ * ng[table.argmin(1)]).sum(-1))
    assert (found.nc1, found.nc1_med) == pytest.approx((same.mean(), np.median(same)))
    precision, recall = (to_true < 0.2).mean(), (to_predicted < 0.2).mean()
    assert found.f_score == pytest.approx(2 * precision * recall / (precision + recall))
    assert found.chamfer == pytest.approx((to_true.mean() + to_predicted.mean()) / 2)


@quick
@given(seeds)
def test_a_perfect_cloud_scores_zero_in_any_order_and_any_world(seed: int) -> None:
    g, rng = room(seed), np.random.default_rng(seed)
    order, world = rng.permutation(len(g)), random_path(1, seed)[0]
    n = estimate_normals(g)
    found = cloud_errors(g[order], g, n[order], n)
    assert (found.acc, found.comp, found.f_score) == (0, 0, 1)
    assert (found.nc1, found.nc2) == pytest.approx((1, 1))
    p = g + 0.05 * rng.normal(size=g.shape)
    a = cloud_errors(p, g, estimate_normals(p), n)
    elsewhere = [moved(cloud, world) for cloud in (p[order], g)]
    b = cloud_errors(*elsewhere, *map(estimate_normals, elsewhere))
    for name in ("acc", "comp", "acc_med", "nc1", "nc2", "f_score"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-6)
    far = cloud_errors(2 * p, g, estimate_normals(p), n)
    assert far.acc > a.acc


@quick
@given(seeds)
def test_normals_equal_a_plain_twin_and_find_walls(seed: int) -> None:
    points = room(seed, 200)
    found = estimate_normals(points, 12)
    for i in range(0, len(points), 17):
        near = points[np.argsort(np.linalg.norm(points - points[i], axis=1), kind="stable")[:12]]
        values, vectors = np.linalg.eigh(np.cov(near.T))
        if values[1] > 1.5 * values[0]:
            assert abs(found[i] @ vectors[:, 0]) == pytest.approx(1, abs=1e-6)
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(len(points)))


def test_normals_of_next_to_nothing() -> None:
    for points in (np.zeros((0, 3)), np.ones((2, 3)), np.ones((40, 3))):
        np.testing.assert_array_equal(estimate_normals(points), np.tile([0.0, 0, 1], (len(points), 1)))


@quick
@given(seeds)
def test_icp_undoes_a_small_motion_and_steps_like_its_definition(seed: int) -> None:
    g = room(seed, 300)
    motion = small_motion(seed, 0.005)
    found = icp(moved(g, np.linalg.inv(motion)), g, updates=200)
    np.testing.assert_allclose(found.target_from_source, motion, atol=1e-6)
    assert (found.fitness, found.correspondences, found.reason) == (1, len(g), "")
    source = moved(g, np.linalg.inv(small_motion(seed, 0.03)))
    once = icp(source, g, updates=1)
    table = np.linalg.norm(source[:, None] - g[None], axis=-1)
    kept = table.min(1) <= 0.1
    x, y = source[kept], g[table.argmin(1)[kept]]
    u, _, vt = np.linalg.svd((y - y.mean(0)).T @ (x - x.mean(0)))
    turn = u @ np.diag([1, 1, np.linalg.det(u @ vt)]) @ vt
    np.testing.assert_allclose(once.target_from_source[:3, :3], turn, atol=1e-9)
    np.testing.assert_allclose(once.target_from_source[:3, 3], y.mean(0) - turn @ x.mean(0), atol=1e-9)


def test_icp_says_why_it_could_not() -> None:
    g = room(1)
    far = icp(g + 100, g)
    assert (far.fitness, far.correspondences) == (0, 0) and "no point has a partner" in far.reason
    assert "empty" in icp(np.zeros((0, 3)), g).reason
    line = np.linspace(0, 1, 9)[:, None] * [1.0, 0, 0]
    assert "degenerate" in icp(line, line + [0, 0.01, 0]).reason


@quick
@given(seeds, st.floats(0.01, 50), st.floats(-3, 3))
def test_alignment_undoes_a_shift_in_z_and_a_scale_and_no_turn(seed: int, scale: float, shift: float) -> None:
    g = room(seed) + [0, 0, 2]
    p = (g - g.min(0)) * scale + [0, 0, shift]
    off = fit_clouds(p, g).predicted(p) - g
    np.testing.assert_allclose(off, np.broadcast_to(off[0], off.shape), atol=1e-9)  # x and y may stay shifted
    assert off[0, 2] == pytest.approx(0, abs=1e-9)
    wide = g + [5, 0, 0]
    assert np.abs(fit_clouds(wide, g).predicted(wide) - g).max() == pytest.approx(5)


@pytest.mark.parametrize("side", [1, 75, 100, 223, 224, 225, 384, 512])
def test_the_crop_is_central_and_keeps_what_is_smaller(side: int) -> None:
    rows, columns = central_crop(side, 300)
    kept = range(side)[rows]
    assert len(kept) == min(side, 224)
    assert kept[0] == (0 if side < 224 else side // 2 - 112)
    assert (columns.start, columns.stop) == (38, 262)


def test_voxels_are_means_of_what_they_hold() -> None:
    points = np.array([[0, 0, 0], [0.2, 0, 0], [0.9, 0, 0], [5, 5, 5]])
    found = voxel_means(points, 1.0)  # cells begin at -0.5
    np.testing.assert_allclose(found[np.argsort(found[:, 0])], [[0.1, 0, 0], [0.9, 0, 0], [5, 5, 5]])
    assert len(voxel_means(np.zeros((0, 3)), 1.0)) == 0
