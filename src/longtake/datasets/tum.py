# SPDX-License-Identifier: Apache-2.0
"""TUM RGB-D, `tum`.

Layout       SEQ/{rgb/, rgb.txt, depth/, depth.txt, groundtruth.txt}; SEQ or a folder that holds some.
Depth        16-bit PNG / 5000 m, z, registered to colour.
Invalid      0.
Poses        camera to world: `timestamp tx ty tz qx qy qz qw`, quaternion x y z w, OpenCV axes, metres.
Camera       none in the folder. freiburg1, 2, 3 in the name choose the published calibration, else 525, 525, 319.5,
             239.5; an intrinsics.txt (3x3) beside rgb/ goes first. Lens distortion of freiburg1 and 2 is not undone.
Time         Unix seconds from rgb.txt, else from the file names. Association: colour to pose and colour to depth
             within 20 ms, greedy by time difference. A frame without a pose is dropped, one without depth stays.
Source       field.md 5.5 (layout, 20 ms, greedy), ecosystem.md (scale 5000, quaternion order, direction); the
             calibrations are those of the data set's own page.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from longtake.datasets.depth import read_png_depth
from longtake.datasets.numbers import read_camera
from longtake.datasets.reading import FrameFiles, LazySequence, Listing, find_folders, open_each
from longtake.datasets.stamps import associate, read_stamped, read_stamped_poses
from longtake.geometry.camera import camera_matrix

DATASET = "tum"
LAYOUT = "rgbd_dataset_*/{rgb/, rgb.txt, depth/, depth.txt, groundtruth.txt}"
SCALE = 5000.0
TOLERANCE = 0.02  # seconds between a picture and its pose or depth
CAMERAS = {
    "freiburg1": camera_matrix(517.3, 516.5, 318.6, 255.3),
    "freiburg2": camera_matrix(520.9, 521.0, 325.1, 249.7),
    "freiburg3": camera_matrix(535.4, 539.2, 320.1, 247.6),
}
USUAL_CAMERA = camera_matrix(525.0, 525.0, 319.5, 239.5)
NOTES = (
    "depth: PNG / 5000 m, z, 0 = unknown",
    "poses: camera to world, quaternion x y z w, OpenCV axes; colour to pose and to depth within 20 ms, greedy",
    "times: Unix seconds of the colour pictures",
)


def looks_like(folder: Path) -> bool:
    """Say whether this is one such sequence."""
    return (folder / "rgb").is_dir() and (folder / "groundtruth.txt").is_file()


def open_folder(folder: Path) -> list[LazySequence]:
    """Open a sequence or a folder of sequences. Raises InputError where nothing can be used."""
    return open_each(DATASET, folder, find_folders(folder, looks_like), _open, LAYOUT)


def camera_of(folder: Path) -> tuple[np.ndarray, str]:
    """Return the camera (3, 3) of a sequence, and the note that says where it comes from."""
    if (folder / "intrinsics.txt").is_file():
        return read_camera(folder / "intrinsics.txt"), "camera: intrinsics.txt"
    name = next((key for key in CAMERAS if key in folder.resolve().name), None)
    if name:
        return CAMERAS[name], f"camera: the published one of {name}; lens distortion is not undone"
    return USUAL_CAMERA, "camera: 525 525 319.5 239.5, as the folder's name says neither freiburg1, 2 nor 3"


def _open(folder: Path) -> LazySequence:
    colour, depth = read_stamped(folder, "rgb"), read_stamped(folder, "depth")
    pose_times, poses = read_stamped_poses(folder / "groundtruth.txt")
    pose_of = associate(colour.times, pose_times, TOLERANCE)
    depth_of = associate(colour.times, depth.times, TOLERANCE)
    camera, note = camera_of(folder)
    listing = Listing()
    for i, (time, image) in enumerate(zip(colour.times, colour.files, strict=True)):
        at = depth.files[depth_of[i]] if i in depth_of else None
        if i not in pose_of:
            listing.drop(image.name, "no pose in groundtruth.txt within 20 ms of it")
        elif not image.is_file():
            listing.drop(image.name, "rgb.txt lists it, but the file is missing")
        elif at and not at.is_file():
            listing.drop(image.name, f"depth.txt lists {at.name} for it, but the file is missing")
        else:
            listing.add(FrameFiles(i, float(time), image.name, image, at, poses[pose_of[i]], camera))
    read = partial(read_png_depth, scale=SCALE)
    return LazySequence(DATASET, folder.resolve().name, listing, notes=(*NOTES, note), read_depth=read)
