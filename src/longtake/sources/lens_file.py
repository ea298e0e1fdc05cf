# SPDX-License-Identifier: Apache-2.0
"""A known camera from a file: COLMAP's cameras, nerfstudio's transforms.json, ROS's camera_info, a take's cameras.json,
plain JSON.

COLMAP and nerfstudio count pixels from the corner of the first one, so half a pixel is taken off their centres.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix
from longtake.geometry.lens import Lens, brown
from longtake.sources.colmap_cameras import binary_cameras, text_cameras
from longtake.sources.lens_colmap import UNDO, lens_of
from longtake.sources.lens_yaml import read_yaml

_FOLDED = (
    "FISHEYE",
    "EQUIRECTANGULAR",
    "EQUIDISTANT",
    "FOV",
    "THIN_PRISM",
)  # in names of models that are no Brown lens
_WANTED = (
    "wanted COLMAP's cameras.txt or .bin, nerfstudio's transforms.json, ROS's camera_info as YAML, cameras.json of a "
    "take, or JSON with fx, fy, cx, cy, and if known width, height, k1, k2, p1, p2, k3"
)
_IN_FOLDERS = (
    "cameras.txt", "cameras.bin", "sparse/0/cameras.txt", "sparse/0/cameras.bin", "transforms.json", "cameras.json"
)  # fmt: skip


def read_lens(path: str | os.PathLike[str]) -> Lens:
    """Read the one camera of a file, or of a folder that holds one. Raises InputError; MissingExtra for YAML.

    Plain JSON and YAML count pixels as we and OpenCV do, centres at integers.
    """
    path = Path(path).expanduser()
    for name in _IN_FOLDERS:
        if path.is_dir() and (path / name).is_file():
            path = path / name
    try:
        data = path.read_bytes()
        if path.suffix.lower() == ".bin":
            return _one(path, [lens_of(path, each) for each in binary_cameras(path, data).values()])
        text = data.decode("utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no camera can be read from it ({error}); {_WANTED}.") from error
    if path.suffix.lower() == ".txt":
        return _one(path, [lens_of(path, each) for each in text_cameras(path, text.splitlines()).values()])
    try:
        if path.suffix.lower() in (".yaml", ".yml"):
            return _one(path, read_yaml(path, text))
        document = json.loads(text)
        if not isinstance(document, dict):
            raise ValueError("it holds no object")
        if str(document.get("format", "")).startswith("longtake-cameras/"):
            lens = document.get("lens")
            if isinstance(lens, dict) and lens["distortion"]:  # the frames' matrices are of undistorted pictures
                return Lens.from_dict(lens)
            return _one(path, [_ours(frame) for frame in document["frames"] if frame["intrinsics_original"]])
        if "fl_x" in document:
            return _nerfstudio(path, document)
        if "frames" in document:
            return _one(path, [_nerfstudio(path, {**document, **frame}) for frame in document["frames"]])
        _check_brown(path, document)
        k = camera_matrix(*(float(document[key]) for key in ("fx", "fy", "cx", "cy")))
        return Lens(k, brown(document), _size(document, "width", "height"))
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        what = f"{error} is missing" if isinstance(error, KeyError) else error
        raise InputError(f"{path}: no camera can be read from it ({what}); {_WANTED}.") from error


def _one(path: Path, lenses: list[Lens]) -> Lens:
    """Return the lens that all of them are. Raises InputError."""
    if not lenses:
        raise InputError(f"{path}: it names no camera; {_WANTED}.")
    first = lenses[0]
    for lens in lenses[1:]:
        same = lens.size == first.size and lens.distortion == first.distortion
        if not (same and np.allclose(lens.intrinsics, first.intrinsics, rtol=1e-6)):
            raise InputError(f"{path}: it names several cameras. Give a file with the one that took these frames.")
    return first


def _check_brown(path: Path, keys: Mapping[str, Any]) -> None:
    """Raise InputError where a file names a model that is no Brown lens: its k1 would mean something else."""
    for name in ("camera_model", "distortion_model", "model"):
        model = str(keys.get(name) or "")
        if any(each in model.upper() for each in _FOLDED):
            raise InputError(f"{path}: {name} {model} is no lens with k1 k2 p1 p2 k3. {UNDO}")
    if keys.get("is_fisheye"):  # instant-ngp's word for it
        raise InputError(f"{path}: is_fisheye, no lens with k1 k2 p1 p2 k3. {UNDO}")


def _nerfstudio(path: Path, keys: Mapping[str, Any]) -> Lens:
    _check_brown(path, keys)
    fx = float(keys["fl_x"])
    k = camera_matrix(fx, float(keys.get("fl_y", fx)), float(keys["cx"]) - 0.5, float(keys["cy"]) - 0.5)
    return Lens(k, brown({**keys, "k4": 0.0}), _size(keys, "w", "h"))  # its k4 is a fisheye's


def _ours(frame: Mapping[str, Any]) -> Lens:
    width, height = frame["original_size"]
    return Lens(np.array(frame["intrinsics_original"]), (), (int(width), int(height)))


def _size(keys: Mapping[str, Any], width: str, height: str) -> tuple[int, int] | None:
    return (int(keys[width]), int(keys[height])) if width in keys and height in keys else None
