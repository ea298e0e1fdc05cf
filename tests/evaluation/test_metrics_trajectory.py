# SPDX-License-Identifier: Apache-2.0
"""ATE and RPE: equal to evo on random paths, invariant to what they should be and to nothing else."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from evaluation_oracle import random_path
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.errors import InputError
from longtake.evaluation.metrics.association import associate, associate_by_time
from longtake.evaluation.metrics.trajectory import (
    ALIGNMENTS,
    Alignment,
    absolute_errors,
    align_path,
    relative_errors,
    rmse,
    spread,
    statistics,
)

quick = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)


def moved(path: np.ndarray, seed: int, scale: float = 1.0) -> np.ndarray:
    """The same path in another world, its positions times `scale`."""
    out = random_path(1, seed)[0] @ path
    out[:, :3, 3] *= scale
    return out


def drifted(path: np.ndarray, seed: int) -> np.ndarray:
    """A path that follows another with errors in position and rotation."""
    rng = np.random.default_rng(seed)
    out = path @ random_path(1, seed)[0]
    out[:, :3, 3] = 0.6 * path[:, :3, 3] + 0.1 * rng.normal(size=(len(path), 3)).cumsum(0)
    return out


def all_errors(p: np.ndarray, g: np.ndarray, how: Alignment) -> np.ndarray:
    return np.concatenate([absolute_errors(p, g, how), *relative_errors(p, g, how)])


# --- evo is the oracle: a development-time tool, never a dependency ---


@pytest.fixture(scope="module")
def evo() -> Any:
    try:
        from evo.core import metrics, sync, trajectory
    except ImportError:
        pytest.skip("evo is not installed (pip install evo): ATE, RPE and association were NOT compared with it")
    return metrics, sync, trajectory


def evo_path(evo: Any, poses: np.ndarray, times: np.ndarray) -> Any:
    return evo[2].PoseTrajectory3D(poses_se3=list(poses), timestamps=times)


@pytest.mark.parametrize("how", ["sim3", "se3", "scale", "origin", "none"])
def test_ate_and_rpe_equal_evo(evo: Any, how: Alignment) -> None:
    metrics, _, _ = evo
    for seed in range(20):
        g = random_path(int(np.random.default_rng(seed).integers(5, 60)), seed)
        p = moved(drifted(g, seed), seed + 1, 0.3 + seed / 7)
        times = np.arange(len(g)) / 10
        true, predicted = evo_path(evo, g, times), evo_path(evo, p, times)
        if how == "origin":
            predicted.align_origin(true)
        elif how != "none":
            predicted.align(true, correct_scale=how != "se3", correct_only_scale=how == "scale")
        ape = metrics.APE(metrics.PoseRelation.translation_part)
        ape.process_data((true, predicted))
        assert rmse(absolute_errors(p, g, how)) == pytest.approx(
            ape.get_statistic(metrics.StatisticsType.rmse), rel=1e-8
        )
        for mine, relation in zip(
            relative_errors(p, g, how),
            (metrics.PoseRelation.translation_part, metrics.PoseRelation.rotation_angle_deg),
            strict=True,
        ):
            rpe = metrics.RPE(relation, delta=1, delta_unit=metrics.Unit.frames, all_pairs=True)
            rpe.process_data((true, predicted))
            for name, value in statistics(mine).items():
                assert value == pytest.approx(rpe.get_all_statistics()[name], rel=1e-8, abs=1e-8), name


def test_association_equals_evo(evo: Any) -> None:
    _, sync, _ = evo
    rng = np.random.default_rng(0)
    for _ in range(40):
        g = np.sort(rng.uniform(0, 3, rng.integers(3, 60)))
        p = np.sort(rng.choice(g, rng.integers(1, len(g)), replace=False))  # no stamp twice: ties have no one answer
        p = np.sort(np.concatenate([p + rng.uniform(-0.02, 0.02, len(p)), rng.uniform(0, 3, rng.integers(0, 60))]))
        short, long = (g, p) if len(p) > len(g) else (p, g)
        first, second = sync.matching_time_indices(short, long, max_diff=0.01)
        wanted = np.stack([first, second], -1).reshape(-1, 2)
        wanted = wanted[:, ::-1] if len(p) > len(g) else wanted
        if not len(wanted):
            with pytest.raises(InputError, match="check that both clocks"):
                associate_by_time(p, g)
            continue
        np.testing.assert_array_equal(associate_by_time(p, g), wanted)


# --- properties ---


@quick
@given(seeds, st.integers(3, 30))
def test_a_perfect_path_scores_zero_under_every_alignment(seed: int, frames: int) -> None:
    g = random_path(frames, seed)
    for how in ALIGNMENTS:
        assert all_errors(g, g, how).max() < 1e-6
    assert all_errors(moved(g, seed + 1, 2.5), g, "sim3").max() < 1e-6
    assert all_errors(moved(g, seed + 1), g, "se3").max() < 1e-6
    assert all_errors(moved(g, seed + 1), g, "origin").max() < 1e-6


INVARIANT: dict[Alignment, tuple[bool, bool]] = {  # to the prediction's world, to its unit
    "sim3": (True, True),
    "se3": (True, False),
    "scale": (False, True),
    "origin": (True, False),
    "origin_scaled": (True, True),
    "none": (False, False),
}


@quick
@given(seeds)
@pytest.mark.parametrize("how", ALIGNMENTS)
def test_what_each_alignment_takes_away_and_what_not(how: Alignment, seed: int) -> None:
    g = random_path(15, seed)
    p = drifted(g, seed)
    before = rmse(absolute_errors(p, g, how))
    for change, stays in zip((moved(p, seed + 1), unit(p, 3.0)), INVARIANT[how], strict=True):
        after = rmse(absolute_errors(change, g, how))
        assert (after == pytest.approx(before, rel=1e-6)) is stays


def unit(path: np.ndarray, scale: float) -> np.ndarray:
    out = path.copy()
    out[:, :3, 3] *= scale
    return out


@quick
@given(seeds)
def test_order_matters_to_rpe_and_not_to_ate(seed: int) -> None:
    g = random_path(20, seed)
    p, order = drifted(g, seed), np.random.default_rng(seed).permutation(20)
    assert rmse(absolute_errors(p[order], g[order])) == pytest.approx(rmse(absolute_errors(p, g)), rel=1e-9)
    assert rmse(relative_errors(p[order], g[order])[0]) != pytest.approx(rmse(relative_errors(p, g)[0]), rel=1e-3)


@quick
@given(seeds)
def test_no_similarity_beats_the_alignment_and_a_still_camera_is_the_worst(seed: int) -> None:
    g = random_path(12, seed)
    p = drifted(g, seed)
    best, rng = rmse(absolute_errors(p, g)), np.random.default_rng(seed)
    aligned = align_path(p, g)
    nudged = moved_a_little(aligned, rng)
    assert rmse(absolute_errors(nudged, g, "none")) >= best
    assert best <= rmse(absolute_errors(p, g, "se3")) + 1e-12
    assert best <= spread(g) + 1e-12


def moved_a_little(path: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    out = path.copy()
    out[:, :3, 3] = out[:, :3, 3] * rng.uniform(0.97, 1.03) + 0.02 * rng.normal(size=3)
    return out


def test_equal_lengths_are_matched_by_index_whatever_the_clocks_say() -> None:
    np.testing.assert_array_equal(associate(np.arange(3.0), 1e9 + np.arange(3.0)), [[0, 0], [1, 1], [2, 2]])
    np.testing.assert_array_equal(associate(np.array([0.0, 1.005]), np.array([0.0, 0.5, 1.0])), [[0, 0], [1, 2]])


def still(frames: int) -> np.ndarray:
    return np.tile(np.eye(4), (frames, 1, 1))


@pytest.mark.parametrize(
    ("act", "said"),
    [
        (lambda g: absolute_errors(still(8), g), "degenerate"),
        (lambda g: absolute_errors(g, still(8)), "degenerate"),
        (lambda g: absolute_errors(g[:1], g[:1]), "degenerate"),
        (lambda g: absolute_errors(g[:5], g), "one shape"),
        (lambda g: absolute_errors(g * np.nan, g), "nan or infinite"),
        (lambda g: absolute_errors(g, np.where(g == 1, np.inf, g)), "nan or infinite"),
        (lambda g: relative_errors(g[:1], g[:1], "none"), "no pair 1 apart"),
        (lambda g: associate(np.zeros(0), np.zeros(0)), "no predicted pose"),
        (lambda g: associate(np.array([5.0]), np.array([1.0, 2.0])), "check that both clocks"),
    ],
)
def test_what_has_no_answer_is_refused_by_name(act: Callable[[np.ndarray], object], said: str) -> None:
    with pytest.raises(InputError, match=said):
        act(random_path(8, 3))


def test_a_still_prediction_has_an_answer_where_nothing_is_fitted() -> None:
    g = random_path(8, 3)
    assert rmse(absolute_errors(still(8), g, "origin")) > 0
    assert np.isfinite(all_errors(still(8), g, "none")).all()
