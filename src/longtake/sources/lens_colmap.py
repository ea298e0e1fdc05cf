# SPDX-License-Identifier: Apache-2.0
"""COLMAP's cameras as lenses, from its text and its binary file.

COLMAP counts pixels from the corner of the first one, so half a pixel is taken off its centres. Source: COLMAP's
documentation of its camera models and its output format (binary: little endian, models by number).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix
from longtake.geometry.lens import Lens, brown

# Models by name: how many focal lengths, and what the numbers after the centre are.
_MODELS: dict[str, tuple[int, tuple[str, ...]]] = {
    "SIMPLE_PINHOLE": (1, ()),
    "PINHOLE": (2, ()),
    "SIMPLE_RADIAL": (1, ("k1",)),
    "RADIAL": (1, ("k1", "k2")),
    "OPENCV": (2, ("k1", "k2", "p1", "p2")),
    "FULL_OPENCV": (2, ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6")),
}
# By number, as the binary file has them, with how many numbers each has.
_NUMBERED = (
    ("SIMPLE_PINHOLE", 3), ("PINHOLE", 4), ("SIMPLE_RADIAL", 4), ("RADIAL", 5), ("OPENCV", 8), ("OPENCV_FISHEYE", 8),
    ("FULL_OPENCV", 12), ("FOV", 5), ("SIMPLE_RADIAL_FISHEYE", 4), ("RADIAL_FISHEYE", 5), ("THIN_PRISM_FISHEYE", 12),
)  # fmt: skip
UNDO = "Undistort the frames first with the tool that this camera is from."


def read_text(path: Path, text: str) -> list[Lens]:
    """Return the lenses of cameras.txt: `ID MODEL WIDTH HEIGHT PARAMS` a line. Raises InputError."""
    return [_line(path, line) for line in text.splitlines() if line.strip() and line[0] != "#"]


def _line(path: Path, line: str) -> Lens:
    words = line.split()
    try:
        model, (width, height), numbers = words[1], map(int, words[2:4]), [float(word) for word in words[4:]]
    except (ValueError, IndexError):
        raise InputError(f"{path}: wanted `ID MODEL WIDTH HEIGHT PARAMS`, got {line[:60]!r}.") from None
    return _lens(path, model, (width, height), numbers)


def read_binary(path: Path, data: bytes) -> list[Lens]:
    """Return the lenses of cameras.bin. Raises InputError."""
    lenses, at = [], 8
    try:
        (count,) = struct.unpack_from("<Q", data)
        for _ in range(count):
            _, number, width, height = struct.unpack_from("<iiQQ", data, at)
            if not 0 <= number < len(_NUMBERED):
                raise InputError(f"{path}: camera model number {number}; wanted 0 to {len(_NUMBERED) - 1}.")
            model, size = _NUMBERED[number]
            lenses.append(_lens(path, model, (width, height), struct.unpack_from(f"<{size}d", data, at + 24)))
            at += 24 + 8 * size
    except struct.error:
        raise InputError(f"{path}: ends at byte {len(data)}, in mid entry; is it COLMAP's? Copy it again.") from None
    return lenses


def _lens(path: Path, model: str, size: tuple[int, int], numbers: Sequence[float]) -> Lens:
    if model not in _MODELS:
        raise InputError(f"{path}: camera model {model}; {', '.join(_MODELS)} can be used. {UNDO}")
    focals, keys = _MODELS[model]
    if len(numbers) != focals + 2 + len(keys):
        raise InputError(f"{path}: {model} with {len(numbers)} numbers; wanted {focals + 2 + len(keys)}.")
    k = camera_matrix(numbers[0], numbers[focals - 1], numbers[focals] - 0.5, numbers[focals + 1] - 0.5)
    return Lens(k, brown(dict(zip(keys, numbers[focals + 2 :], strict=True))), size)
