# SPDX-License-Identifier: Apache-2.0
"""The camera that sees known points at known pixels: RANSAC over six-point samples, refined on its inliers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longtake.errors import InputError

SAMPLE = 6  # points that fix the 11 numbers of a projection linearly
ROUNDS = 20  # of refinement, until the inliers no longer change


@dataclass(frozen=True, slots=True)
class PnpResult:
    """A pose and how many points agree with it."""

    world_from_cam: np.ndarray  # (4, 4)
    inliers: np.ndarray  # (n,) bool


def solve_pnp(
    points: np.ndarray,
    pixels: np.ndarray,
    intrinsics: np.ndarray,
    *,
    within: float = 5.0,
    samples: int = 200,
    seed: int = 0,
) -> PnpResult:
    """Return the camera of world points (n, 3) seen at pixels (n, 2) with a (3, 3) camera matrix.

    within: distance in pixels below which a point agrees. samples: how many random samples are tried. Each gives a
    projection by the direct linear transform, whose rotation is the nearest one (Hartley and Zisserman, section 7.1);
    the best is refined by Gauss-Newton on the points that agree, until those stay the same.
    Raises InputError where no sample gives a camera that half a dozen points agree with (fewer than six points, or all
    in one plane, which the linear transform does not fix).
    """
    x, uv = np.asarray(points, np.float64), np.asarray(pixels, np.float64)
    usable = np.isfinite(x).all(-1) & np.isfinite(uv).all(-1)
    places = np.flatnonzero(usable)
    if len(places) < SAMPLE:
        raise InputError(f"{len(places)} finite points; a camera needs at least {SAMPLE}.")
    rays = (uv - intrinsics[:2, 2]) / (intrinsics[0, 0], intrinsics[1, 1])
    rng = np.random.default_rng(seed)
    best, agree = None, np.zeros(len(x), bool)
    for _ in range(samples):
        chosen = rng.choice(places, SAMPLE, replace=False)
        pose = _linear(x[chosen], rays[chosen])
        inliers = usable & (_distance(pose, x, uv, intrinsics) < within)
        if inliers.sum() > agree.sum():
            best, agree = pose, inliers
    if best is None or agree.sum() < SAMPLE:
        raise InputError("no camera agrees with six of the points: they lie in one plane, or the matches are wrong.")
    for _ in range(ROUNDS):
        best = _refine(best, x[agree], rays[agree], intrinsics)
        inliers = usable & (_distance(best, x, uv, intrinsics) < within)
        if inliers.sum() < SAMPLE or (inliers == agree).all():
            break
        agree = inliers
    world_from_cam = np.eye(4)
    world_from_cam[:3, :3], world_from_cam[:3, 3] = best[:, :3].T, -best[:, :3].T @ best[:, 3]
    return PnpResult(world_from_cam, agree)


def _linear(x: np.ndarray, rays: np.ndarray) -> np.ndarray:
    """Return cam_from_world (3, 4) of n >= 6 points seen along rays (n, 2) = (X/Z, Y/Z)."""
    centre, size = x.mean(0), max(float(np.abs(x - x.mean(0)).mean()), 1e-12)
    h = np.concatenate([(x - centre) / size, np.ones((len(x), 1))], 1)  # centred: the system stays well conditioned
    zero = np.zeros_like(h)
    rows = np.concatenate([np.hstack([h, zero, -rays[:, :1] * h]), np.hstack([zero, h, -rays[:, 1:] * h])])
    m = np.linalg.svd(rows)[2][-1].reshape(3, 4)
    m = m * np.sign((h @ m[2]).sum() or 1.0)  # the points lie before the camera
    u, d, vt = np.linalg.svd(m[:, :3])
    turn = (u * [1, 1, np.sign(np.linalg.det(u @ vt))]) @ vt
    shift = m[:, 3] / max(float(d.mean()), 1e-12) * size
    return np.concatenate([turn, (shift - turn @ centre)[:, None]], 1)


def _distance(pose: np.ndarray, x: np.ndarray, uv: np.ndarray, k: np.ndarray) -> np.ndarray:
    """Return the distance in pixels of each point's image from where it was seen; infinite behind the camera."""
    with np.errstate(all="ignore"):
        local = x @ pose[:, :3].T + pose[:, 3]
        image = local[:, :2] / local[:, 2:] * (k[0, 0], k[1, 1]) + k[:2, 2]
        off = np.linalg.norm(image - uv, axis=1)
    return np.where((local[:, 2] > 0) & np.isfinite(off), off, np.inf)


def _refine(pose: np.ndarray, x: np.ndarray, rays: np.ndarray, k: np.ndarray, steps: int = 15) -> np.ndarray:
    """Minimise the squared pixel distances by Gauss-Newton over a small turn and shift, in the camera's frame."""
    focal = np.array([k[0, 0], k[1, 1]])
    for _ in range(steps):
        local = x @ pose[:, :3].T + pose[:, 3]
        z = np.maximum(local[:, 2], 1e-9)
        a, b = local[:, 0] / z, local[:, 1] / z
        residual = (np.stack([a, b], -1) - rays) * focal
        zero, one = np.zeros_like(z), np.ones_like(z)
        du = np.stack([-a * b, 1 + a * a, -b, one / z, zero, -a / z], -1) * focal[0]
        dv = np.stack([-1 - b * b, a * b, a, zero, one / z, -b / z], -1) * focal[1]
        step = np.linalg.lstsq(np.concatenate([du, dv]), -residual.T.ravel(), rcond=None)[0]
        turn = _exponential(step[:3])
        pose = np.concatenate([turn @ pose[:, :3], (turn @ pose[:, 3] + step[3:])[:, None]], 1)
        if np.abs(step).max() < 1e-12:
            break
    return pose


def _exponential(turn: np.ndarray) -> np.ndarray:
    """Return the rotation of an axis times an angle in radians: Rodrigues' formula."""
    angle = float(np.linalg.norm(turn))
    x, y, z = turn / angle if angle > 0 else turn
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross
