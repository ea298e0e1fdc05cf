# SPDX-License-Identifier: Apache-2.0
"""COLMAP's sparse models on disk, text and binary: cameras and images, as they stand in the file.

Source: COLMAP's documentation of its output format; ecosystem.md for the text lines.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from longtake.datasets.numbers import read_lines
from longtake.errors import InputError
from longtake.sources.colmap_cameras import Camera, Reader, binary_cameras, text_cameras


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
        path = place / "cameras.bin"
        return binary_cameras(path, _bytes(path)), _binary_pictures(place / "images.bin")
    path = place / "cameras.txt"
    return text_cameras(path, read_lines(path)), _text_pictures(place / "images.txt")


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


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}).") from error


def _binary_pictures(path: Path) -> list[Picture]:
    file, pictures = Reader(path, _bytes(path)), []
    for _ in range(file.take("Q")[0]):
        values = file.take("I7dI")
        name = file.text()
        (points,) = file.take("Q")
        file.at += 24 * points  # x, y, point id of each
        pictures.append(Picture(values[1:5], values[5:8], values[8], name))
    return pictures
