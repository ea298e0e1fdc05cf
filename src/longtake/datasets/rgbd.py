# SPDX-License-Identifier: Apache-2.0
"""The plain RGB-D folder, `rgbd`: what `longtake data synthesize` writes.

Layout       rgb/*.jpg or *.png, depth/*.png, poses.txt, intrinsics.txt; or a folder of such folders.
Depth        16-bit PNG, millimetres (scale 1000), z, registered to colour; some frames may have none, the others share
             the picture's name. A map may hold every r-th colour pixel: (u, v) is colour pixel (r u, r v).
Invalid      0.
Poses        camera to world, one row-major 4x4 a line, metres, OpenCV axes, as many lines as pictures.
Camera       3x3 in colour pixels, centres at integers.
Time         none: nominal, 30 frames a second. Association: by the order of the names.
Source       the description of the office_walk and heldout_v1 data; design.md, conventions.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from longtake.datasets.depth import every_rth, read_png_depth
from longtake.datasets.numbers import read_camera, read_pose_table
from longtake.datasets.reading import FrameFiles, LazySequence, Listing, find_folders, open_each, pictures
from longtake.errors import InputError

DATASET = "rgbd"
LAYOUT = "rgb/, depth/ (some frames may lack it), poses.txt (16 numbers a line), intrinsics.txt (3x3)"
RATE = 30.0  # frames a second, nominal
SCALE = 1000.0
NOTES = (
    "depth: PNG / 1000 m, z, 0 = unknown; a smaller map holds every r-th colour pixel from (0, 0) on",
    "poses: camera to world, 4x4, OpenCV axes",
    "camera: intrinsics.txt, colour pixels, centres at integers",
    "times: nominal, 30 frames a second",
)


def looks_like(folder: Path) -> bool:
    """Say whether this is one such take."""
    return (folder / "rgb").is_dir() and (folder / "poses.txt").is_file()


def open_folder(folder: Path) -> list[LazySequence]:
    """Open a take or a folder of takes. Raises InputError where nothing can be used."""
    return open_each(DATASET, folder, find_folders(folder, looks_like), _open, LAYOUT)


def _open(folder: Path) -> LazySequence:
    images = pictures(folder / "rgb")
    poses = read_pose_table(folder / "poses.txt", 16)
    if len(images) != len(poses):
        raise InputError(
            f"{folder}: {len(images)} pictures in rgb/ but {len(poses)} lines in poses.txt, so nobody can tell which "
            "belong together; each picture needs exactly one line."
        )
    camera = read_camera(folder / "intrinsics.txt")
    depths = {file.stem: file for file in pictures(folder / "depth")}
    listing = Listing()
    for i, (image, pose) in enumerate(zip(images, poses, strict=True)):
        depth = depths.pop(image.stem, None)
        listing.add(FrameFiles(i, i / RATE, image.name, image, depth, pose, camera))
    for stray in depths.values():
        listing.drop(f"depth/{stray.name}", "no picture in rgb/ has this name")
    read = partial(read_png_depth, scale=SCALE)
    return LazySequence(DATASET, folder.resolve().name, listing, notes=NOTES, read_depth=read, place_depth=every_rth)
