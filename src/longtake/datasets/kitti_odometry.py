# SPDX-License-Identifier: Apache-2.0
"""KITTI odometry, `kitti-odometry`.

Layout       sequences/NN/{image_2/ (else image_3, image_0, image_1), calib.txt, times.txt} and poses/NN.txt.
             Folders: the root, or sequences/, or one sequences/NN. A sequence without poses (11 to 21) has none here.
Depth        none.
Poses        12 numbers a line, the upper 3x4 of camera 0 to world, row-major, metres, OpenCV axes. They are moved from
             camera 0 to the camera of the pictures with calib.txt: P_k = K [I | t], so world_from_k = world_from_0
             [I | -t].
Camera       the left 3x3 of P_k.
Time         times.txt, seconds since the start, else nominal, 10 frames a second. Association: by index.
Source       ecosystem.md (12 numbers, row-major, camera to world, no time); field.md 3 (its use); the calibration's
             meaning is that of the data set's own readme.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from longtake.datasets.kitti import projection
from longtake.datasets.numbers import read_pose_table, read_rows
from longtake.datasets.reading import FrameFiles, LazySequence, Listing, find_folders, open_each, pictures
from longtake.errors import InputError

DATASET = "kitti-odometry"
LAYOUT = "sequences/NN/{image_2/, calib.txt, times.txt} and poses/NN.txt"
CAMERAS = ("image_2", "image_3", "image_0", "image_1")
RATE = 10.0  # frames a second, nominal


def looks_like(folder: Path) -> bool:
    """Say whether this is one such sequence."""
    return (folder / "calib.txt").is_file() and any((folder / name).is_dir() for name in CAMERAS)


def open_folder(folder: Path) -> list[LazySequence]:
    """Open a sequence or the root. Raises InputError where nothing can be used."""
    return open_each(DATASET, folder, find_folders(folder, looks_like), _open, LAYOUT)


def _open(folder: Path) -> LazySequence:
    folder = folder.resolve()
    name = next(name for name in CAMERAS if (folder / name).is_dir())
    images = pictures(folder / name)
    matrix = projection(folder / "calib.txt", f"P{name[-1]}")
    camera = matrix[:, :3].copy()
    origin_from_camera = np.eye(4)
    origin_from_camera[:3, 3] = -np.linalg.solve(camera, matrix[:, 3])
    truth = folder.parent.parent / "poses" / f"{folder.name}.txt"
    poses = read_pose_table(truth, 12) @ origin_from_camera if truth.is_file() else None
    times = [row[0] for row in read_rows(folder / "times.txt")] if (folder / "times.txt").is_file() else []
    for what, count in (("poses", None if poses is None else len(poses)), ("times", len(times) or None)):
        if count is not None and count != len(images):
            raise InputError(f"{folder}: {len(images)} pictures in {name}/ but {count} {what}; each needs exactly one.")
    listing = Listing()
    for i, image in enumerate(images):
        time = times[i] if times else i / RATE
        listing.add(FrameFiles(i, time, image.name, image, None, None if poses is None else poses[i], camera))
    notes = (
        "depth: none",
        f"poses: camera to world, moved from camera 0 to {name} with calib.txt" if poses is not None else "poses: none",
        f"camera: P{name[-1]} of calib.txt",
        "times: times.txt, seconds since the start" if times else "times: nominal, 10 frames a second",
    )
    return LazySequence(DATASET, folder.name, listing, notes=notes)
