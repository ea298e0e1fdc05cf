# SPDX-License-Identifier: Apache-2.0
"""Figures of one take: depth, rotation, direction, path and focal length, in float64 numpy without torch.

What cannot be used (NaN, infinity, depth <= 0) is never dropped, because dropping would reward a model that stays
silent where it is hard: such a pixel is scored as depth 0 (error 1), such a pose as 180 degrees and ATE/spread 1. Both
are counted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DELTA = 1.25
FAR = 0.1  # translation directions count from this share of the largest distance on
WORST_ANGLE = 180.0
UNDIRECTED = 90.0  # what a translation of length zero scores: chance
STILL = 1e-9  # spread of positions, over their size or 1, below which it is rounding and the camera stands still
LENGTHS = (16, 32, 64, 128, 256)


@dataclass(frozen=True, slots=True)
class DepthFigures:
    """Depth of one take with the one scale that minimises AbsRel."""

    abs_rel: float  # mean of |s z - g| / g
    delta: float  # share of pixels with max(s z / g, g / (s z)) < 1.25
    const: float  # AbsRel of the best constant depth on the same pixels
    scale: float  # s: true metres per predicted unit; NaN if no prediction could be used
    pixels: int  # pixels with a true depth that were scored
    unusable: int  # of these, predictions that were not finite and positive


@dataclass(frozen=True, slots=True)
class PoseFigures:
    """Camera path of one take against the truth; angles in degrees."""

    rotation: float  # mean angle error over frames 1.., relative to frame 0
    identity: float  # the same for predicting no rotation
    direction: float  # median angle error of the translation from frame 0, over far frames; NaN if nothing moves
    ate: float  # RMSE of positions after Sim(3) alignment, metres
    spread: float  # RMS distance of the true positions from their mean, metres; 0 if the true camera stands still
    ate_over_spread: float  # 0 to 1; NaN if the true camera stands still
    frames: int
    unusable: int  # predicted poses that were not finite


def weighted_median(values: np.ndarray, weights: np.ndarray) -> float:
    """Return an element m of `values` that minimises sum w |v - m| exactly; weights >= 0; NaN if all weights are 0.

    Where every point between two elements is a minimum, the lower one is taken.
    """
    values, weights = np.asarray(values, np.float64).ravel(), np.asarray(weights, np.float64).ravel()
    order = np.argsort(values, kind="stable")
    total = np.cumsum(weights[order])
    if not total.size or total[-1] <= 0:
        return float("nan")
    return float(values[order[np.searchsorted(total, total[-1] / 2)]])


def best_scale(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return the s that minimises mean |s z - g| / g over positive z, g of one shape: median of g/z, weights z/g."""
    return weighted_median(true / predicted, predicted / true)


def depth_figures(predicted: np.ndarray, true: np.ndarray) -> DepthFigures:
    """Compare depths along z of one shape, all frames of a take together; true values <= 0 are unknown and skipped."""
    z, g = np.asarray(predicted, np.float64).ravel(), np.asarray(true, np.float64).ravel()
    if z.shape != g.shape:
        raise ValueError(f"predicted and true depth must be of one shape, got {z.shape} and {g.shape} values")
    known = np.isfinite(g) & (g > 0)
    z, g = z[known], g[known]
    with np.errstate(all="ignore"):  # a quotient that overflows is as useless as a depth of zero
        usable = np.isfinite(z) & (z > 0) & np.isfinite(g / z) & (z / g > 0)
    if not g.size:
        nan = float("nan")
        return DepthFigures(nan, nan, nan, nan, 0, 0)
    scale = best_scale(z[usable], g[usable])
    ratio = np.zeros_like(g)  # s z / g
    ratio[usable] = scale * z[usable] / g[usable]
    const = weighted_median(g, 1 / g)
    return DepthFigures(
        abs_rel=float(np.abs(ratio - 1).mean()),
        delta=float(((ratio < DELTA) & (ratio > 1 / DELTA)).mean()),
        const=float((np.abs(const - g) / g).mean()),
        scale=scale,
        pixels=int(g.size),
        unusable=int((~usable).sum()),
    )


def rotation_angle(rotation: np.ndarray) -> np.ndarray:
    """Return the angle in degrees, 0 to 180, of rotations (..., 3, 3); exact near 0 and near 180, unlike arccos."""
    r = np.asarray(rotation, np.float64)
    axis = np.stack((r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]), -1)
    return np.degrees(np.arctan2(np.linalg.norm(axis, axis=-1), np.trace(r, axis1=-2, axis2=-1) - 1))


def angle_between(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the angle in degrees between vectors (..., 3); 90 where one of them is zero."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    sine, cosine = np.linalg.norm(np.cross(a, b), axis=-1), (a * b).sum(-1)
    zero = (np.abs(a).max(-1) == 0) | (np.abs(b).max(-1) == 0)
    return np.where(zero, UNDIRECTED, np.degrees(np.arctan2(sine, cosine)))


def align_similarity(source: np.ndarray, target: np.ndarray) -> tuple[float, np.ndarray, np.ndarray]:
    """Return (s, R, t) that minimise sum |target - (s R source + t)|^2 over similarities; both (T, 3). Umeyama 1991.

    A source that does not move gets s = 0. Kept apart from the geometry room, which it helps to judge.
    """
    x, y = np.asarray(source, np.float64), np.asarray(target, np.float64)
    mean_x, mean_y = x.mean(0), y.mean(0)
    variance = ((x - mean_x) ** 2).sum(1).mean()
    u, d, vt = np.linalg.svd((y - mean_y).T @ (x - mean_x) / len(x))
    sign = np.array([1.0, 1.0, 1.0 if np.linalg.det(u) * np.linalg.det(vt) > 0 else -1.0])
    rotation = (u * sign) @ vt
    scale = float((d * sign).sum() / variance) if variance > 0 else 0.0
    return scale, rotation, mean_y - scale * rotation @ mean_x


def relative_to_first(world_from_cam: np.ndarray) -> np.ndarray:
    """Return first_from_cam (T, 4, 4) for world_from_cam (T, 4, 4)."""
    return np.linalg.inv(world_from_cam[0]) @ world_from_cam


def spread_of(positions: np.ndarray) -> float:
    """Return the RMS distance of positions (T, 3) from their mean; 0 where all that moves is rounding (`STILL`)."""
    spread = float(np.sqrt(((positions - positions.mean(0)) ** 2).sum(1).mean()))
    return spread if spread > STILL * max(1.0, float(np.abs(positions).max())) else 0.0


def pose_figures(predicted: np.ndarray, true: np.ndarray) -> PoseFigures:
    """Compare predicted and true world_from_cam, both (T, 4, 4); each may have a world (and scale) of its own."""
    p, g = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if p.shape != g.shape or p.ndim != 3 or p.shape[1:] != (4, 4) or not len(p):
        raise ValueError(f"predicted and true poses must both be (T, 4, 4), got {p.shape} and {g.shape}")
    usable = np.array([np.isfinite(pose).all() for pose in p])
    unusable = int((~usable).sum())
    usable = usable & bool(usable[0]) & (abs(np.linalg.det(p[0, :3, :3])) > 0)  # all figures are relative to frame 0
    p = np.where(usable[:, None, None], p, np.eye(4))
    first_from_p, first_from_g = relative_to_first(p), relative_to_first(g)
    difference = first_from_p[:, :3, :3].transpose(0, 2, 1) @ first_from_g[:, :3, :3]
    rotation = np.where(usable, rotation_angle(difference), WORST_ANGLE)[1:]
    spread = spread_of(g[:, :3, 3])
    away = np.linalg.norm(first_from_g[:, :3, 3], axis=1)
    far = (away > FAR * away.max()) & (spread > 0)
    direction = np.where(usable, angle_between(first_from_p[:, :3, 3], first_from_g[:, :3, 3]), WORST_ANGLE)[far]
    ate = alignment_error(p[:, :3, 3], g[:, :3, 3]) if usable.all() else spread
    return PoseFigures(
        rotation=_mean(rotation),
        identity=_mean(rotation_angle(first_from_g[1:, :3, :3])),
        direction=float(np.median(direction)) if direction.size else float("nan"),
        ate=ate,
        spread=spread,
        ate_over_spread=ate / spread if spread > 0 else float("nan"),
        frames=len(p),
        unusable=unusable,
    )


def alignment_error(predicted: np.ndarray, true: np.ndarray) -> float:
    """Return the RMSE of positions (T, 3) after Sim(3) alignment of the predicted to the true ones."""
    scale, rotation, shift = align_similarity(predicted, true)
    return float(np.sqrt(((scale * predicted @ rotation.T + shift - true) ** 2).sum(1).mean()))


def pose_figures_by_length(
    predicted: np.ndarray, true: np.ndarray, lengths: tuple[int, ...] = LENGTHS
) -> dict[int, PoseFigures]:
    """Return the pose figures of the first 16, 32, ... frames, for every length that the take reaches."""
    return {n: pose_figures(predicted[:n], true[:n]) for n in lengths if n <= len(true)}


def focal_error(predicted: np.ndarray, true: float) -> float:
    """Return the error in percent of a take's focal length: the median over frames, in the pixels of `true`."""
    focal = np.asarray(predicted, np.float64)
    focal = np.where(np.isfinite(focal) & (focal > 0), focal, 0)  # an unusable one counts as 100 % off
    return float(abs(np.median(focal) / true - 1) * 100)


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
