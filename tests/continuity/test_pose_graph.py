# SPDX-License-Identifier: Apache-2.0
"""A drifting walk that comes back is straightened by one edge; wrong edges do not bend it."""

from __future__ import annotations

import numpy as np
import pytest

from longtake.continuity.pose_graph import Edge, exp_rotation, log_rotation, neighbour_edges, optimise_poses
from longtake.errors import InputError


def circle(frames: int) -> np.ndarray:
    """A camera that walks a circle of radius two and looks ahead."""
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for t, angle in enumerate(np.linspace(0, 2 * np.pi, frames)):
        poses[t, :3, :3] = exp_rotation(np.array([[0, angle, 0]]))[0]
        poses[t, :3, 3] = [2 * (1 - np.cos(angle)), 0, 2 * np.sin(angle)]
    return poses


def drift(true: np.ndarray, turn: float, grow: float) -> np.ndarray:
    """Chain the true steps with a small constant error in rotation and in scale."""
    poses, error = [true[0]], exp_rotation(np.array([[0.3, 1, 0.2]]) * turn)[0]
    for i, step in enumerate(np.linalg.inv(true[:-1]) @ true[1:]):
        moved = step.copy()
        moved[:3, :3] = moved[:3, :3] @ error
        moved[:3, 3] *= (1 + grow) ** i
        poses.append(poses[-1] @ moved)
    return np.stack(poses)


def error(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(((a[:, :3, 3] - b[:, :3, 3]) ** 2).sum(1).mean()))


def test_rotation_vectors_round_trip() -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 3))
    vectors[0] = 0
    vectors[1] = 1e-9
    np.testing.assert_allclose(log_rotation(exp_rotation(vectors)), vectors, atol=1e-9)


@pytest.mark.parametrize("grow", [0.0, 0.01])
def test_a_closed_loop_takes_the_drift_out(grow: float) -> None:
    true = circle(60)
    walked = drift(true, 0.004, grow)
    # The revisit says how much the unit has shrunk since the start; no neighbour noticed.
    closing = Edge(0, 59, np.linalg.inv(true[0]) @ true[59], scale=(1 + grow) ** -59, weight=100.0)
    poses, scales = optimise_poses(walked, [*neighbour_edges(walked), closing])
    before, after = error(walked, true), error(poses, true)
    assert before > 0.2
    assert after < 0.35 * before
    assert np.linalg.norm(poses[59, :3, 3] - true[59, :3, 3]) < 0.02
    np.testing.assert_array_equal(poses[0], walked[0])
    assert scales[0] == 1
    assert scales[59] == pytest.approx((1 + grow) ** -59, rel=0.05)
    turns = poses[:, :3, :3]
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.tile(np.eye(3), (60, 1, 1)), atol=1e-12)


def test_without_a_contradiction_nothing_moves() -> None:
    true = circle(20)
    poses, scales = optimise_poses(true, neighbour_edges(true), with_scale=False)
    np.testing.assert_allclose(poses, true, atol=1e-9)
    assert (scales == 1).all()


def test_one_wrong_edge_among_good_ones_is_outvoted() -> None:
    true = circle(40)
    walked = drift(true, 0.004, 0)
    good = [Edge(i, j, np.linalg.inv(true[i]) @ true[j], weight=10.0) for i, j in ((0, 39), (5, 30), (10, 35), (2, 20))]
    wrong = Edge(8, 28, np.eye(4))
    poses, _ = optimise_poses(walked, [*neighbour_edges(walked), *good, wrong], with_scale=False)
    assert error(poses, true) < 0.6 * error(walked, true)


def test_mistakes_are_named() -> None:
    true = circle(5)
    with pytest.raises(InputError, match="3 -> 9"):
        optimise_poses(true, [Edge(3, 9, np.eye(4))])
    true[2] = np.nan
    with pytest.raises(InputError, match="finite"):
        optimise_poses(true, [])
