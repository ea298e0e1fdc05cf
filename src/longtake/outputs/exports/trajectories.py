# SPDX-License-Identifier: Apache-2.0
"""Camera paths for SLAM tools: TUM, KITTI, EuRoC. Camera to world, in our axes; frames without a pose are left out."""

from __future__ import annotations

from pathlib import Path

from longtake.files import replacing
from longtake.outputs.take import TakeFrame
from longtake.outputs.trajectory import TUM_HEADER, quat_xyzw_from_matrix, tum_line

_EUROC_HEADER = (
    "#timestamp [ns], p_RS_R_x [m], p_RS_R_y [m], p_RS_R_z [m], q_RS_w [], q_RS_x [], q_RS_y [], q_RS_z []\n"
)


def write_tum(path: Path, frames: list[TakeFrame]) -> None:
    """Write `timestamp tx ty tz qx qy qz qw`, seconds. Raises OSError."""
    _write(path, [TUM_HEADER, *(tum_line(f.time, f.world_from_cam) for f in frames if f.world_from_cam is not None)])


def write_kitti(path: Path, frames: list[TakeFrame]) -> None:
    """Write the twelve numbers of the upper three rows of world_from_cam, row by row. Raises OSError."""
    poses = (f.world_from_cam[:3].reshape(-1) for f in frames if f.world_from_cam is not None)
    _write(path, [" ".join(f"{value:.9g}" for value in pose) + "\n" for pose in poses])


def write_euroc(path: Path, frames: list[TakeFrame]) -> None:
    """Write `timestamp, position, quaternion w x y z` with commas, whole nanoseconds. Raises OSError."""
    lines = [_EUROC_HEADER]
    for frame in frames:
        if frame.world_from_cam is not None:
            x, y, z, w = quat_xyzw_from_matrix(frame.world_from_cam[:3, :3])
            values = [*frame.world_from_cam[:3, 3], w, x, y, z]
            lines.append(f"{round(frame.time * 1e9)}," + ",".join(f"{value:.9g}" for value in values) + "\n")
    _write(path, lines)


def _write(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft:
        draft.write_text("".join(lines), "utf-8")
