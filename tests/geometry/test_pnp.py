# SPDX-License-Identifier: Apache-2.0
"""The camera of points seen at pixels: exact without noise, whatever the world, and unmoved by wrong matches."""

from __future__ import annotations

import numpy as np
import pytest

from longtake.errors import InputError
from longtake.geometry.pnp import solve_pnp

K = np.array([[300.0, 0, 160], [0, 320.0, 120], [0, 0, 1]])


def scene(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Points, their pixels, and the camera that sees them."""
    rng = np.random.default_rng(seed)
    pose = np.eye(4)
    pose[:3, :3] = np.linalg.qr(rng.normal(size=(3, 3)))[0]
    pose[:3, :3] *= np.sign(np.linalg.det(pose[:3, :3]))
    pose[:3, 3] = 10 * rng.normal(size=3)
    local = rng.uniform([-1, -1, 2], [1, 1, 6], (n, 3))
    pixels = local[:, :2] / local[:, 2:] * [300, 320] + [160, 120]
    return local @ pose[:3, :3].T + pose[:3, 3], pixels, pose


@pytest.mark.parametrize("seed", range(6))
def test_exact_points_give_the_exact_camera_even_among_wrong_matches(seed: int) -> None:
    points, pixels, pose = scene(seed)
    np.testing.assert_allclose(solve_pnp(points, pixels, K).world_from_cam, pose, atol=1e-8)
    wrong = np.random.default_rng(seed).permutation(len(points))[:60]
    pixels[wrong] += 80
    points[wrong[:5]] = np.nan
    found = solve_pnp(points, pixels, K)
    np.testing.assert_allclose(found.world_from_cam, pose, atol=1e-8)
    assert found.inliers.sum() == 140


def test_noise_is_averaged_and_a_least_square_is_a_minimum() -> None:
    points, pixels, pose = scene(7, 500)
    noisy = pixels + np.random.default_rng(0).normal(size=pixels.shape)
    found = solve_pnp(points, noisy, K, within=20).world_from_cam
    np.testing.assert_allclose(found, pose, atol=0.03)

    def cost(world_from_cam: np.ndarray) -> float:
        local = (points - world_from_cam[:3, 3]) @ world_from_cam[:3, :3]
        return float((((local @ K.T)[:, :2] / local[:, 2:] - noisy) ** 2).sum())

    for axis in range(3):
        for step in (-1e-3, 1e-3):
            other = found.copy()
            other[axis, 3] += step
            assert cost(other) > cost(found)


def test_what_has_no_camera_is_refused() -> None:
    points, pixels, _ = scene(1, 30)
    with pytest.raises(InputError, match="at least 6"):
        solve_pnp(points[:5], pixels[:5], K)
    with pytest.raises(InputError, match="one plane, or the matches are wrong"):
        solve_pnp(points, np.random.default_rng(0).uniform(0, 1e5, pixels.shape), K)
