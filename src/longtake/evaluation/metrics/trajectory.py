# SPDX-License-Identifier: Apache-2.0
"""Errors of a camera path: ATE under six alignments, and RPE, as the published tables have them.

All poses are world_from_cam (n, 4, 4), already paired (`association`). Positions in the unit of the true path, angles
in degrees. The alignment is Umeyama's (1991), on the positions of all pairs.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from longtake.errors import InputError
from longtake.evaluation.figures import rotation_angle
from longtake.geometry.similarity import Similarity, align

Alignment = Literal["sim3", "se3", "scale", "origin", "origin_scaled", "none"]
ALIGNMENTS: tuple[Alignment, ...] = ("sim3", "se3", "scale", "origin", "origin_scaled", "none")


def align_path(predicted: np.ndarray, true: np.ndarray, how: Alignment = "sim3") -> np.ndarray:
    """Return the predicted poses (n, 4, 4) in the true path's world.

    sim3, se3: the least-squares similarity or rigid motion of positions. scale: positions times the similarity's scale
    and nothing else. origin: the rigid motion that lays the first predicted pose on the first true one; origin_scaled:
    the same after `scale`. none: as they are. Raises InputError where the positions do not fix what is asked for.
    """
    p, g = _paired(predicted, true)
    if how in ("sim3", "se3"):
        return align(p[:, :3, 3], g[:, :3, 3], with_scale=how == "sim3").poses(p)
    moved = p.copy()
    if how in ("scale", "origin_scaled"):
        moved[:, :3, 3] *= align(p[:, :3, 3], g[:, :3, 3]).scale
    if how in ("origin", "origin_scaled"):
        turn = g[0, :3, :3] @ moved[0, :3, :3].T
        return Similarity(1.0, turn, g[0, :3, 3] - turn @ moved[0, :3, 3]).poses(moved)
    return moved


def absolute_errors(predicted: np.ndarray, true: np.ndarray, how: Alignment = "sim3") -> np.ndarray:
    """Return the distance of each aligned predicted position from the true one, (n,). ATE is its `rmse`."""
    return np.linalg.norm(align_path(predicted, true, how)[:, :3, 3] - np.asarray(true)[:, :3, 3], axis=1)


def relative_errors(
    predicted: np.ndarray, true: np.ndarray, how: Alignment = "sim3", step: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Return RPE of all pairs (i, i + step): translations (n - step,) and rotation angles in degrees.

    The prediction is aligned first, so that its translations are in the true unit:
    E = (G_i^-1 G_j)^-1 (P_i^-1 P_j).
    """
    p, g = align_path(predicted, true, how), np.asarray(true, np.float64)
    if len(p) <= step:
        raise InputError(f"{len(p)} poses have no pair {step} apart; relative errors need at least {step + 1}.")
    error = _between(_between(g[:-step], g[step:]), _between(p[:-step], p[step:]))
    return np.linalg.norm(error[:, :3, 3], axis=1), rotation_angle(error[:, :3, :3])


def spread(true: np.ndarray) -> float:
    """Return the RMS distance of true positions from their mean: what the best standing camera scores as ATE."""
    positions = np.asarray(true, np.float64)[:, :3, 3]
    return rmse(np.linalg.norm(positions - positions.mean(0), axis=1))


def rmse(errors: np.ndarray) -> float:
    """Return the root of the mean square."""
    return float(np.sqrt(np.square(errors).mean()))


def statistics(errors: np.ndarray) -> dict[str, float]:
    """Return rmse, mean, median, std (over n, not n - 1), min and max of errors (n,)."""
    numbers = {name: float(getattr(np, name)(errors)) for name in ("mean", "median", "std", "min", "max")}
    return {"rmse": rmse(errors)} | numbers


def _between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return a^-1 b for rigid motions (n, 4, 4): the transpose of a rotation loses no digits, an inverse does."""
    out = np.tile(np.eye(4), (len(a), 1, 1))
    turn = a[:, :3, :3].transpose(0, 2, 1)
    out[:, :3, :3] = turn @ b[:, :3, :3]
    out[:, :3, 3] = (turn @ (b[:, :3, 3] - a[:, :3, 3])[..., None])[..., 0]
    return out


def _paired(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    p, g = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if p.shape != g.shape or p.ndim != 3 or p.shape[1:] != (4, 4) or not len(p):
        raise InputError(f"got paths of shapes {p.shape} and {g.shape}; wanted two of one shape (n, 4, 4), n >= 1.")
    if not (np.isfinite(p).all() and np.isfinite(g).all()):
        raise InputError("a path holds poses that are nan or infinite; leave those pairs out and say so.")
    return p, g
