# SPDX-License-Identifier: Apache-2.0
"""Bonn RGB-D Dynamic, `bonn`.

Layout       rgbd_bonn_SEQ/{rgb/*.png, depth/*.png, groundtruth.txt}; one, or a folder that holds some.
Depth        16-bit PNG / 5000 m, z, registered to colour.
Invalid      0.
Poses        `timestamp tx ty tz qx qy qz qw`, quaternion x y z w, read as camera to world, metres.
Camera       none in the folder: 542.823, 542.577, 315.594, 237.756; an intrinsics.txt (3x3) beside rgb/ goes first.
             Lens distortion is not undone.
Time         seconds from the pictures' names. Association: BY INDEX after sorting, picture i with depth i and pose i,
             as the published evaluations pair them (they use the frames from 30 on). What is left over is dropped; the
             notes give the time differences that the pairs really have.
Source       field.md 5.5 (layout, pairing), 5.3 (scale 5000, zeros invalid); the camera is that of the data set's page.
"""

from __future__ import annotations

from functools import partial
from itertools import zip_longest
from pathlib import Path

import numpy as np

from longtake.datasets.depth import read_png_depth
from longtake.datasets.numbers import read_camera
from longtake.datasets.reading import FrameFiles, LazySequence, Listing, find_folders, open_each, pictures
from longtake.datasets.stamps import read_stamped_poses, time_of
from longtake.geometry.camera import camera_matrix

DATASET = "bonn"
LAYOUT = "rgbd_bonn_*/{rgb/, depth/, groundtruth.txt}"
SCALE = 5000.0
CAMERA = camera_matrix(542.822841, 542.576870, 315.593520, 237.756098)
NOTES = (
    "depth: PNG / 5000 m, z, 0 = unknown",
    "poses: read as camera to world, quaternion x y z w",
    "pairing: picture, depth and pose by index after sorting, as published",
    "times: seconds, from the names of the colour pictures",
)


def looks_like(folder: Path) -> bool:
    """Say whether this is one such sequence: it looks like TUM's, and the name tells them apart."""
    named = folder.resolve().name.startswith("rgbd_bonn_")
    return named and (folder / "rgb").is_dir() and (folder / "groundtruth.txt").is_file()


def open_folder(folder: Path) -> list[LazySequence]:
    """Open a sequence or a folder of sequences. Raises InputError where nothing can be used."""
    return open_each(DATASET, folder, find_folders(folder, looks_like), _open, LAYOUT)


def _open(folder: Path) -> LazySequence:
    images, depths = (sorted(pictures(folder / kind), key=time_of) for kind in ("rgb", "depth"))
    pose_times, poses = read_stamped_poses(folder / "groundtruth.txt")
    if (folder / "intrinsics.txt").is_file():
        camera, note = read_camera(folder / "intrinsics.txt"), "camera: intrinsics.txt"
    else:
        camera, note = CAMERA, "camera: the published one; lens distortion is not undone"
    listing = Listing()
    for i, (image, depth) in enumerate(zip_longest(images, depths)):
        if image is None:
            listing.drop(f"depth/{depth.name}", f"there are {len(images)} pictures and {len(depths)} depth maps")
        elif depth is None and depths:
            listing.drop(image.name, f"there are {len(images)} pictures and {len(depths)} depth maps")
        elif i >= len(poses):
            listing.drop(image.name, f"there are {len(images)} pictures and {len(poses)} poses")
        else:
            listing.add(FrameFiles(i, time_of(image), image.name, image, depth, poses[i], camera))
    times = np.array([time_of(image) for image in images])
    notes = [*NOTES, note, _gaps("pose", times, pose_times)]
    notes += [_gaps("depth", times, np.array([time_of(depth) for depth in depths]))] if depths else []
    read = partial(read_png_depth, scale=SCALE)
    return LazySequence(DATASET, folder.resolve().name, listing, notes=notes, read_depth=read)


def _gaps(what: str, times: np.ndarray, others: np.ndarray) -> str:
    n = min(len(times), len(others))
    gaps = np.abs(times[:n] - others[:n]) * 1000
    if not n:
        return f"picture to {what}: nothing to pair"
    text = f"picture to {what}: {np.median(gaps):.1f} ms apart in the median, {gaps.max():.1f} ms at most"
    return text + ("; that is more than a frame: pairing by index is doubtful here" if np.median(gaps) > 33 else "")
