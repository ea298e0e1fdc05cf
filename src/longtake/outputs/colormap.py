# SPDX-License-Identifier: Apache-2.0
"""Two colour ramps of our own, drawn in OKLab so that equal steps look equal (Ottosson 2020, public domain)."""

from __future__ import annotations

import numpy as np

_LMS_FROM_LAB = np.array(
    [[1.0, 0.3963377774, 0.2158037573], [1.0, -0.1055613458, -0.0638541728], [1.0, -0.0894841775, -1.2914855480]]
)
_RGB_FROM_LMS = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


def _ramp(anchors: list[tuple[float, float, float]]) -> np.ndarray:
    """Return a (256, 3) uint8 table through (lightness, chroma, hue in degrees), evenly spaced."""
    lightness, chroma, hue = np.array(anchors).T
    at, steps = np.linspace(0, 1, len(anchors)), np.linspace(0, 1, 256)
    radians = np.deg2rad(np.interp(steps, at, hue))
    c = np.interp(steps, at, chroma)
    lab = np.stack([np.interp(steps, at, lightness), c * np.cos(radians), c * np.sin(radians)], -1)
    linear = ((lab @ _LMS_FROM_LAB.T) ** 3) @ _RGB_FROM_LMS.T
    linear = linear.clip(0, 1)
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.rint(srgb * 255).astype(np.uint8)


# Depth: near is light and warm, far is dark and blue; lightness falls steadily, so it also reads in grey.
DEPTH = _ramp([(0.95, 0.09, 100), (0.80, 0.15, 68), (0.64, 0.19, 30), (0.46, 0.17, -18), (0.30, 0.12, -55),
               (0.18, 0.06, -80)])  # fmt: skip
# Time along the path: mid lightness throughout, so that it reads on light and on dark ground.
PATH = _ramp([(0.58, 0.17, -98), (0.60, 0.20, -50), (0.66, 0.21, 5), (0.74, 0.17, 55)])


def look_up(table: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Return (..., 3) uint8 colours of values in [0, 1]; values outside are clamped."""
    return table[(np.clip(values, 0, 1) * 255).astype(np.uint8)]


def color_depth(depth: np.ndarray, nearest: float, farthest: float, unknown: tuple[int, int, int]) -> np.ndarray:
    """Return an (H, W, 3) uint8 picture of an (H, W) depth map on a logarithmic scale; 0 gets the colour `unknown`.

    Logarithmic because the error of a predicted depth grows with the depth.
    """
    known = depth > 0
    span = max(np.log(max(farthest, 1e-9)) - np.log(max(nearest, 1e-9)), 1e-6)
    share = (np.log(np.where(known, depth, nearest)) - np.log(max(nearest, 1e-9))) / span
    picture = look_up(DEPTH, share)
    picture[~known] = unknown
    return picture
