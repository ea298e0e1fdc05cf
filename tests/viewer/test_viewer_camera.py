# SPDX-License-Identifier: Apache-2.0
"""Where visitors' eyes are put."""

from __future__ import annotations

import numpy as np
import pytest

from longtake.viewer.camera import FIELD, looking, mean_up, overview, slerp


def turn(axis: int, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    made = np.eye(3)
    i, j = [(1, 2), (2, 0), (0, 1)][axis]
    made[i, i], made[i, j], made[j, i], made[j, j] = c, -s, s, c
    return made


def test_an_eye_that_looks_has_its_target_ahead_and_up_above() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        position, target, up = rng.normal(size=(3, 3))
        axes = looking(position, target, up)
        np.testing.assert_allclose(axes.T @ axes, np.eye(3), atol=1e-12)
        assert np.linalg.det(axes) == pytest.approx(1)
        own = axes.T @ (target - position)
        np.testing.assert_allclose(own, [0, 0, np.linalg.norm(target - position)], atol=1e-12)
        assert (axes.T @ up)[1] < 0  # y is down


@pytest.mark.parametrize("seed", range(5))
def test_the_overview_sees_all_of_the_scene_and_not_much_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = rng.normal(size=(500, 3)) * rng.uniform(0.5, 20, 3)
    poses = np.tile(np.eye(4), (10, 1, 1))
    poses[:, :3, :3] = turn(1, rng.uniform(-3, 3))
    poses[:, :3, 3] = rng.normal(size=(10, 3))
    up = mean_up(poses)
    position, target = overview(places, poses, up)
    own = (np.concatenate([places, poses[:, :3, 3]]) - position) @ looking(position, target, up)
    assert (own[:, 2] > 0).all()
    spread = np.abs(own[:, :2] / own[:, 2:]).max(0) / np.tan(FIELD / 2)
    assert spread[0] < 1.2 and spread[1] < 1.0
    assert max(spread[0] / 1.15, spread[1]) > 0.75


def test_slerp_ends_where_it_should_and_turns_evenly() -> None:
    one, other = turn(0, 0.3), turn(0, 0.3) @ turn(2, 2.5)
    np.testing.assert_allclose(slerp(one, other, 0.0), one, atol=1e-12)
    np.testing.assert_allclose(slerp(one, other, 1.0), other, atol=1e-12)
    np.testing.assert_allclose(slerp(one, other, 0.4), turn(0, 0.3) @ turn(2, 1.0), atol=1e-12)
    np.testing.assert_allclose(slerp(one, one, 0.5), one, atol=1e-12)
