# SPDX-License-Identifier: Apache-2.0
"""Properties that pin down each figure: what is perfect, what changes nothing, what the naive guesses score."""

from __future__ import annotations

import numpy as np
import pytest
from evaluation_oracle import random_path, rotation
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from longtake.evaluation.figures import (
    align_similarity,
    angle_between,
    depth_figures,
    focal_error,
    pose_figures,
    pose_figures_by_length,
    rotation_angle,
    weighted_median,
)

quick = settings(deadline=None, max_examples=30)
depths = arrays(np.float64, st.integers(1, 40), elements=st.floats(0.1, 50))
seeds = st.integers(0, 10_000)
scales = st.floats(1e-3, 1e3)


def similar(path: np.ndarray, scale: float, seed: int) -> np.ndarray:
    """Move a path into another world: rotate and shift it, then scale its positions."""
    moved = random_path(1, seed)[0] @ path
    moved[:, :3, 3] *= scale
    return moved


@quick
@given(st.lists(st.tuples(st.floats(-9, 9), st.floats(0, 5)), min_size=1, max_size=30))
def test_weighted_median_beats_every_element(pairs: list[tuple[float, float]]) -> None:
    values, weights = np.array(pairs).T
    if weights.sum() == 0:
        assert np.isnan(weighted_median(values, weights))
        return
    cost = (weights * np.abs(values - values[:, None])).sum(1)  # a minimum of a piecewise linear sum lies on an element
    m = weighted_median(values, weights)
    assert m in values
    assert (weights * np.abs(values - m)).sum() <= cost.min() * (1 + 1e-12) + 1e-12


@quick
@given(depths, scales, seeds)
def test_no_other_scale_is_better(g: np.ndarray, unit: float, seed: int) -> None:
    z = unit * g * np.random.default_rng(seed).uniform(0.5, 2, g.size)
    figures = depth_figures(z, g)
    brute = min(np.abs(s * z - g).dot(1 / g) / g.size for s in g / z)
    assert figures.abs_rel == pytest.approx(brute, rel=1e-9, abs=1e-12)


@quick
@given(depths, scales)
def test_perfect_depth_scores_zero_in_any_unit(g: np.ndarray, unit: float) -> None:
    figures = depth_figures(unit * g, g)
    assert figures.abs_rel == pytest.approx(0, abs=1e-12)
    assert figures.delta == 1
    assert figures.scale == pytest.approx(1 / unit)


@quick
@given(depths, scales)
def test_constant_depth_scores_const(g: np.ndarray, guess: float) -> None:
    figures = depth_figures(np.full_like(g, guess), g)
    assert figures.abs_rel == pytest.approx(figures.const, rel=1e-9, abs=1e-12)
    brute = min(np.mean(np.abs(c - g) / g) for c in g)
    assert figures.const == pytest.approx(brute, rel=1e-9, abs=1e-12)


@quick
@given(depths, scales, seeds)
def test_depth_ignores_scale_and_order(g: np.ndarray, unit: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    z = g * rng.uniform(0.5, 2, g.size)
    shuffle = rng.permutation(g.size)
    a, b = depth_figures(z, g), depth_figures(unit * z[shuffle], g[shuffle])
    assert a.abs_rel == pytest.approx(b.abs_rel, rel=1e-9, abs=1e-12)


def test_unusable_depth_is_counted_and_costs_one_each() -> None:
    g = np.array([1.0, 2, 3, 4, 5, 0, 6])  # the 0 is unknown and does not count
    z = np.array([1.0, np.nan, np.inf, 0, -5, 9, 6])
    figures = depth_figures(z, g)
    assert (figures.pixels, figures.unusable) == (6, 4)
    assert figures.abs_rel == pytest.approx(4 / 6)
    assert figures.delta == pytest.approx(2 / 6)


@pytest.mark.parametrize("z", [np.nan, 0.0, -1.0, np.inf, 1e-320])
def test_nothing_usable_is_an_error_of_one(z: float) -> None:
    figures = depth_figures(np.full(4, z), np.ones(4))
    assert (figures.abs_rel, figures.delta, figures.unusable) == (1, 0, 4)


def test_no_true_depth_gives_nan() -> None:
    figures = depth_figures(np.ones(3), np.zeros(3))
    assert figures.pixels == 0 and np.isnan(figures.abs_rel)


def test_depth_by_hand() -> None:
    figures = depth_figures(np.array([1.0, 1, 1]), np.array([1.0, 2, 4]))
    # s = 1 costs 0 + 1/2 + 3/4, s = 2 costs 1 + 0 + 1/2, s = 4 costs more
    assert figures.scale == 1
    assert figures.abs_rel == pytest.approx(1.25 / 3)
    assert figures.delta == pytest.approx(1 / 3)


@quick
@given(seeds, st.floats(0, 180))
def test_rotation_angle_of_a_known_turn(seed: int, degrees: float) -> None:
    axis = np.random.default_rng(seed).normal(size=3)
    assert rotation_angle(rotation(axis, degrees)) == pytest.approx(degrees, abs=1e-6)


def test_small_angles_keep_their_digits() -> None:
    assert rotation_angle(rotation(np.array([1, 2, 3]), 1e-6)) == pytest.approx(1e-6, rel=1e-6)
    assert angle_between(np.array([1, 0, 0]), np.array([1, 1e-8, 0])) == pytest.approx(np.degrees(1e-8), rel=1e-6)


@quick
@given(seeds, scales, st.integers(2, 40))
def test_a_similar_path_is_perfect(seed: int, scale: float, frames: int) -> None:
    true = random_path(frames, seed)
    figures = pose_figures(similar(true, scale, seed + 1), true)
    assert figures.rotation == pytest.approx(0, abs=1e-5)
    assert figures.direction == pytest.approx(0, abs=1e-5)
    assert figures.ate_over_spread == pytest.approx(0, abs=1e-8)


@quick
@given(seeds, st.integers(2, 40))
def test_standing_still_scores_identity_and_one(seed: int, frames: int) -> None:
    true = random_path(frames, seed)
    figures = pose_figures(np.tile(np.eye(4), (frames, 1, 1)), true)
    assert figures.rotation == pytest.approx(figures.identity, rel=1e-9)
    assert figures.ate_over_spread == pytest.approx(1)
    assert figures.direction == 90


@quick
@given(seeds, seeds, st.integers(1, 40))
def test_ate_never_exceeds_the_spread(seed: int, other: int, frames: int) -> None:
    figures = pose_figures(random_path(frames, other), random_path(frames, seed))
    assert np.isnan(figures.ate_over_spread) if frames == 1 else 0 <= figures.ate_over_spread <= 1 + 1e-12


@quick
@given(seeds, seeds, scales)
def test_poses_ignore_the_choice_of_both_worlds(seed: int, other: int, scale: float) -> None:
    true, guess = random_path(12, seed), random_path(12, other)
    a, b = pose_figures(guess, true), pose_figures(similar(guess, scale, 5), similar(true, 1.0, 6))
    for name in ("rotation", "identity", "direction", "ate_over_spread", "spread"):
        assert getattr(a, name) == pytest.approx(getattr(b, name), rel=1e-6, abs=1e-6)


@quick
@given(seeds, scales)
def test_alignment_recovers_a_similarity_and_no_nearby_one_is_better(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    x, r, t = rng.normal(size=(10, 3)), random_path(1, seed)[0, :3, :3], rng.normal(size=3)
    s, found, shift = align_similarity(x, scale * x @ r.T + t)
    assert s == pytest.approx(scale)
    np.testing.assert_allclose(found, r, atol=1e-9)
    np.testing.assert_allclose(shift, t, atol=1e-8 * max(scale, 1))
    y = scale * x @ r.T + t + 0.3 * scale * rng.normal(size=x.shape)
    s, found, shift = align_similarity(x, y)

    def cost(s: float, r: np.ndarray, t: np.ndarray) -> float:
        return float(((s * x @ r.T + t - y) ** 2).sum())

    best = cost(s, found, shift)
    for _ in range(5):
        nearby = found @ rotation(rng.normal(size=3), 0.5)
        assert cost(s * rng.uniform(0.98, 1.02), nearby, shift + 0.01 * rng.normal(size=3)) >= best


def test_a_mirrored_path_is_not_repaired_by_a_reflection() -> None:
    true = random_path(30, 3)
    mirror = true.copy()
    mirror[:, 0, 3] *= -1
    assert np.linalg.det(align_similarity(mirror[:, :3, 3], true[:, :3, 3])[1]) == pytest.approx(1)
    assert pose_figures(mirror, true).ate_over_spread > 0.1


def test_direction_by_hand() -> None:
    true = np.tile(np.eye(4), (4, 1, 1))
    true[:, 0, 3] = [0, 0.5, 8, 10]  # frame 1 is nearer than a tenth of the largest distance: left out
    guess = true.copy()
    guess[1, :3, 3] = [-1, 0, 0]
    guess[2, :3, 3] = [0, 3, 0]  # 90 degrees off
    guess[3, :3, 3] = [1, 1, 0]  # 45 degrees off
    assert pose_figures(guess, true).direction == pytest.approx(67.5)


def test_a_lost_pose_costs_the_most_and_is_counted() -> None:
    true = random_path(5, 1)
    guess = true.copy()
    guess[2] = np.nan
    figures = pose_figures(guess, true)
    assert figures.unusable == 1
    assert figures.rotation == pytest.approx(180 / 4)
    assert figures.ate_over_spread == 1
    guess = true.copy()
    guess[0, 0, 0] = np.inf
    assert pose_figures(guess, true).rotation == 180


def test_prefixes_are_the_figures_of_the_first_frames() -> None:
    true, guess = random_path(40, 1), random_path(40, 2)
    by_length = pose_figures_by_length(guess, true)
    assert sorted(by_length) == [16, 32]
    assert by_length[16] == pose_figures(guess[:16], true[:16])


def test_focal_error_in_percent_of_the_median_frame() -> None:
    assert focal_error(np.array([110.0, 90, 105]), 100) == pytest.approx(5)
    assert focal_error(np.array([np.nan, -3]), 100) == 100


def test_shapes_must_agree() -> None:
    with pytest.raises(ValueError, match="one shape"):
        depth_figures(np.ones(3), np.ones(4))
    with pytest.raises(ValueError, match="T, 4, 4"):
        pose_figures(np.ones((3, 4, 4)), np.ones((4, 4, 4)))


@quick
@given(seeds, st.floats(1, 1e4))
def test_rounding_is_no_motion_and_small_motion_is(seed: int, away: float) -> None:
    rng = np.random.default_rng(seed)
    guess, true = random_path(6, seed), np.tile(np.eye(4), (6, 1, 1))
    true[:, :3, 3] = away + away * 1e-16 * rng.normal(size=(6, 3))
    still = pose_figures(guess, true)
    assert still.spread == 0 and np.isnan([still.ate_over_spread, still.direction]).all()
    true[:, :3, 3] += away * 1e-7 * rng.normal(size=(6, 3))
    assert pose_figures(guess, true).spread > 0
