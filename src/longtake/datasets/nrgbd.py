# SPDX-License-Identifier: Apache-2.0
"""Neural RGB-D synthetic scenes, `nrgbd`.

Layout       SCENE/{images/imgN.png, depth/depthN.png (else depth_filtered/), poses.txt, focal.txt}; SCENE or a folder
             of scenes.
Depth        16-bit PNG, millimetres, z, registered to colour.
Invalid      0; beyond 10 m or below 1 mm.
Poses        camera to world, 4N lines of four numbers, metres, OpenGL axes (x right, y up, z backwards): columns 1 and
             2 change sign. Lines of nan mark lost frames, which are dropped.
Camera       focal.txt (one number; 554.2563 in the published scenes, which is taken without the file), principal point
             in the middle of the picture as published: (W / 2, H / 2), 320, 240.
Time         none: nominal, 30 frames a second. Association: by the number in the name.
Source       field.md 5.4 (camera, depth limits), ecosystem.md (OpenGL axes); the axes and the blocks of poses.txt are
             those of the data set's own readme.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from longtake.datasets.depth import read_png_depth
from longtake.datasets.numbers import OPENCV_FROM_OPENGL, read_rows
from longtake.datasets.reading import FrameFiles, LazySequence, Listing, find_folders, open_each, pictures
from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix
from longtake.sources.image_files import header_size

DATASET = "nrgbd"
LAYOUT = "SCENE/{images/imgN.png, depth/depthN.png, poses.txt (4 lines a frame), focal.txt}"
SCALE = 1000.0
NEAREST, FARTHEST = 0.001, 10.0  # metres
FOCAL = 554.2563
RATE = 30.0  # frames a second, nominal
NOTES = (
    "depth: PNG / 1000 m, z, 0, below 1 mm and beyond 10 m = unknown",
    "poses: camera to world, OpenGL axes turned to OpenCV; nan = dropped",
    "camera: focal length as published or in focal.txt, principal point (W / 2, H / 2)",
    "times: nominal, 30 frames a second",
)


def looks_like(folder: Path) -> bool:
    """Say whether this is one such scene."""
    return (folder / "images").is_dir() and (folder / "poses.txt").is_file()


def open_folder(folder: Path) -> list[LazySequence]:
    """Open a scene or a folder of scenes. Raises InputError where nothing can be used."""
    return open_each(DATASET, folder, find_folders(folder, looks_like), _open, LAYOUT)


def _open(folder: Path) -> LazySequence:
    images = pictures(folder / "images")
    depths = {_number(path): path for kind in ("depth_filtered", "depth") for path in pictures(folder / kind)}
    rows = read_rows(folder / "poses.txt")
    if any(len(row) != 4 for row in rows) or len(rows) != 4 * len(images):
        raise InputError(
            f"{folder / 'poses.txt'}: {len(rows)} lines for {len(images)} pictures; wanted four lines of four numbers "
            "a picture."
        )
    poses = np.array(rows, np.float64).reshape(-1, 4, 4) @ OPENCV_FROM_OPENGL
    focal = read_rows(folder / "focal.txt")[0][0] if (folder / "focal.txt").is_file() else FOCAL
    width, height = header_size(images[0]) if images else (640, 480)
    camera = camera_matrix(focal, focal, width / 2, height / 2)
    listing = Listing()
    for i, (image, pose) in enumerate(zip(images, poses, strict=True)):
        depth = depths.get(_number(image))
        if depths and depth is None:
            listing.drop(image.name, f"no depth map has the number {_number(image)}")
        else:
            listing.add(FrameFiles(i, i / RATE, image.name, image, depth, pose, camera))
    read = partial(read_png_depth, scale=SCALE, nearest=NEAREST, farthest=FARTHEST)
    return LazySequence(DATASET, folder.resolve().name, listing, notes=NOTES, read_depth=read)


def _number(path: Path) -> int:
    digits = re.findall(r"[0-9]+", path.stem)
    if not digits:
        raise InputError(f"{path}: no number in its name; wanted {LAYOUT}.")
    return int(digits[-1])
