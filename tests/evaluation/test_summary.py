# SPDX-License-Identifier: Apache-2.0
"""How takes become one row, and the naive guesses of the frozen sets as goldens."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation_oracle import random_path

from longtake.evaluation.figures import depth_figures, pose_figures, pose_figures_by_length
from longtake.evaluation.folder import TakeFolder
from longtake.evaluation.summary import TakeFigures, summarize, summarize_by_length


def figures(seed: int, frames: int = 8) -> TakeFigures:
    rng = np.random.default_rng(seed)
    g = rng.uniform(1, 5, 50)
    guess, true = random_path(frames, seed), random_path(frames, seed + 1)
    depth = depth_figures(g * rng.uniform(0.8, 1.2, 50), g)
    return TakeFigures(depth, pose_figures(guess, true), float(seed), pose_figures_by_length(guess, true, (4, 16)))


def test_each_figure_is_gathered_as_defined() -> None:
    takes = [figures(seed) for seed in range(4)]
    row = summarize(takes)
    assert (row.takes, row.frames) == (4, 32)
    assert row.abs_rel == pytest.approx(np.mean([t.depth.abs_rel for t in takes]))
    mean = np.mean([t.pose.rotation for t in takes]), np.mean([t.pose.identity for t in takes])
    assert row.rotation_ratio == pytest.approx(mean[0] / mean[1])  # not the mean of ratios
    assert row.direction == pytest.approx(np.median([t.pose.direction for t in takes]))
    ratios = [t.pose.ate_over_spread for t in takes]
    assert row.ate_over_spread == pytest.approx(np.median(ratios))
    assert row.ate_over_spread_mean == pytest.approx(np.mean(ratios))


def test_lengths_count_only_takes_that_reach_them() -> None:
    rows = summarize_by_length([figures(1), figures(2, frames=20)])
    assert {n: row.takes for n, row in rows.items()} == {4: 2, 16: 1}


def test_what_a_take_does_not_define_is_left_out_and_counted() -> None:
    still = np.tile(np.eye(4), (3, 1, 1))
    empty = TakeFigures(depth_figures(np.zeros(0), np.zeros(0)), pose_figures(still, still), 0.0)
    row = summarize([figures(1), empty])
    assert (row.without_depth, row.without_motion) == (1, 1)
    assert row.abs_rel == figures(1).depth.abs_rel and row.direction == figures(1).pose.direction


def naive(take: TakeFolder) -> TakeFigures:
    true = np.concatenate([d.ravel() for d in map(take.depth, range(len(take))) if d is not None])
    poses = np.tile(np.eye(4), (len(take), 1, 1))
    return TakeFigures(depth_figures(np.ones_like(true), true), pose_figures(poses, take.world_from_cam), 0.0)


def test_naive_guesses_on_the_short_takes_are_the_published_ones(data: Path) -> None:
    row = summarize([naive(TakeFolder(path)) for path in sorted((data / "heldout_v1").glob("short_*"))])
    assert row.takes == 64
    assert (round(row.const, 3), round(row.abs_rel, 3), round(row.identity, 1)) == (0.297, 0.297, 24.8)
    assert row.rotation_ratio == pytest.approx(1)


def test_constant_depth_on_the_office_walk_is_the_published_one(data: Path) -> None:
    take = TakeFolder(data / "office_walk", stride=2, max_frames=64)
    assert take.indices[-1] == 126 and len(take) == 64
    assert round(naive(take).depth.const, 2) == 0.32
