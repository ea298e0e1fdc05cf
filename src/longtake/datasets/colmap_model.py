# SPDX-License-Identifier: Apache-2.0
"""COLMAP's sparse models on disk, text and binary: cameras and images, as they stand in the file.

Source: COLMAP's documentation of its output format; ecosystem.md for the text lines. Little endian throughout.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from longtake.datasets.numbers import pinhole, read_lines
from longtake.errors import InputError

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
        return pinhole(fx, fy, cx - 0.5, cy - 0.5)

    @property
    def is_distorted(self) -> bool:
        """Whether a lens distortion other than none is written."""
        return any(self.params[3 if self.model in ONE_FOCAL else 4 :])


@dataclass(frozen=True, slots=True)
class Picture:
    """One registered picture: cam_from_world as quaternion w x y z and translation, its camera and its name."""

    quat_wxyz: tuple[float, ...]
    translation: tuple[float, ...]
    camera: int
    name: str


def model_folder(folder: Path) -> Path | None:
    """Return where the model lies: sparse/0, sparse, or the folder itself; None if there is none."""
    for place in (folder / "sparse" / "0", folder / "sparse", folder):
        for end in (".bin", ".txt"):
            if (place / f"cameras{end}").is_file() and (place / f"images{end}").is_file():
                return place
    return None


def read_model(place: Path) -> tuple[dict[int, Camera], list[Picture]]:
    """Read the cameras and pictures of a model folder, binary files first. Raises InputError on damaged files."""
    if (place / "cameras.bin").is_file() and (place / "images.bin").is_file():
        return _binary_cameras(place / "cameras.bin"), _binary_pictures(place / "images.bin")
    return _text_cameras(place / "cameras.txt"), _text_pictures(place / "images.txt")


def _camera(path: Path, model: str, size: tuple[int, int], params: tuple[float, ...]) -> Camera:
    if COUNT.get(model) != len(params):
        known = ", ".join(COUNT)
        raise InputError(f"{path}: camera model {model} with {len(params)} parameters; known models: {known}.")
    return Camera(model, size, params)


def _text_cameras(path: Path) -> dict[int, Camera]:
    cameras = {}
    for number, line in enumerate(read_lines(path), 1):
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


def _text_pictures(path: Path) -> list[Picture]:
    pictures = []
    lines = enumerate(read_lines(path), 1)
    for number, line in lines:
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        words = line.split(maxsplit=9)
        try:
            values = tuple(float(word) for word in words[1:8])
            pictures.append(Picture(values[:4], values[4:7], int(words[8]), words[9].strip()))
        except (ValueError, IndexError):
            wanted = "ID QW QX QY QZ TX TY TZ CAMERA NAME"
            raise InputError(f"{path}, line {number}: wanted `{wanted}`, got {line[:60]!r}.") from None
        next(lines, None)  # the picture's points, possibly an empty line
    return pictures


class _Bytes:
    """Reads numbers off a binary file; InputError where it ends too early."""

    def __init__(self, path: Path) -> None:
        self.path, self.at = path, 0
        try:
            self.data = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror}).") from error

    def take(self, form: str) -> tuple:
        try:
            values = struct.unpack_from("<" + form, self.data, self.at)
        except (struct.error, OverflowError):
            raise InputError(f"{self.path}: ends at byte {len(self.data)}, in mid entry. Copy it again.") from None
        self.at += struct.calcsize("<" + form)
        return values

    def text(self) -> str:
        end = self.data.find(b"\0", self.at)
        if end < 0:
            raise InputError(f"{self.path}: a picture's name does not end. Copy it again.")
        text = self.data[self.at : end].decode("utf-8", "replace")
        self.at = end + 1
        return text


def _binary_cameras(path: Path) -> dict[int, Camera]:
    file, cameras = _Bytes(path), {}
    for _ in range(file.take("Q")[0]):
        key, model, width, height = file.take("iiQQ")
        if not 0 <= model < len(MODELS):
            raise InputError(f"{path}: camera model number {model}; the known ones are 0 to {len(MODELS) - 1}.")
        name, count = MODELS[model]
        cameras[key] = _camera(path, name, (width, height), file.take(f"{count}d"))
    return cameras


def _binary_pictures(path: Path) -> list[Picture]:
    file, pictures = _Bytes(path), []
    for _ in range(file.take("Q")[0]):
        values = file.take("I7dI")
        name = file.text()
        (points,) = file.take("Q")
        file.at += 24 * points  # x, y, point id of each
        pictures.append(Picture(values[1:5], values[5:8], values[8], name))
    return pictures
