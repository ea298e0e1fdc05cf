# SPDX-License-Identifier: Apache-2.0
"""A nerfstudio scene, `nerfstudio`.

Layout       transforms.json, and the pictures that it names.
Depth        `depth_file_path` of a frame: 16-bit PNG, millimetres (nerfstudio's unit factor 0.001), z; else none.
Invalid      0.
Poses        `transform_matrix`, camera to world, 4x4, OpenGL axes (x right, y up, z backwards): columns 1 and 2 change
             sign. `applied_transform` is left in: it moves the whole scene. Scene units unless the maker used metres.
Camera       fl_x fl_y cx cy w h, of the file or of the frame; pixel centres at halves, so 0.5 is taken off cx and cy.
             Without fl_x: camera_angle_x and the picture's width. Lens distortion is not undone; fisheye and
             equirectangular cameras have no 3x3 matrix here.
Time         none: nominal, 30 frames a second. Order: by the file names, as transforms.json has none.
Source       ecosystem.md (keys, axes, pixel centre, depth scale 1000).
"""

from __future__ import annotations

import json
import math
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from longtake.datasets.depth import read_png_depth, resized
from longtake.datasets.numbers import OPENCV_FROM_OPENGL, read_lines
from longtake.datasets.reading import FrameFiles, LazySequence, Listing, find_folders, open_each
from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix
from longtake.sources.image_files import header_size, natural_key

DATASET = "nerfstudio"
LAYOUT = "transforms.json and the pictures that it names"
SCALE = 1000.0
RATE = 30.0  # frames a second, nominal
FOLDED = {"OPENCV_FISHEYE", "EQUIRECTANGULAR", "FISHEYE624"}  # no pinhole
DISTORTION = ("k1", "k2", "k3", "k4", "p1", "p2")


def looks_like(folder: Path) -> bool:
    """Say whether this is one such scene."""
    return (folder / "transforms.json").is_file()


def open_folder(folder: Path) -> list[LazySequence]:
    """Open a scene or a folder of scenes. Raises InputError where nothing can be used."""
    return open_each(DATASET, folder, find_folders(folder, looks_like), _open, LAYOUT)


def _open(folder: Path) -> LazySequence:
    path = folder / "transforms.json"
    try:
        scene = json.loads("\n".join(read_lines(path)))
        entries = sorted(scene["frames"], key=lambda entry: natural_key(Path(entry["file_path"])))
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is no transforms.json ({error!r}); wanted `frames` with `file_path`.") from error
    listing, distorted = Listing(), False
    for i, entry in enumerate(entries):
        image = _file(folder, entry["file_path"])
        name = Path(entry["file_path"]).as_posix()
        depth = folder / entry["depth_file_path"] if entry.get("depth_file_path") else None
        missing = [str(p.relative_to(folder)) for p in (image, depth) if p is not None and not p.is_file()]
        if missing:
            listing.drop(name, f"transforms.json names {' and '.join(missing)}, but there is no such file")
            continue
        try:
            pose = np.array(entry["transform_matrix"], np.float64).reshape(4, 4) @ OPENCV_FROM_OPENGL
            camera, size = _camera({**scene, **entry}, image)
        except (ValueError, KeyError, TypeError) as error:
            listing.drop(name, f"its camera or transform_matrix cannot be read ({error!r})")
            continue
        distorted |= any({**scene, **entry}.get(key) for key in DISTORTION)
        listing.add(FrameFiles(i, i / RATE, name, image, depth, pose, camera, size))
    notes = (
        "depth: PNG / 1000, z, 0 = unknown",
        "poses: camera to world, OpenGL axes turned to OpenCV",
        "camera: transforms.json, minus half a pixel" + ("; lens distortion is not undone" if distorted else ""),
        "times: nominal, 30 frames a second in the order of the names",
    )
    read = partial(read_png_depth, scale=SCALE)
    return LazySequence(DATASET, folder.resolve().name, listing, notes=notes, read_depth=read, place_depth=resized)


def _file(folder: Path, name: str) -> Path:
    """Return a frame's picture; some files leave out the ending .png."""
    path = folder / name
    return path if path.suffix or path.is_file() else path.with_name(path.name + ".png")


def _camera(keys: dict[str, Any], image: Path) -> tuple[np.ndarray | None, tuple[int, int] | None]:
    """Return the (3, 3) camera of one frame and the size (width, height) that the file gives."""
    size = (int(keys["w"]), int(keys["h"])) if "w" in keys and "h" in keys else None
    if keys.get("camera_model") in FOLDED:
        return None, size
    if "fl_x" not in keys:
        width, height = size or header_size(image)  # camera_angle_x is worth nothing without the width
        focal = width / 2 / math.tan(float(keys["camera_angle_x"]) / 2)
        return camera_matrix(focal, focal, (width - 1) / 2, (height - 1) / 2), size
    fx = float(keys["fl_x"])
    return camera_matrix(fx, float(keys.get("fl_y", fx)), float(keys["cx"]) - 0.5, float(keys["cy"]) - 0.5), size
