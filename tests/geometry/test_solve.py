# SPDX-License-Identifier: Apache-2.0
"""Cameras solved from pointmaps: exact without noise, sound with it, and no pose where the map fixes none."""

from __future__ import annotations

import builtins
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.errors import InputError, MissingExtra
from longtake.geometry.camera import unproject
from longtake.geometry.solve import FEWEST, Solved, solve_camera

HEIGHT, WIDTH = 36, 48


def turn(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rotation about an axis, by Rodrigues' formula."""
    x, y, z = axis / np.linalg.norm(axis)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    a = np.radians(degrees)
    return np.eye(3) + np.sin(a) * cross + (1 - np.cos(a)) * cross @ cross


def view(seed: int, kind: str = "relief", scale: float = 1.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """World points (H, W, 3), camera matrix, and the true world_from_cam of a random view."""
    rng = np.random.default_rng(seed)
    f = rng.uniform(0.7, 2) * WIDTH
    k = np.array([[f, 0, WIDTH / 2 + rng.uniform(-3, 3)], [0, f * rng.uniform(0.9, 1.1), HEIGHT / 2], [0, 0, 1]])
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    if kind == "relief":
        depth = 2 + 0.5 * np.sin(u / 5) + 0.4 * np.cos(v / 4) + 0.3 * rng.random((HEIGHT, WIDTH))
    else:  # a wall seen at an angle: n . x = 2 along the rays
        rays = np.stack(((u - k[0, 2]) / k[0, 0], (v - k[1, 2]) / k[1, 1], np.ones_like(u)), -1)
        depth = 2 / (rays @ np.array([0.3, -0.2, 1.0]))
    cam = unproject(torch.from_numpy(depth * scale), torch.from_numpy(k)).numpy()
    pose = np.eye(4)
    pose[:3, :3] = turn(rng.normal(size=3), rng.uniform(0, 170))
    pose[:3, 3] = rng.normal(size=3) * 3 * scale
    return cam @ pose[:3, :3].T + pose[:3, 3], k, pose


def apart(solved: Solved, pose: np.ndarray) -> tuple[float, float]:
    """Degrees and distance between a solved and the true pose."""
    assert solved.world_from_cam is not None, solved.reason
    made = solved.world_from_cam
    r = made[:3, :3].T @ pose[:3, :3]
    sine = np.linalg.norm([r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]])
    return float(np.degrees(np.arctan2(sine, np.trace(r) - 1))), float(np.linalg.norm(made[:3, 3] - pose[:3, 3]))


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 10**6), kind=st.sampled_from(["relief", "plane"]), scale=st.sampled_from([1e-4, 1.0, 1e4]))
def test_exact_points_give_the_exact_pose(seed: int, kind: str, scale: float) -> None:
    points, k, pose = view(seed, kind, scale)
    degrees, distance = apart(solve_camera(points, k), pose)
    assert degrees < 1e-3
    assert distance < 1e-4 * scale


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 10**6), outliers=st.sampled_from([0.0, 0.2, 0.4]))
def test_noise_and_outliers(seed: int, outliers: float) -> None:
    points, k, pose = view(seed)
    rng = np.random.default_rng(seed + 1)
    points = points + 0.01 * rng.normal(size=points.shape)
    wrong = rng.random((HEIGHT, WIDTH)) < outliers
    points[wrong] += rng.normal(size=(int(wrong.sum()), 3)) * 3
    solved = solve_camera(points, k, threshold=2.0)
    degrees, distance = apart(solved, pose)
    assert degrees < 0.5
    assert distance < 0.03
    assert solved.inliers <= solved.used == HEIGHT * WIDTH
    assert solved.inliers >= 0.8 * (~wrong).sum()


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10**6))
def test_moving_the_world_moves_the_camera(seed: int) -> None:
    points, k, _ = view(seed)
    motion = np.eye(4)
    motion[:3, :3], motion[:3, 3] = turn(np.array([1.0, 2, 3]), 40), (5, -6, 7)
    here = solve_camera(points, k)
    there = solve_camera(points @ motion[:3, :3].T + motion[:3, 3], k)
    assert here.world_from_cam is not None
    degrees, distance = apart(there, motion @ here.world_from_cam)
    assert degrees < 1e-3
    assert distance < 1e-4


def test_the_same_input_gives_the_same_pose() -> None:
    points, k, _ = view(3)
    points[::3] += 1
    first, second = solve_camera(points, k), solve_camera(points.copy(), k)
    assert first.world_from_cam is not None
    assert np.array_equal(first.world_from_cam, second.world_from_cam)


def test_masked_and_infinite_points_do_not_count() -> None:
    points, k, pose = view(5)
    mask = np.ones((HEIGHT, WIDTH), bool)
    mask[:, ::2] = False
    points[:, ::2] = 7.0
    points[::5, 1] = np.nan
    points[1, 3] = np.inf
    solved = solve_camera(points, k, mask)
    assert solved.used == int((mask & np.isfinite(points).all(-1)).sum())
    assert apart(solved, pose)[0] < 1e-3


def nothing(points: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.full_like(points, np.nan)


def few(points: np.ndarray, k: np.ndarray) -> np.ndarray:
    out = nothing(points, k)
    out[0, : FEWEST - 1] = points[0, : FEWEST - 1]
    return out


def one_place(points: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.ones_like(points)


def line(points: np.ndarray, k: np.ndarray) -> np.ndarray:
    return points[..., :1] * np.array([1.0, 2, 3])


def no_focal(points: np.ndarray, k: np.ndarray) -> np.ndarray:
    k[0, 0] = 0
    return points


def noise(points: np.ndarray, k: np.ndarray) -> np.ndarray:
    return np.random.default_rng(0).normal(size=points.shape)


WHY = {
    nothing: "0 usable points, 6 are needed",
    few: "5 usable points",
    one_place: "in one place",
    line: "on one line",
    no_focal: "focal length",
}


@pytest.mark.parametrize("spoil", WHY)
def test_where_the_map_fixes_no_pose_the_reason_is_given(spoil: Any) -> None:
    points, k, _ = view(1)
    solved = solve_camera(spoil(points, k), k)
    assert not solved
    assert solved.world_from_cam is None
    assert WHY[spoil] in solved.reason


def test_random_points_give_no_pose_or_one_that_few_agree_with() -> None:
    points, k, _ = view(1)
    solved = solve_camera(noise(points, k), k, threshold=1.0)
    assert not solved or solved.inliers < 0.2 * solved.used


def test_shapes_that_do_not_fit_are_errors() -> None:
    points, k, _ = view(1)
    for args in ((points[0], k), (points, k[:2]), (points, k, np.ones((3, 3), bool))):
        with pytest.raises(InputError, match="it wants"):
            solve_camera(*args)


def test_without_the_library_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *args: Any, **kwargs: Any) -> Any:
        if name == "cv2":
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", absent)
    points, k, _ = view(1)
    with pytest.raises(MissingExtra, match=r"longtake\[solve\]"):
        solve_camera(points, k)
