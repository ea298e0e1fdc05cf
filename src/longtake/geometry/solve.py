# SPDX-License-Identifier: Apache-2.0
"""The camera that saw a pointmap, solved from it: which pose projects each pixel's world point onto its pixel (PnP).

RANSAC over OpenCV's SQPnP finds a pose that most points agree with; least squares over those that do, repeated until
they stay the same, makes it exact. OpenCV comes with the extra `solve`.
"""

from __future__ import annotations

from dataclasses import dataclass
from types import ModuleType

import numpy as np

from longtake.errors import InputError, MissingExtra

POINTS = 20_000  # at most so many pixels of a map are used, evenly spread: a pose has six numbers
FEWEST = 6  # points that a pose is solved from: four fix it, two more can object
ROUNDS = 10  # of least squares; two or three are usual


@dataclass(frozen=True, slots=True)
class Solved:
    """A solved camera, or why there is none."""

    world_from_cam: np.ndarray | None  # (4, 4) float64; None if the map did not fix one
    inliers: int  # points within the threshold, of those that were used
    used: int
    reason: str = ""  # why there is no pose, in a few words; empty if there is one

    def __bool__(self) -> bool:
        return self.world_from_cam is not None


def require_opencv(what: str = "solving cameras from pointmaps") -> ModuleType:
    """Import OpenCV. Raises MissingExtra, which says what to install for what."""
    try:
        import cv2
    except ImportError as error:
        raise MissingExtra(f"{what} needs OpenCV, which is not installed: pip install 'longtake[solve]'") from error
    return cv2


def solve_camera(
    points: np.ndarray,
    intrinsics: np.ndarray,
    mask: np.ndarray | None = None,
    *,
    threshold: float = 5.0,
    iterations: int = 200,
) -> Solved:
    """Solve the pose of the camera with matrix `intrinsics` (3, 3) whose pixel (u, v) sees points[v, u].

    points (H, W, 3) in the world; mask (H, W) bool: which count, by default all. Points that are not finite never do.
    threshold: pixels within which a projected point agrees. iterations: random samples, drawn with a fixed seed.
    The result is the same for the same input. Where the map fixes no pose (too few points, all in one place or on one
    line, no sample that most agree with), the result says why and has none.
    Raises InputError for shapes that do not fit, MissingExtra without OpenCV.
    """
    points, k = np.asarray(points, np.float64), np.asarray(intrinsics, np.float64)
    if points.ndim != 3 or points.shape[2] != 3 or k.shape != (3, 3):
        raise InputError(f"solve got points {points.shape} and intrinsics {k.shape}; it wants (H, W, 3) and (3, 3)")
    if mask is not None and np.shape(mask) != points.shape[:2]:
        raise InputError(f"solve got a mask {np.shape(mask)} for points {points.shape}; it wants one bool a pixel")
    cv2 = require_opencv()
    if not (np.isfinite(k).all() and k[0, 0] > 0 and k[1, 1] > 0):
        return Solved(None, 0, 0, "the focal length is not a positive number")
    counts = np.isfinite(points).all(-1)
    if mask is not None:
        counts &= np.asarray(mask, bool)
    v, u = np.nonzero(counts)
    if len(u) > POINTS:
        chosen = np.linspace(0, len(u) - 1, POINTS).round().astype(int)
        u, v = u[chosen], v[chosen]
    world, pixels = points[v, u], np.stack((u, v), -1).astype(np.float64)
    if len(world) < FEWEST:
        return Solved(None, 0, len(world), f"{len(world)} usable points, {FEWEST} are needed")
    # Moved to the origin and to unit size: the solver's own limits are absolute.
    centre = np.median(world, axis=0)
    size = float(np.median(np.linalg.norm(world - centre, axis=1)))
    if not size > 0 or not np.isfinite(size):
        return Solved(None, 0, len(world), "most points are in one place")
    near = (world - centre) / size
    spread = np.linalg.svd(np.clip(near, -10, 10) - np.clip(near, -10, 10).mean(0), compute_uv=False)
    if spread[1] < 1e-6 * spread[0]:
        return Solved(None, 0, len(world), "all points are on one line")
    pose = _ransac(cv2, near, pixels, k, threshold, iterations)
    if pose is None:
        return Solved(None, 0, len(world), "no pose was found that most points agree with")
    rotation, translation, agree = pose
    cam_from_world = np.eye(4)
    cam_from_world[:3, :3] = rotation
    cam_from_world[:3, 3] = size * translation - rotation @ centre
    return Solved(np.linalg.inv(cam_from_world), int(agree.sum()), len(world))


def _ransac(
    cv2: ModuleType, world: np.ndarray, pixels: np.ndarray, k: np.ndarray, threshold: float, iterations: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Rotation, translation and who agrees, or None."""
    try:
        found, turn, shift, _ = cv2.solvePnPRansac(
            world, pixels, k, None, iterationsCount=iterations, reprojectionError=threshold, flags=cv2.SOLVEPNP_SQPNP
        )
        if not found:
            return None
        agree = _agree(cv2, world, pixels, k, turn, shift, threshold)
        for _ in range(ROUNDS):
            if agree.sum() < FEWEST:
                return None
            turn, shift = cv2.solvePnPRefineLM(world[agree], pixels[agree], k, None, turn, shift)
            before, agree = agree, _agree(cv2, world, pixels, k, turn, shift, threshold)
            if (agree == before).all():
                break
    except cv2.error:  # a degenerate sample inside the solver
        return None
    rotation, _ = cv2.Rodrigues(turn)
    good = np.isfinite(rotation).all() and np.isfinite(shift).all() and agree.sum() >= FEWEST
    return (rotation, shift.reshape(3), agree) if good else None


def _agree(
    cv2: ModuleType,
    world: np.ndarray,
    pixels: np.ndarray,
    k: np.ndarray,
    turn: np.ndarray,
    shift: np.ndarray,
    threshold: float,
) -> np.ndarray:
    """Which points lie in front of the camera and project to within the threshold of their pixels, (N,) bool."""
    rotation, _ = cv2.Rodrigues(turn)
    cam = world @ rotation.T + shift.reshape(1, 3)
    front = cam[:, 2] > 0
    projected = cam @ k.T / np.where(front, cam[:, 2], 1.0)[:, None]
    return front & (np.linalg.norm(projected[:, :2] - pixels, axis=1) <= threshold)
