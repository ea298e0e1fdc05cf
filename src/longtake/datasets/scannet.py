# SPDX-License-Identifier: Apache-2.0
"""ScanNet as frames exported from the .sens files, `scannet`.

Layout       SCENE/{color/N.jpg, depth/N.png, pose/N.txt, intrinsic/intrinsic_color.txt, intrinsic_depth.txt}; SCENE or
             a folder of scenes (scans_test/). The intrinsic files may also lie in SCENE itself.
Depth        16-bit PNG, millimetres, z, 640x480 beside colour of 1296x968: each depth pixel is placed on the colour
             pixel that sees the same ray by the two camera matrices, the pixels between stay unknown. Where colour was
             exported at the depth's size, the depth's matrix is the camera of both.
Invalid      0.
Poses        camera to world, 4x4, metres, OpenCV axes. -inf where tracking was lost: such frames are dropped.
Camera       intrinsic_color.txt (4x4), colour pixels.
Time         none: nominal, 30 frames a second, from the frame's number. Association: by number, in numeric order.
Source       field.md 5.5 (layout, numeric order, camera to world; stride 3 is the evaluation's), 5.2 (-inf in truth);
             ecosystem.md (scale 1000).
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from longtake.datasets.depth import between_cameras, read_png_depth, same_size
from longtake.datasets.numbers import read_camera, read_matrix
from longtake.datasets.reading import (
    FrameFiles,
    LazySequence,
    Listing,
    PlaceDepth,
    find_folders,
    open_each,
    pictures,
)
from longtake.errors import InputError
from longtake.sources.image_files import header_size

DATASET = "scannet"
LAYOUT = "SCENE/{color/N.jpg, depth/N.png, pose/N.txt, intrinsic/intrinsic_{color,depth}.txt}"
SCALE = 1000.0
RATE = 30.0  # frames a second, nominal
NOTES = (
    "depth: PNG / 1000 m, z, 0 = unknown",
    "poses: camera to world, 4x4, OpenCV axes; frames with inf or nan are dropped",
    "times: nominal, 30 frames a second",
)


def looks_like(folder: Path) -> bool:
    """Say whether this is one exported scene."""
    return (folder / "color").is_dir() and (folder / "pose").is_dir()


def open_folder(folder: Path) -> list[LazySequence]:
    """Open a scene or a folder of scenes. Raises InputError where nothing can be used."""
    return open_each(DATASET, folder, find_folders(folder, looks_like), _open, LAYOUT)


def _open(folder: Path) -> LazySequence:
    images = pictures(folder / "color")
    depths = {path.stem: path for path in pictures(folder / "depth")}
    poses = {path.stem: path for path in (folder / "pose").glob("*.txt")}
    camera, place, note = _cameras(folder, images, depths)
    listing = Listing()
    for i, image in enumerate(images):
        absent = [f"pose/{image.stem}.txt"] * (image.stem not in poses)
        absent += [f"depth/{image.stem}.png"] * (bool(depths) and image.stem not in depths)
        if absent:
            listing.drop(image.name, f"{' and '.join(absent)} missing")
            continue
        try:
            pose = read_matrix(poses[image.stem], 4, 4)
        except InputError as error:
            listing.drop(image.name, str(error))
            continue
        number = int(image.stem) if image.stem.isdigit() else i
        listing.add(FrameFiles(i, number / RATE, image.name, image, depths.get(image.stem), pose, camera))
    read = partial(read_png_depth, scale=SCALE)
    return LazySequence(
        DATASET, folder.resolve().name, listing, notes=(*NOTES, note), read_depth=read, place_depth=place
    )


def _cameras(folder: Path, images: list[Path], depths: dict[str, Path]) -> tuple[np.ndarray, PlaceDepth, str]:
    """Return the pictures' camera, how depth goes onto them, and the note about it."""
    if not depths:
        return _camera(folder, "intrinsic_color.txt"), same_size, "camera: intrinsic_color.txt; there is no depth"
    own = _camera(folder, "intrinsic_depth.txt")
    if images and header_size(images[0]) == header_size(next(iter(depths.values()))):
        return own, same_size, "camera: intrinsic_depth.txt, as colour has the size of the depth maps"
    colour = _camera(folder, "intrinsic_color.txt")
    place = partial(between_cameras, colour=colour, own=own)
    return colour, place, "camera: intrinsic_color.txt; depth is placed by the two cameras, nearest colour pixel"


def _camera(folder: Path, name: str) -> np.ndarray:
    inside = folder / "intrinsic" / name
    return read_camera(inside if inside.is_file() or not (folder / name).is_file() else folder / name)
