# SPDX-License-Identifier: Apache-2.0
"""COLMAP's cameras as they stand in its files, text and binary: what a lens and what a data set are read from.

Source: COLMAP's documentation of its camera models and its output format. Little endian throughout.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix

MODELS = (  # (name, number of parameters), in the order of the ids of the binary format
    ("SIMPLE_PINHOLE", 3),
    ("PINHOLE", 4),
    ("SIMPLE_RADIAL", 4),
    ("RADIAL", 5),
    ("OPENCV", 8),
    ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12),
    ("FOV", 5),
    ("SIMPLE_RADIAL_FISHEYE", 4),
    ("RADIAL_FISHEYE", 5),
    ("THIN_PRISM_FISHEYE", 12),
)
ONE_FOCAL = {"SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "SIMPLE_RADIAL_FISHEYE", "RADIAL_FISHEYE"}
COUNT = dict(MODELS)


@dataclass(frozen=True, slots=True)
class Camera:
    """One camera: its model, the size (width, height) of its pictures, and its parameters in the file's order."""

    model: str
    size: tuple[int, int]
    params: tuple[float, ...]

    @property
    def intrinsics(self) -> np.ndarray | None:
        """(3, 3) float64, pixel centres at integers (COLMAP's are at halves); None where the lens is no pinhole."""
        if "FISHEYE" in self.model or self.model == "FOV":
            return None
        fx, fy, cx, cy = (self.params[0], *self.params[:3]) if self.model in ONE_FOCAL else self.params[:4]
        return camera_matrix(fx, fy, cx - 0.5, cy - 0.5)

    @property
    def distortion(self) -> tuple[float, ...]:
        """The parameters behind focal length and centre, whatever they mean to the model."""
        return self.params[3 if self.model in ONE_FOCAL else 4 :]


class Reader:
    """Reads numbers off the bytes of a file; InputError where they end too early."""

    def __init__(self, path: Path, data: bytes) -> None:
        self.path, self.data, self.at = path, data, 0

    def take(self, form: str) -> tuple:
        """Return the next numbers, by their letters in `struct`."""
        try:
            values = struct.unpack_from("<" + form, self.data, self.at)
        except (struct.error, OverflowError):
            raise InputError(f"{self.path}: ends at byte {len(self.data)}, in mid entry. Copy it again.") from None
        self.at += struct.calcsize("<" + form)
        return values

    def text(self) -> str:
        """Return the text up to the next zero."""
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise InputError(f"{self.path}: a picture's name does not end. Copy it again.")
        text = self.data[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return text


def text_cameras(path: Path, lines: Iterable[str]) -> dict[int, Camera]:
    """Read the lines of cameras.txt: `ID MODEL WIDTH HEIGHT PARAMS`. Raises InputError."""
    cameras = {}
    for number, line in enumerate(lines, 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        try:
            key, width, height = int(words[0]), int(words[2]), int(words[3])
            params = tuple(float(word) for word in words[4:])
        except (ValueError, IndexError):
            raise InputError(
                f"{path}, line {number}: wanted `ID MODEL WIDTH HEIGHT PARAMS`, got {line[:60]!r}."
            ) from None
        cameras[key] = _camera(path, words[1], (width, height), params)
    return cameras


def binary_cameras(path: Path, data: bytes) -> dict[int, Camera]:
    """Read the bytes of cameras.bin. Raises InputError."""
    file, cameras = Reader(path, data), {}
    for _ in range(file.take("Q")[0]):
        key, model, width, height = file.take("iiQQ")
        if not 0 <= model < len(MODELS):
            raise InputError(f"{path}: camera model number {model}; the known ones are 0 to {len(MODELS) - 1}.")
        name, count = MODELS[model]
        cameras[key] = _camera(path, name, (width, height), file.take(f"{count}d"))
    return cameras


def _camera(path: Path, model: str, size: tuple[int, int], params: tuple[float, ...]) -> Camera:
    if COUNT.get(model) != len(params):
        wanted = f"wanted {COUNT[model]}" if model in COUNT else f"known models: {', '.join(COUNT)}"
        raise InputError(f"{path}: camera model {model} with {len(params)} parameters; {wanted}.")
    return Camera(model, size, params)
