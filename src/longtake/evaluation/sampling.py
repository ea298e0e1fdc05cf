# SPDX-License-Identifier: Apache-2.0
"""Read predicted depth at the pixels where the truth is known, through the resize and crop of the model's image."""

from __future__ import annotations

import numpy as np

from longtake.frame import PixelMap

SAMPLING = "bilinear in z, nearest pixel beside unusable ones"  # named in every result


def sample_depth(
    depth: np.ndarray, pixel_map: PixelMap | None, shape: tuple[int, int], ratio: int
) -> tuple[np.ndarray, np.ndarray]:
    """Sample `depth` (H, W), in model pixels, at a grid of (h, w) true pixels.

    True pixel (u, v) lies at (ratio u, ratio v) of the original image, and from there goes through `pixel_map` (None:
    the model saw the original). Depth is z and so stays what it is. Returns values (h, w) float64 and inside (h, w)
    bool: False where the pixel was cropped away and so has no prediction.
    """
    height, width = depth.shape
    (sx, sy), (ox, oy) = ((1.0, 1.0), (0.0, 0.0)) if pixel_map is None else (pixel_map.scale, pixel_map.offset)
    u = (np.arange(shape[1]) * ratio + 0.5) * sx - 0.5 - ox
    v = (np.arange(shape[0]) * ratio + 0.5) * sy - 0.5 - oy
    inside = _within(v, height)[:, None] & _within(u, width)[None, :]
    z = np.asarray(depth, np.float64)
    (v0, v1, b), (u0, u1, a) = _neighbours(v, height), _neighbours(u, width)
    corners = np.stack([z[np.ix_(rows, columns)] for rows in (v0, v1) for columns in (u0, u1)])
    weights = np.stack([p[:, None] * q[None, :] for p in (1 - b, b) for q in (1 - a, a)])
    usable = (np.isfinite(corners) & (corners > 0)).all(0)
    with np.errstate(invalid="ignore", over="ignore"):
        blended = (corners * weights).sum(0)
    nearest = np.take_along_axis(corners, weights.argmax(0)[None], axis=0)[0]
    return np.where(usable, blended, nearest), inside


def _within(x: np.ndarray, size: int) -> np.ndarray:
    return (x >= -0.5 - 1e-9) & (x <= size - 0.5 + 1e-9)  # a pixel reaches half a step to each side of its centre


def _neighbours(x: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixels below and above each coordinate and the weight of the upper one; the border repeats."""
    x = np.clip(x, 0, size - 1)
    low = np.floor(x).astype(np.intp)
    return low, np.minimum(low + 1, size - 1), x - low
