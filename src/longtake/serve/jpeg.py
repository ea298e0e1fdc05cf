# SPDX-License-Identifier: Apache-2.0
"""JPEG frames from strangers: the size is read from the header, and refused, before a pixel is decoded."""

from __future__ import annotations

import io
import struct
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from longtake.errors import InputError

_SIZES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}  # SOF markers, ITU-T T.81 table B.1
_ALONE = frozenset(range(0xD0, 0xD9)) | {0x01}  # markers without a length
SIDES = (16, 16384)  # pixels


def jpeg_size(data: bytes) -> tuple[int, int]:
    """Return (width, height) as the frame header says. Raises InputError where there is no such header."""
    at = 2
    if data[:2] != b"\xff\xd8":
        raise InputError("not a JPEG: it does not begin with ff d8")
    while at + 4 <= len(data):
        if data[at] != 0xFF:
            break
        marker = data[at + 1]
        if marker == 0xFF or marker in _ALONE:
            at += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, at + 2)
        if marker in _SIZES:
            if at + 9 > len(data) or length < 8:
                break
            height, width = struct.unpack_from(">HH", data, at + 5)
            return width, height
        if marker == 0xDA or length < 2:
            break
        at += 2 + length
    raise InputError(f"a JPEG of {len(data)} bytes without a frame header; send whole JPEG files")


def check_size(data: bytes, max_megapixels: float) -> None:
    """Raise InputError where the header says a size that is not wanted; nothing is decoded."""
    width, height = jpeg_size(data)
    if not all(SIDES[0] <= side <= SIDES[1] for side in (width, height)):
        raise InputError(f"a JPEG of {width} x {height} pixels; sides of {SIDES[0]} to {SIDES[1]} are taken")
    if width * height > max_megapixels * 1e6:
        raise InputError(
            f"a JPEG of {width} x {height} pixels is {width * height / 1e6:.1f} megapixels; at most "
            f"{max_megapixels:g} are taken: send smaller pictures (the model sees a few hundred pixels a side)"
        )


def decode_jpeg(data: bytes, max_megapixels: float) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB. Raises InputError for what is too large, cut off or no JPEG.

    An orientation tag is not followed: live cameras send upright pictures, and a tag that changes would turn the world.
    """
    check_size(data, max_megapixels)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a bomb or a broken tag is an error here
            with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
                return np.asarray(image.convert("RGB"))
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Warning, Image.DecompressionBombError) as error:
        raise InputError(f"a JPEG of {len(data)} bytes cannot be decoded ({error})") from error
