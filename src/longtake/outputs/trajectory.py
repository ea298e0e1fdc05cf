# SPDX-License-Identifier: Apache-2.0
"""Camera paths in the TUM format: one line a frame, `timestamp tx ty tz qx qy qz qw`, camera to world."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from longtake.errors import InputError

TUM_HEADER = "# timestamp tx ty tz qx qy qz qw (seconds; world_from_cam; OpenCV axes; quaternion x y z w)\n"


@dataclass(frozen=True, slots=True)
class Trajectory:
    """Camera poses over time."""

    times: np.ndarray  # (n,) float64 seconds
    world_from_cam: np.ndarray  # (n, 4, 4) float64


def quat_xyzw_from_matrix(rotation: np.ndarray) -> np.ndarray:
    """Return the unit quaternion (x, y, z, w), w >= 0, of one (3, 3) rotation.

    The largest of the four squared components decides which row to trust (Shepperd 1978), so it is stable everywhere.
    """
    r = np.asarray(rotation, np.float64)
    xx, yy, zz = np.diag(r)
    rows = np.array(
        [
            [1 + xx - yy - zz, r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[2, 1] - r[1, 2]],
            [r[0, 1] + r[1, 0], 1 - xx + yy - zz, r[1, 2] + r[2, 1], r[0, 2] - r[2, 0]],
            [r[0, 2] + r[2, 0], r[1, 2] + r[2, 1], 1 - xx - yy + zz, r[1, 0] - r[0, 1]],
            [r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1], 1 + xx + yy + zz],
        ]
    )  # row i is 4 q_i q
    q = rows[np.argmax(np.diag(rows))]
    q = q / np.linalg.norm(q)
    return -q if q[3] < 0 else q


def matrix_from_quat_xyzw(quat: np.ndarray) -> np.ndarray:
    """Return (n, 3, 3) rotations of (n, 4) quaternions (x, y, z, w) of any length but zero."""
    x, y, z, w = np.moveaxis(quat / np.linalg.norm(quat, axis=-1, keepdims=True), -1, 0)
    rows = [
        [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
        [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
        [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
    ]
    return np.stack([np.stack(row, -1) for row in rows], -2)


def tum_line(time: float, world_from_cam: np.ndarray) -> str:
    """Return one TUM line of a time in seconds and a (4, 4) pose."""
    values = [*world_from_cam[:3, 3], *quat_xyzw_from_matrix(world_from_cam[:3, :3])]
    return f"{time:.6f} " + " ".join(f"{value:.9g}" for value in values) + "\n"


def read_tum(path: str | os.PathLike[str]) -> Trajectory:
    """Read a TUM trajectory; lines that start with `#` and empty lines are skipped.

    Raises InputError with the line number where a line does not hold eight numbers.
    """
    path = Path(path)
    try:
        lines = path.read_text("utf-8", errors="replace").splitlines()
    except OSError as error:
        raise InputError(f"{path.name}: cannot be read ({error.strerror}); wanted a TUM trajectory") from error
    rows: list[list[float]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        try:
            row = [float(word) for word in line.split()]
        except ValueError:
            row = []
        if len(row) != 8 or not any(row[4:]):
            raise InputError(f"{path.name}, line {number}: wanted `timestamp tx ty tz qx qy qz qw`, got {line[:60]!r}")
        rows.append(row)
    table = np.array(rows, np.float64).reshape(-1, 8)
    poses = np.tile(np.eye(4), (len(table), 1, 1))
    poses[:, :3, 3] = table[:, 1:4]
    poses[:, :3, :3] = matrix_from_quat_xyzw(table[:, 4:])
    return Trajectory(table[:, 0], poses)
