# SPDX-License-Identifier: Apache-2.0
"""Draw over a picture of the cloud: the path coloured by time, cameras, a grid on the floor, a scale bar."""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageDraw

from longtake.outputs.colormap import PATH, look_up
from longtake.outputs.display import Display
from longtake.outputs.picture import Eye

_OVER = 3  # samples per pixel and axis


class Sheer:
    """A transparent layer to draw anti-aliased lines on, in pixels of the eye's picture."""

    def __init__(self, eye: Eye) -> None:
        self.eye = eye
        self._image = Image.new("RGBA", (eye.size[0] * _OVER, eye.size[1] * _OVER), (0, 0, 0, 0))
        self._draw = ImageDraw.Draw(self._image)

    def line(self, spots: np.ndarray, color: tuple[int, ...], width: float) -> None:
        """Draw an open line through (n, 2) pixel positions."""
        flat = [tuple(spot) for spot in (spots * _OVER).tolist()]
        self._draw.line(flat, fill=color, width=max(1, round(width * _OVER)), joint="curve")

    def dot(self, spot: np.ndarray, color: tuple[int, ...], radius: float) -> None:
        """Draw a filled circle."""
        (x, y), r = (spot * _OVER).tolist(), radius * _OVER
        self._draw.ellipse((x - r, y - r, x + r, y + r), fill=color)

    def image(self) -> Image.Image:
        """Return the layer at the size of the picture."""
        premultiplied = self._image.convert("RGBa").resize(self.eye.size, Image.Resampling.BOX)
        return premultiplied.convert("RGBA")


def smooth_path(display: Display, eye: Eye) -> tuple[np.ndarray, np.ndarray]:
    """Return (k, 2) pixel positions along the path, at least a pixel apart, and their times in [0, 1]."""
    spots, _ = eye.project(display.poses[:, :3, 3])
    times = np.linspace(0, 1, len(spots))
    keep, last = [0], spots[0]
    for i in range(1, len(spots)):
        if np.hypot(*(spots[i] - last)) >= 1.0 or i == len(spots) - 1:
            keep.append(i)
            last = spots[i]
    return spots[keep], times[keep]


def draw_path(
    display: Display, eye: Eye, *, width: float = 3.0, cameras: int = 12, casing: tuple[int, int, int, int]
) -> Image.Image:
    """Return an RGBA layer: the path, coloured by time, and `cameras` frusta along it; `casing` outlines the path."""
    layer = Sheer(eye)
    spots, times = smooth_path(display, eye)
    shape = frustum(display, 0.045 * display.extent)
    chosen = np.unique(np.linspace(0, len(display.poses) - 1, cameras).round().astype(int)) if cameras else []
    for i in chosen:
        corners = shape @ display.poses[i, :3, :3].T + display.poses[i, :3, 3]
        flat, z = eye.project(corners)
        if (z <= 0).any():
            continue
        color = tuple(look_up(PATH, np.array(i / max(len(display.poses) - 1, 1))).tolist())
        for loop in ([1, 2, 3, 4, 1], [0, 1], [0, 2], [0, 3], [0, 4]):
            layer.line(flat[loop], casing[:3] + (casing[3] // 2,), width * 0.75 + 1)
        for loop in ([1, 2, 3, 4, 1], [0, 1], [0, 2], [0, 3], [0, 4]):
            layer.line(flat[loop], (*color, 235), width * 0.5)
    if len(spots) > 1:
        layer.line(spots, casing, width + 2.4)
        for i in range(len(spots) - 1):
            color = tuple(look_up(PATH, np.array((times[i] + times[i + 1]) / 2)).tolist())
            layer.line(spots[i : i + 2], (*color, 255), width)
            layer.dot(spots[i + 1], (*color, 255), width / 2)
    for spot, time in ((spots[0], 0.0), (spots[-1], 1.0)):
        layer.dot(spot, casing, width + 2.6)
        layer.dot(spot, (*look_up(PATH, np.array(time)).tolist(), 255), width + 1)
        if time == 0.0:  # the start is a ring, the end a disc
            layer.dot(spot, casing[:3] + (255,), width * 0.45)
    return layer.image()


def frustum(display: Display, depth: float) -> np.ndarray:
    """Return (5, 3) corners of a camera in its own frame: the centre, then the image's corners at a depth."""
    x, y = display.field
    return np.array([[0, 0, 0], [-x, -y, 1], [x, -y, 1], [x, y, 1], [-x, y, 1]]) * depth


def draw_floor(display: Display, eye: Eye, color: tuple[int, int, int, int]) -> tuple[Image.Image, float]:
    """Return an RGBA layer with a square grid under the scene, and the length of a square's side.

    From the side the grid ends with the scene; from above it fills the picture.
    """
    side = round_length(float((display.high - display.low)[:2].max()) / 5)
    layer = Sheer(eye)
    half = np.array(eye.size) / 2 / eye.scale
    low, high = (eye.position[:2] - half, eye.position[:2] + half) if eye.parallel else (display.low, display.high)
    low, high = np.floor(low[:2] / side) * side, np.ceil(high[:2] / side) * side
    z = display.low[2] if not eye.parallel else 0.0
    for axis in (0, 1):
        for place in np.arange(low[axis], high[axis] + side / 2, side):
            ends = np.full((2, 3), z)
            ends[:, axis], ends[:, 1 - axis] = place, (low[1 - axis], high[1 - axis])
            layer.line(eye.project(ends)[0], color, 1)
    return layer.image(), side


def round_length(length: float) -> float:
    """Return the largest of 1, 2, 5 times a power of ten that is not above a positive length."""
    power = 10.0 ** math.floor(math.log10(max(length, 1e-12)))
    return next(step * power for step in (5.0, 2.0, 1.0) if step * power <= length * (1 + 1e-9))
