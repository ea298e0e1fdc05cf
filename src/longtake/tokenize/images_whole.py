# SPDX-License-Identifier: Apache-2.0
"""The VGGT family's other ways to prepare pictures, which keep all of them: for passes over a set, `Vggt.forward`.

Streams use `images_wide`, for a border is seen as part of the scene. Every map's offset is negative where a border was
added, and leads the original's pixels to their place as any other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from PIL import Image

from longtake.errors import InputError
from longtake.frame import PixelMap

WHITE, BLACK = 255, 0


def prepare_padded(image: np.ndarray, size: int, *, patch: int = 14) -> tuple[np.ndarray, PixelMap]:
    """Resize the longer side to `size`, the other to whole patches (half to even); a white border makes it square.

    image: (H0, W0, 3) uint8 RGB; size: a multiple of the patch. Returns (size, size, 3) uint8 and the map.
    Raises InputError if the image is not (H0, W0, 3) uint8.
    """
    height, width = _size(image)
    longest = max(height, width)
    made = [
        size if side == longest else max(round(side * size / longest / patch), 1) * patch for side in image.shape[:2]
    ]
    picture = np.array(Image.fromarray(image).resize((made[1], made[0]), Image.Resampling.BICUBIC))
    framed, (top, left) = _framed(picture, (size, size), WHITE)
    scale = (made[1] / width, made[0] / height)
    return framed, PixelMap((width, height), (size, size), scale, (float(-left), float(-top)))


def prepare_square(image: np.ndarray, size: int) -> tuple[np.ndarray, PixelMap]:
    """Make a picture square by a black border, then resize it to (size, size, 3) uint8; also returns the map.

    Raises InputError if the image is not (H0, W0, 3) uint8.
    """
    height, width = _size(image)
    side = max(height, width)
    framed, (top, left) = _framed(image, (side, side), BLACK)
    made = np.array(Image.fromarray(framed).resize((size, size), Image.Resampling.BICUBIC))
    scale = size / side
    return made, PixelMap((width, height), (size, size), (scale, scale), (-left * scale, -top * scale))


def pad_to_largest(prepared: Sequence[tuple[np.ndarray, PixelMap]]) -> list[tuple[np.ndarray, PixelMap]]:
    """Give prepared pictures of several sizes one size, the largest height and width, by white borders around them."""
    height, width = (max(picture.shape[axis] for picture, _ in prepared) for axis in (0, 1))
    made = []
    for picture, pixel_map in prepared:
        framed, (top, left) = _framed(picture, (height, width), WHITE)
        (x, y) = pixel_map.offset
        made.append((framed, replace(pixel_map, size=(width, height), offset=(x - left, y - top))))
    return made


def on_white(image: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 RGBA -> (H, W, 3) uint8 RGB on white ground. Raises InputError for another array."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 4 or 0 in image.shape:
        raise InputError(f"got an array of shape {image.shape} and type {image.dtype}; wanted (H, W, 4) uint8 RGBA")
    picture = Image.fromarray(image)
    ground = Image.new("RGBA", picture.size, (WHITE, WHITE, WHITE, WHITE))
    return np.array(Image.alpha_composite(ground, picture).convert("RGB"))


def _size(image: np.ndarray) -> tuple[int, int]:
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"got an array of shape {image.shape} and type {image.dtype}; wanted (H, W, 3) uint8 RGB")
    return image.shape[0], image.shape[1]


def _framed(picture: np.ndarray, size: tuple[int, int], border: int) -> tuple[np.ndarray, tuple[int, int]]:
    """Put a picture in the middle of a larger one (height, width); also return how far down and right it lies."""
    top, left = (size[0] - picture.shape[0]) // 2, (size[1] - picture.shape[1]) // 2
    framed = np.full((*size, 3), border, np.uint8)
    framed[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return framed, (top, left)
