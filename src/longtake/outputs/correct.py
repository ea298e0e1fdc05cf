# SPDX-License-Identifier: Apache-2.0
"""Give the frames of a take's folder other poses: cameras, path and cloud move together, or nothing moves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np

from longtake.files import replacing
from longtake.outputs import takefiles as names
from longtake.outputs.cameras import pose_rows, read_lines
from longtake.outputs.ply import PlyRows, PlyWriter
from longtake.outputs.trajectory import TUM_HEADER, tum_line

Correction = Callable[[Sequence[int], np.ndarray, Sequence[str]], np.ndarray | None]


def correct_take(out: Path, correction: Correction) -> bool:
    """Move the frames of a take whose camera lines are still there; say whether there was anything to move.

    correction: numbers (T,) of the frames with a pose, their world_from_cam (T, 4, 4) and their tracking -> other poses
    of the same shape, rigid motions, or None. Each frame's points move with its camera. The path as it was is kept in
    trajectory_uncorrected.txt. Depth maps are seen from the camera: they stay. One frame's points are in memory at a
    time. Raises OSError; then every file is as it was.
    """
    lines = out / names.CAMERA_LINES
    posed = [
        (number, record["world_from_cam"], str(record["tracking"]))
        for number, record in enumerate(read_lines(lines))
        if record["world_from_cam"] is not None
    ]
    if not posed:
        return False
    numbers, before = [number for number, _, _ in posed], np.array([pose for _, pose, _ in posed], np.float64)
    after = correction(numbers, before, [state for _, _, state in posed])
    if after is None or not np.isfinite(after).all():
        return False
    moved = dict(zip(numbers, zip(before, after, strict=True), strict=True))
    with ExitStack() as stack:
        cloud, path, cameras, kept = (
            stack.enter_context(replacing(out / name))
            for name in (names.CLOUD, names.TRAJECTORY, names.CAMERA_LINES, names.UNCORRECTED)
        )
        shutil.copyfile(out / names.TRAJECTORY, kept)
        with (
            PlyRows(out / names.CLOUD) as rows,
            PlyWriter(cloud) as points,
            open(path, "w", encoding="utf-8") as trajectory,
            open(cameras, "w", encoding="utf-8") as file,
        ):
            trajectory.write(TUM_HEADER)
            for number, record in enumerate(read_lines(lines)):
                part = rows.read(*record["cloud"])
                places = part.points
                if number in moved:
                    old, new = moved[number]
                    step = new @ np.linalg.inv(old)
                    places = places.astype(np.float64) @ step[:3, :3].T + step[:3, 3]
                    record["world_from_cam"] = pose_rows(new)
                    trajectory.write(tum_line(record["time"], new))
                points.append(places, part.colors, part.confidence)
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return True
