# SPDX-License-Identifier: Apache-2.0
"""Depth maps of all file kinds become float32 metres, 0 = unknown, on the pixels of the colour picture.

A map that is smaller than its picture is spread out: each of its values goes to the one colour pixel where it was
measured, and the pixels between stay unknown. Nothing is interpolated, so no depth is invented across an edge.
"""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
from PIL import Image

from longtake.errors import InputError

HALF = 0.5 + 1e-9  # pixels; what rounding errors push just below a half still rounds up


def read_png_depth(
    path: Path, scale: float, *, invalid: int | None = None, nearest: float = 0.0, farthest: float = math.inf
) -> np.ndarray:
    """Read a 16-bit grey PNG as (h, w) float32: value / scale. 0, `invalid` and depths outside the range become 0."""
    try:
        with Image.open(path) as image:
            image.load()
            mode, values = image.mode, np.asarray(image)
    except Exception as error:  # Pillow's readers raise nearly anything on damaged files
        raise InputError(f"{path}: cannot be read as a depth map ({error}). Fetch or unpack it again.") from error
    if not mode.startswith("I"):
        raise InputError(f"{path}: is a picture of mode {mode}; depth must be one channel of 16 bits.")
    depth = values.astype(np.float32) / np.float32(scale)
    depth[(depth < nearest) | (depth > farthest)] = 0
    if invalid is not None:
        depth[values == invalid] = 0
    return depth


def same_size(depth: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Return the map as it is; InputError if its (h, w) is not the picture's."""
    if depth.shape != tuple(shape):
        raise InputError(f"depth is {_size(depth.shape)} for a picture of {_size(shape)}; this layout has equal sizes.")
    return depth


def every_rth(depth: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Spread a map that holds every r-th pixel from (0, 0) on: depth pixel (u, v) is colour pixel (r u, r v)."""
    ratio = max(1, round(shape[1] / depth.shape[1]))
    if tuple(-(-side // ratio) for side in shape) != depth.shape:
        raise InputError(
            f"depth is {_size(depth.shape)} for a picture of {_size(shape)}; it must hold every r-th colour pixel for "
            "one whole number r."
        )
    spread = np.zeros(shape, np.float32)
    spread[::ratio, ::ratio] = depth
    return spread


def resized(depth: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Place a map that covers the same view at another resolution: u' = (u + 0.5) s - 0.5, nearest pixel."""
    su, sv = shape[1] / depth.shape[1], shape[0] / depth.shape[0]
    return _place(depth, shape, (su, (su - 1) / 2), (sv, (sv - 1) / 2))


def between_cameras(depth: np.ndarray, shape: tuple[int, int], colour: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Place a map of camera matrix `own` (3, 3) on the pixels of `colour` (3, 3): the same rays, nearest pixel."""
    su, sv = colour[0, 0] / own[0, 0], colour[1, 1] / own[1, 1]
    return _place(depth, shape, (su, colour[0, 2] - su * own[0, 2]), (sv, colour[1, 2] - sv * own[1, 2]))


def _place(depth: np.ndarray, shape: tuple[int, int], u: tuple[float, float], v: tuple[float, float]) -> np.ndarray:
    """Map depth pixels to colour pixels, scale and offset an axis; a finer depth map gives its nearest pixels."""
    rows, of_rows = _line(depth.shape[0], shape[0], *v)
    columns, of_columns = _line(depth.shape[1], shape[1], *u)
    placed = np.zeros(shape, np.float32)
    placed[np.ix_(rows, columns)] = depth[np.ix_(of_rows, of_columns)]
    return placed


def _line(count: int, wanted: int, scale: float, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Pair indices along one axis: (colour, depth). Half way rounds up, so that no two values share a pixel."""
    if scale >= 1:
        depth = np.arange(count)
        colour = np.floor(depth * scale + offset + HALF).astype(int)
        inside = (colour >= 0) & (colour < wanted)
    else:
        colour = np.arange(wanted)
        depth = np.floor((colour - offset) / scale + HALF).astype(int)
        inside = (depth >= 0) & (depth < count)
    return colour[inside], depth[inside]


def _size(shape: tuple[int, ...]) -> str:
    return f"{shape[1]}x{shape[0]}"
