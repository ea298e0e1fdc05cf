# SPDX-License-Identifier: Apache-2.0
"""Cubic resize of maps of numbers, as the published video-depth programs bring predictions to the truth's size."""

from __future__ import annotations

import numpy as np

A = -0.75  # of the cubic convolution kernel (Keys 1981): the value that OpenCV's INTER_CUBIC has


def resize_cubic(maps: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Resize maps (..., h, w) to (..., H, W) = size, float64.

    Half-pixel centres, border pixels repeated, four taps a side also when shrinking (no antialiasing). The kernel
    overshoots at edges: negative results are kept, and a NaN spreads over its neighbourhood.
    """
    values = np.asarray(maps, np.float64)
    rows, columns = (_taps(n, m) for n, m in zip(values.shape[-2:], size, strict=True))
    return rows @ values @ columns.T


def _taps(source: int, target: int) -> np.ndarray:
    """Return the (target, source) matrix of one axis; each row sums to 1."""
    at = (np.arange(target) + 0.5) * source / target - 0.5
    first = np.floor(at).astype(np.intp)
    matrix = np.zeros((target, source))
    for tap in range(-1, 3):
        index = np.clip(first + tap, 0, source - 1)
        np.add.at(matrix, (np.arange(target), index), _kernel(np.abs(at - (first + tap))))
    return matrix


def _kernel(x: np.ndarray) -> np.ndarray:
    near = ((A + 2) * x - (A + 3)) * x * x + 1
    far = ((A * x - 5 * A) * x + 8 * A) * x - 4 * A
    return np.where(x <= 1, near, np.where(x < 2, far, 0.0))
