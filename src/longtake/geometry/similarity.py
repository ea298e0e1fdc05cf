# SPDX-License-Identifier: Apache-2.0
"""Least-squares alignment of point sets by a similarity or a rigid motion (Umeyama 1991), in numpy and float64."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longtake.errors import InputError


@dataclass(frozen=True, slots=True)
class Similarity:
    """x -> scale * rotation x + translation."""

    scale: float
    rotation: np.ndarray  # (3, 3), determinant +1
    translation: np.ndarray  # (3,)

    def points(self, points: np.ndarray) -> np.ndarray:
        """Move points (..., 3)."""
        return self.scale * np.asarray(points, dtype=np.float64) @ self.rotation.T + self.translation

    def poses(self, world_from_cam: np.ndarray) -> np.ndarray:
        """Move camera-to-world poses (..., 4, 4): positions by the similarity, orientations by its rotation."""
        moved = np.array(world_from_cam, dtype=np.float64)
        moved[..., :3, :3] = self.rotation @ moved[..., :3, :3]
        moved[..., :3, 3] = self.points(moved[..., :3, 3])
        return moved

    def inverse(self) -> Similarity:
        """Return the similarity that undoes this one."""
        back = self.rotation.T
        return Similarity(1 / self.scale, back, -(back @ self.translation) / self.scale)


def align(source: np.ndarray, target: np.ndarray, *, with_scale: bool = True) -> Similarity:
    """Return the similarity (rigid motion if not with_scale) that takes source (N, 3) closest to target (N, 3).

    Umeyama's solution: C = mean (y - m_y)(x - m_x)^T = U D V^T, S = diag(1, 1, sign(det U det V)), R = U S V^T,
    scale = tr(D S) / var(x). The sign keeps R a rotation where a mirror image would fit better.
    Raises InputError if the shapes differ, a number is not finite, or the points do not fix a rotation (fewer than two
    directions of motion: all in one place, or on one line exactly).
    """
    x, y = np.asarray(source, dtype=np.float64), np.asarray(target, dtype=np.float64)
    if x.shape != y.shape or x.shape[1:] != (3,) or not x.size:
        raise InputError(f"align got point sets of shapes {x.shape} and {y.shape}; it wants two of one shape (N, 3)")
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        raise InputError("align got points that are nan or infinite; leave those out first")
    mean_x, mean_y = x.mean(0), y.mean(0)
    variance = np.square(x - mean_x).sum(1).mean()
    u, d, vt = np.linalg.svd((y - mean_y).T @ (x - mean_x) / len(x))
    if d[1] <= np.finfo(np.float64).eps:  # singular values come in falling order
        raise InputError("align: degenerate covariance rank: the points do not move in at least two directions")
    sign = np.ones(3)
    sign[2] = np.sign(np.linalg.det(u) * np.linalg.det(vt))
    rotation = (u * sign) @ vt
    scale = float((d * sign).sum() / variance) if with_scale else 1.0
    return Similarity(scale, rotation, mean_y - scale * rotation @ mean_x)
