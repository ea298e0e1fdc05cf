# SPDX-License-Identifier: Apache-2.0
"""Poses of a finished take, corrected by places that were seen twice: a sparse pose graph over similarities.

Each camera i is a similarity (rotation, position, log scale) x -> s R x + t. An edge says where camera j was seen from
camera i, and the least squares of all edges' errors in the tangent space, with a robust loss for edges that may be
wrong, are found by SciPy's sparse trust-region solver. The first camera stays where it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longtake.errors import InputError, MissingExtra


@dataclass(frozen=True, slots=True)
class Edge:
    """Camera `second` seen from camera `first`, and how much larger its chunk's units are."""

    first: int
    second: int
    first_from_second: np.ndarray  # (4, 4) rigid motion, in units of `first`
    scale: float = 1.0  # of second's units in first's
    weight: float = 1.0


def neighbour_edges(world_from_cam: np.ndarray, weight: float = 1.0) -> list[Edge]:
    """Return the edges between each frame and the next of a finished take (T, 4, 4)."""
    steps = np.linalg.inv(world_from_cam[:-1]) @ world_from_cam[1:]
    return [Edge(i, i + 1, step, weight=weight) for i, step in enumerate(steps)]


def optimise_poses(
    world_from_cam: np.ndarray, edges: Sequence[Edge], *, robust: float = 0.1, with_scale: bool = True
) -> tuple[np.ndarray, np.ndarray]:
    """Return corrected world_from_cam (T, 4, 4) and the scale (T,) of each camera's units.

    robust: size of an edge's error, in radians or units of length, beyond which it counts less (soft L1).
    with_scale: let scales drift along the take, as those of a chunked monocular take do; else all stay 1.
    Raises InputError for poses or edges that cannot be used, MissingExtra without SciPy.
    """
    try:
        from scipy.optimize import least_squares
        from scipy.sparse import lil_matrix
    except ImportError as error:
        raise MissingExtra("the pose graph needs SciPy: pip install 'longtake[eval]'") from error
    start = np.asarray(world_from_cam, dtype=np.float64)
    count = len(start)
    if start.shape[1:] != (4, 4) or not np.isfinite(start).all():
        raise InputError(f"poses of shape {start.shape}: wanted finite (T, 4, 4); leave out frames that are lost")
    if wrong := [e for e in edges if not (0 <= e.first < count and 0 <= e.second < count and e.scale > 0)]:
        raise InputError(f"the edge {wrong[0].first} -> {wrong[0].second} does not fit {count} poses")
    first = np.array([e.first for e in edges])
    second = np.array([e.second for e in edges])
    seen = np.stack([e.first_from_second for e in edges]).astype(np.float64)
    seen_log = np.log([e.scale for e in edges])
    weight = np.sqrt([e.weight for e in edges])
    size = 7 if with_scale else 6

    def unpack(free: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        x = np.concatenate((np.zeros((1, size)), free.reshape(-1, size)))
        turn = start[:, :3, :3] @ exp_rotation(x[:, :3])
        return turn, start[:, :3, 3] + x[:, 3:6], x[:, 6] if with_scale else np.zeros(count)

    def errors(free: np.ndarray) -> np.ndarray:
        turn, place, log = unpack(free)
        back = turn[first].transpose(0, 2, 1)
        moved = (back @ (place[second] - place[first])[..., None])[..., 0] / np.exp(log[first])[:, None]
        twist = log_rotation(seen[:, :3, :3].transpose(0, 2, 1) @ back @ turn[second])
        parts = [twist, moved - seen[:, :3, 3]]
        if with_scale:
            parts.append((log[second] - log[first] - seen_log)[:, None])
        return (np.concatenate(parts, 1) * weight[:, None]).ravel()

    pattern = lil_matrix((len(edges) * size, (count - 1) * size), dtype=np.int8)
    for row, ends in enumerate(zip(first, second, strict=True)):
        for end in ends:
            if end:
                pattern[row * size : (row + 1) * size, (end - 1) * size : end * size] = 1
    found = least_squares(
        errors,
        np.zeros((count - 1) * size),
        jac_sparsity=pattern.tocsr(),
        loss="soft_l1",
        f_scale=robust,
        x_scale=1.0,
        method="trf",
        tr_solver="lsmr",
        max_nfev=100,
    )
    turn, place, log = unpack(found.x)
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, :3], poses[:, :3, 3] = turn, place
    return poses, np.exp(log)


def exp_rotation(vector: np.ndarray) -> np.ndarray:
    """Rotations (n, 3, 3) of rotation vectors (n, 3): Rodrigues' formula."""
    angle = np.linalg.norm(vector, axis=-1)[:, None, None]
    zero = np.zeros(len(vector))
    x, y, z = vector.T
    cross = np.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).reshape(-1, 3, 3)
    return np.eye(3) + np.sinc(angle / np.pi) * cross + 0.5 * np.sinc(angle / 2 / np.pi) ** 2 * cross @ cross


def log_rotation(rotation: np.ndarray) -> np.ndarray:
    """Rotation vectors (n, 3) of rotations (n, 3, 3), angles below a half turn."""
    r = rotation
    axis = np.stack((r[:, 2, 1] - r[:, 1, 2], r[:, 0, 2] - r[:, 2, 0], r[:, 1, 0] - r[:, 0, 1]), -1) / 2
    sine = np.linalg.norm(axis, axis=-1)
    angle = np.arctan2(sine, (np.trace(r, axis1=1, axis2=2) - 1) / 2)
    return axis * np.where(sine > 1e-9, angle / np.maximum(sine, 1e-300), 1.0)[:, None]
