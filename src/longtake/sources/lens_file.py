# SPDX-License-Identifier: Apache-2.0
"""A known camera from a file: COLMAP's cameras.txt, nerfstudio's transforms.json, a take's cameras.json, plain JSON.

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
from longtake.geometry.lens import Lens

# COLMAP's models by name: how many focal lengths, and what the numbers after the centre are.
_COLMAP: dict[str, tuple[int, tuple[str, ...]]] = {
    "SIMPLE_PINHOLE": (1, ()),
    "PINHOLE": (2, ()),
    "SIMPLE_RADIAL": (1, ("k1",)),
    "RADIAL": (1, ("k1", "k2")),
    "OPENCV": (2, ("k1", "k2", "p1", "p2")),
    "FULL_OPENCV": (2, ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
}
_ORDER = ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")  # OpenCV's
_FOLDED = ("FISHEYE", "EQUIRECTANGULAR", "FOV", "THIN_PRISM")  # in names of models that are no Brown lens
_WANTED = (
    "wanted COLMAP's cameras.txt, nerfstudio's transforms.json, cameras.json of a take, or JSON with fx, fy, cx, cy, "
    "and if known width, height, k1, k2, p1, p2, k3"
)


def read_lens(path: str | os.PathLike[str]) -> Lens:
    """Read the one camera of a file, or of a folder with cameras.txt or transforms.json. Raises InputError.

    Plain JSON counts pixels as we and OpenCV do, centres at integers.
    """
    path = Path(path).expanduser()
    for name in ("cameras.txt", "sparse/0/cameras.txt", "transforms.json", "cameras.json"):
        if path.is_dir() and (path / name).is_file():
            path = path / name
    try:
        text = path.read_text("utf-8")
    except (OSError, ValueError) as error:
        hint = " COLMAP writes text with: colmap model_converter --output_type TXT." if path.suffix == ".bin" else ""
        raise InputError(f"{path}: no camera can be read from it ({error}); {_WANTED}.{hint}") from error
    if path.suffix.lower() == ".txt":
        return _one(path, [_colmap(path, line) for line in text.splitlines() if line.strip() and line[0] != "#"])
    try:
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
        k = camera_matrix(*(float(document[key]) for key in ("fx", "fy", "cx", "cy")))
        return Lens(k, _brown(document), _size(document, "width", "height"))
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


def _colmap(path: Path, line: str) -> Lens:
    words = line.split()
    try:
        model, (width, height), numbers = words[1], map(int, words[2:4]), [float(word) for word in words[4:]]
    except (ValueError, IndexError):
        raise InputError(f"{path}: wanted `ID MODEL WIDTH HEIGHT PARAMS`, got {line[:60]!r}.") from None
    if model not in _COLMAP:
        raise InputError(f"{path}: camera model {model}; {', '.join(_COLMAP)} can be used. {_UNDO}")
    focals, keys = _COLMAP[model]
    if len(numbers) != focals + 2 + len(keys):
        raise InputError(f"{path}: {model} with {len(numbers)} numbers; wanted {focals + 2 + len(keys)}.")
    k = camera_matrix(numbers[0], numbers[focals - 1], numbers[focals] - 0.5, numbers[focals + 1] - 0.5)
    return Lens(k, _brown(dict(zip(keys, numbers[focals + 2 :], strict=True))), (width, height))


_UNDO = "Undistort the frames first with the tool that this camera is from."


def _nerfstudio(path: Path, keys: Mapping[str, Any]) -> Lens:
    model = str(keys.get("camera_model", "OPENCV"))
    if any(name in model for name in _FOLDED):
        raise InputError(f"{path}: camera_model {model} is no lens with k1 k2 p1 p2 k3. {_UNDO}")
    fx = float(keys["fl_x"])
    k = camera_matrix(fx, float(keys.get("fl_y", fx)), float(keys["cx"]) - 0.5, float(keys["cy"]) - 0.5)
    return Lens(k, _brown({**keys, "k4": 0.0}), _size(keys, "w", "h"))  # its k4 is a fisheye's


def _ours(frame: Mapping[str, Any]) -> Lens:
    width, height = frame["original_size"]
    return Lens(np.array(frame["intrinsics_original"]), (), (int(width), int(height)))


def _brown(keys: Mapping[str, Any]) -> tuple[float, ...]:
    """Return 4, 5 or 8 coefficients in OpenCV's order, as many as are not 0."""
    values = [float(keys.get(key) or 0.0) for key in _ORDER]
    return tuple(values if any(values[5:]) else values[:5] if values[4] else values[:4])


def _size(keys: Mapping[str, Any], width: str, height: str) -> tuple[int, int] | None:
    return (int(keys[width]), int(keys[height])) if width in keys and height in keys else None
