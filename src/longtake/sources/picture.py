# SPDX-License-Identifier: Apache-2.0
"""Any picture becomes upright uint8 RGB: grey, alpha, palette, 16-bit, CMYK, float, turned as its EXIF says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from longtake.errors import InputError


def read_picture(path: Path | str) -> np.ndarray:
    """Read one image file as (H, W, 3) uint8 RGB, turned upright by its EXIF orientation. Alpha is dropped.

    Raises InputError if the file cannot be read as a picture, is cut off, or is too large for Pillow's limit.
    """
    path = Path(path)
    try:
        with Image.open(path) as image:
            image.load()
            return to_rgb(upright(image))
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    except Image.DecompressionBombError as error:
        raise InputError(f"{path}: {error} Make the picture smaller first.") from error
    except MemoryError as error:
        raise InputError(f"{path}: the picture does not fit into memory. Make it smaller first.") from error
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise InputError(f"{path}: {_why(path, error)}") from error


def to_rgb(image: Image.Image) -> np.ndarray:
    """Convert a Pillow image of any mode to (H, W, 3) uint8 RGB, without turning it."""
    if image.mode == "F":
        return _grey(unit_to_bytes(np.asarray(image)))
    if image.mode.startswith("I"):  # 16-bit grey, also in 32-bit containers
        values = np.asarray(image).astype(np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise InputError(
                f"32-bit grey values from {values.min():.0f} to {values.max():.0f}; 8 or 16 bits are wanted. "
                "Save the picture as 8-bit RGB."
            )
        return _grey(values / 257)  # 65535 / 257 = 255: scaled, not clipped
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # palettes may carry transparency, which RGB alone would warn about
    return np.array(image.convert("RGB"))


def upright(image: Image.Image) -> Image.Image:
    """Turn an image as its EXIF orientation says; one without a readable orientation stays as it is."""
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF says nothing about the pixels, which have been read
        return image


def looks_like_text(path: Path) -> bool:
    """Tell whether a file is plain text: then it is neither a picture nor a video, whatever its name says."""
    with path.open("rb") as file:
        head = file.read(4096)
    if not head or b"\0" in head or head.startswith((b"YUV4MPEG2", b"P1\n", b"P2\n", b"P3\n")):
        return False
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character is cut at the end of what was read
            return False
        text = head[: error.start].decode()
    return all(character.isprintable() or character in "\t\r\n\f\ufeff" for character in text)


def _why(path: Path, error: Exception) -> str:
    if not path.exists():
        return "there is no such file."
    if isinstance(error, PermissionError):
        return "it may not be read (permission denied). Change its permissions."
    if path.stat().st_size == 0:
        return "the file is empty (0 bytes)."
    if looks_like_text(path):
        return "this is text, not a picture, in spite of its name. Pass a PNG, JPEG or another image file."
    if isinstance(error, UnidentifiedImageError):
        return "it is not a picture that Pillow can read. Save it as PNG or JPEG."
    return f"the picture is damaged or cut off ({error}). Copy or save it again."


def unit_to_bytes(values: np.ndarray) -> np.ndarray:
    """Bring floats in [0, 1] to [0, 255]; a hair outside is rounding, more is an error."""
    low, high = float(values.min()), float(values.max())
    if not (low >= -1e-3 and high <= 1 + 1e-3):  # also catches nan
        raise InputError(
            f"floating-point values from {low:g} to {high:g}; they must lie in [0, 1]. "
            "Divide by the largest possible value, or pass uint8."
        )
    return np.clip(values, 0, 1) * 255


def _grey(values: np.ndarray) -> np.ndarray:
    return np.repeat(np.rint(values).astype(np.uint8)[..., None], 3, axis=2)
