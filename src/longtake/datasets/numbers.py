# SPDX-License-Identifier: Apache-2.0
"""Numbers in text files: matrices, poses, cameras, times. What is wrong is named with its line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from longtake.errors import InputError
from longtake.geometry.rotation import matrix_from_quat_wxyz

ROTATION_TOLERANCE = 2e-3  # poses are often written with 6 digits or fewer
OPENCV_FROM_OPENGL = np.diag([1.0, -1.0, -1.0, 1.0])  # camera axes; its own inverse


def read_lines(path: Path) -> list[str]:
    """Return the lines of a text file. Raises InputError if there is no such file or it is no text."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; the layout wants it. Fetch or unpack it again.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as text ({error}). Fetch or unpack it again.") from error


def read_rows(path: Path) -> list[list[float]]:
    """Return the numbers of every line that is neither empty nor a comment (#). `inf` and `nan` are numbers."""
    rows = []
    for number, line in enumerate(read_lines(path), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                rows.append([float(word) for word in line.split()])
            except ValueError:
                raise InputError(f"{path}, line {number}: {line[:60]!r} is not a list of numbers.") from None
    return rows


def read_matrix(path: Path, rows: int, columns: int) -> np.ndarray:
    """Read one (rows, columns) float64 matrix; the numbers may be broken into lines anywhere."""
    values = [value for row in read_rows(path) for value in row]
    if len(values) != rows * columns:
        raise InputError(f"{path}: has {len(values)} numbers; wanted a {rows}x{columns} matrix.")
    return np.array(values, np.float64).reshape(rows, columns)


def read_pose_table(path: Path, width: int) -> np.ndarray:
    """Read (T, 4, 4) float64 poses, one a line: 16 numbers (4x4) or 12 (the upper 3x4), row-major."""
    rows = read_rows(path)
    wrong = next((line for line, row in enumerate(rows, 1) if len(row) != width), None)
    if wrong is not None or not rows:
        what = f"line {wrong} has {len(rows[wrong - 1])} numbers" if wrong else "is empty"
        raise InputError(f"{path}: {what}; each line must be one row-major pose, {width} numbers.")
    poses = np.tile(np.eye(4), (len(rows), 1, 1))
    poses[:, : width // 4] = np.array(rows, np.float64).reshape(len(rows), -1, 4)
    return poses


def read_camera(path: Path) -> np.ndarray:
    """Read a (3, 3) float64 camera matrix in pixels; a 4x4 one (ScanNet) gives its upper left part."""
    values = [value for row in read_rows(path) for value in row]
    if len(values) not in (9, 16):
        raise InputError(f"{path}: has {len(values)} numbers; wanted a 3x3 or 4x4 camera matrix.")
    side = 3 if len(values) == 9 else 4
    camera = np.array(values, np.float64).reshape(side, side)[:3, :3]
    if not np.isfinite(camera).all() or camera[0, 0] <= 0 or camera[1, 1] <= 0:
        raise InputError(f"{path}: focal lengths {camera[0, 0]:g}, {camera[1, 1]:g}; both must be positive pixels.")
    return camera


def pose_fault(pose: np.ndarray) -> str | None:
    """Say what is wrong with a (4, 4) pose, None if it is a rigid motion."""
    if not np.isfinite(pose).all():
        return "its pose is not finite (inf or nan): tracking was lost here"
    turn = pose[:3, :3]
    off = np.abs(turn @ turn.T - np.eye(3)).max()
    if off > ROTATION_TOLERANCE or np.linalg.det(turn) < 0 or np.abs(pose[3] - [0, 0, 0, 1]).max() > 1e-6:
        return f"its pose is not a rigid motion (|R R' - 1| = {off:.2g}, det R = {np.linalg.det(turn):.3g})"
    return None


def poses_from_quats(quats_wxyz: np.ndarray, translations: np.ndarray) -> np.ndarray:
    """Return (n, 4, 4) float64 poses of quaternions (n, 4), real part first, any norm but 0, and translations (n, 3).

    A zero quaternion gives nan, which `pose_fault` names.
    """
    poses = np.tile(np.eye(4), (len(quats_wxyz), 1, 1))
    if len(quats_wxyz):
        quats = torch.from_numpy(np.ascontiguousarray(quats_wxyz, np.float64))
        poses[:, :3, :3] = matrix_from_quat_wxyz(quats).numpy()
        poses[:, :3, 3] = translations
    return poses


def invert(poses: np.ndarray) -> np.ndarray:
    """Return the inverse of rigid motions (..., 4, 4), in closed form; nan and inf stay where they are."""
    inverse = np.zeros_like(poses)
    inverse[..., :3, :3] = np.swapaxes(poses[..., :3, :3], -1, -2)
    inverse[..., :3, 3] = -(inverse[..., :3, :3] * poses[..., None, :3, 3]).sum(-1)
    inverse[..., 3, 3] = 1
    return inverse
