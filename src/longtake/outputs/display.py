# SPDX-License-Identifier: Apache-2.0
"""Make a written take ready to be looked at: upright, with bounds, normals and a measure of how dense it is.

Everything here is for display only. The display frame has z up and the longer side of the scene along x.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from longtake.outputs.cameras import read_lines
from longtake.outputs.ply import read_ply
from longtake.outputs.spread import Spread
from longtake.outputs.takefiles import CAMERA_LINES, CLOUD

_POSES = 8192
_CELLS = (140, 110, 80, 56, 40)  # voxels along the longest side: the most that still hold enough points each


@dataclass(frozen=True, slots=True)
class Display:
    """What the pictures draw, in the display frame."""

    points: np.ndarray  # (n, 3) float32, in the order of the take
    colors: np.ndarray  # (n, 3) uint8
    normals: np.ndarray  # (n, 3) float32 unit, towards the camera that saw the point
    spacing: np.ndarray  # (n,) float32 typical distance to the next point
    order: np.ndarray  # (n,) float32 in [0, 1]: when in the take the point was seen
    poses: np.ndarray  # (m, 4, 4) float64 world_from_cam in the display frame
    low: np.ndarray  # (3,) robust bounds of points and path
    high: np.ndarray  # (3,)
    field: tuple[float, float]  # tangents of half the horizontal and the vertical field of view
    numbers: np.ndarray | None = None  # (m,) int: place in the take of each pose's frame, where there is a take

    @property
    def extent(self) -> float:
        """Length of the diagonal of the bounds."""
        return float(np.linalg.norm(self.high - self.low))


def load_display(out: Path, limit: int = 400_000) -> Display | None:
    """Read at most `limit` points and 8,192 poses of a take from its folder; None where it has no pose at all."""
    kept: Spread[tuple[np.ndarray, int, int]] = Spread(_POSES)
    field = (0.5, 0.4)
    for number, record in enumerate(read_lines(out / CAMERA_LINES)):
        if record["world_from_cam"] is None:
            continue
        pose, first = np.array(record["world_from_cam"]), int(record["cloud"][0])
        kept.offer(lambda pose=pose, first=first, number=number: (pose, first, number))
        if record["intrinsics"] is not None:
            (width, height), k = record["size"], record["intrinsics"]
            field = (width / 2 / max(k[0][0], 1e-9), height / 2 / max(k[1][1], 1e-9))
    if not kept.items:
        return None
    poses = np.stack([pose for pose, _, _ in kept.items])
    firsts, numbers = np.array([[first, number] for _, first, number in kept.items]).T
    cloud = read_ply(out / CLOUD, limit=limit)
    seen_by = np.clip(np.searchsorted(firsts, cloud.rows, side="right") - 1, 0, None)
    return replace(_arrange(cloud.points, cloud.colors, poses, seen_by, field), numbers=numbers)


def _arrange(
    points: np.ndarray, colors: np.ndarray, poses: np.ndarray, seen_by: np.ndarray, field: tuple[float, float]
) -> Display:
    turn = upright(points, poses)
    points = points.astype(np.float64) @ turn.T
    display_from_world = np.eye(4)
    display_from_world[:3, :3] = turn
    poses = display_from_world @ poses
    low, high = _bounds(points, poses)
    inside = ((points >= low) & (points <= high)).all(-1)
    points, colors, seen_by = points[inside], colors[inside], seen_by[inside]
    normals, spacing = surface(points, poses[seen_by, :3, 3])
    square = square_to_walls(normals)
    points, normals, poses = points @ square.T, normals @ square.T.astype(np.float32), poses.copy()
    poses[:, :3] = square @ poses[:, :3]
    low, high = _bounds(points, poses)
    order = seen_by / max(len(poses) - 1, 1)
    return Display(
        points.astype(np.float32), colors, normals, spacing, order.astype(np.float32), poses, low, high, field
    )


def _bounds(points: np.ndarray, poses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the corners of a box around the path and the points, but for strays.

    A box that cut through the cloud would leave a straight edge: it holds all but one in a thousand on each side, as
    far as they lie within 40 % of the width of what is left without the outermost two percent.
    """
    path = poses[:, :3, 3]
    low, high = path.min(0), path.max(0)
    if len(points):
        least, inner, outer, most = np.percentile(points, (0.1, 2, 98, 99.9), axis=0)
        margin = 0.4 * (outer - inner)
        low = np.minimum(low, np.maximum(least, inner - margin))
        high = np.maximum(high, np.minimum(most, outer + margin))
    pad = 0.02 * max(float((high - low).max()), 1e-3)
    return low - pad, high + pad


def square_to_walls(normals: np.ndarray) -> np.ndarray:
    """Return the smallest turn about z, at most 45 degrees, that lays walls along x and y; none where there are none.

    Directions that repeat every 90 degrees point the same way once their angle is taken four times.
    """
    level = normals[np.abs(normals[:, 2]) < 0.3]
    quadruple = np.exp(4j * np.arctan2(level[:, 1], level[:, 0])).mean() if len(level) > 100 else 0j
    angle = -np.angle(quadruple) / 4 if abs(quadruple) > 0.1 else 0.0
    c, s = np.cos(angle), np.sin(angle)
    return np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])


def upright(points: np.ndarray, poses: np.ndarray) -> np.ndarray:
    """Return the (3, 3) rotation display_from_world: z up, x along the scene's longer horizontal side.

    Up is the mean of the cameras' up axes: people hold cameras level on average. The first camera looks towards +y.
    """
    up = -poses[:, :3, 1].mean(0)
    up = -poses[0, :3, 1] if np.linalg.norm(up) < 0.1 else up
    z = up / np.linalg.norm(up)
    forward = poses[0, :3, 2] - z * (poses[0, :3, 2] @ z)
    if np.linalg.norm(forward) < 1e-6:  # it looks straight up or down
        forward = poses[0, :3, 0] - z * (poses[0, :3, 0] @ z)
    y = forward / np.linalg.norm(forward)
    flat = np.stack([np.cross(y, z), y])  # (2, 3) horizontal axes
    places = points[:: max(len(points) // 20_000, 1)] if len(points) > 10 else poses[:, :3, 3]
    across = places @ flat.T
    across = np.clip(across - np.median(across, 0), *(np.percentile(across - np.median(across, 0), (5, 95), axis=0)))
    _, directions = np.linalg.eigh(across.T @ across)
    x = directions[:, 1] @ flat
    y_new = np.cross(z, x)
    if y_new @ y < 0:
        x, y_new = -x, -y_new
    return np.stack([x, y_new, z])


def surface(points: np.ndarray, seen_from: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 3) unit normals and (n,) spacing, both float32, from the points that share a cubic cell.

    The normal is the direction of least spread, turned towards the cameras; where a cell has too few points or no flat
    spread, it is the direction to the cameras. Spacing is what n points on a square as wide as the cell would
    have, and less where they are few.
    """
    if not len(points):
        return np.zeros((0, 3), np.float32), np.zeros(0, np.float32)
    for cells in _CELLS:
        cell = max(float(np.ptp(points, axis=0).max()), 1e-12) / cells
        grid = np.floor((points - points.min(0)) / cell).astype(np.int64)
        keys = np.ravel_multi_index(tuple(grid.T), tuple(grid.max(0) + 1))
        _, member, count = np.unique(keys, return_inverse=True, return_counts=True)
        usual = float(np.median(count[member]))
        if usual >= 14:
            break

    def mean(values: np.ndarray) -> np.ndarray:
        return np.bincount(member, values, len(count)) / count

    centre = np.stack([mean(points[:, i]) for i in range(3)], -1)
    to_camera = np.stack([mean(seen_from[:, i]) for i in range(3)], -1) - centre
    to_camera /= np.maximum(np.linalg.norm(to_camera, axis=-1, keepdims=True), 1e-12)
    offset = points - centre[member]
    spread = np.stack([mean(offset[:, i] * offset[:, j]) for i in range(3) for j in range(3)], -1).reshape(-1, 3, 3)
    values, vectors = np.linalg.eigh(spread)
    normal = vectors[..., 0]
    normal *= np.where((normal * to_camera).sum(-1) < 0, -1, 1)[:, None]
    flat = (count >= 5) & (values[:, 0] < 0.3 * values[:, 1])
    normal = np.where(flat[:, None], normal, to_camera)
    spacing = cell / np.sqrt(count) * np.clip(count / min(0.4 * usual, 8), 0.25, 1)  # strays stay small
    return normal[member].astype(np.float32), spacing[member].astype(np.float32)
