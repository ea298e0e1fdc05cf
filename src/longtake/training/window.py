# SPDX-License-Identifier: Apache-2.0
"""From a recorded frame to a training picture: a window of it, its camera, its sparse depth, other light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from longtake.tokenize.images import prepare


@dataclass(frozen=True, slots=True)
class Window:
    """A rectangle of a picture that becomes a picture of its own. Edges in pixels of the original, pixel 0 = [0, 1]."""

    left: float
    top: float
    width: float
    height: float
    size: tuple[int, int]  # (height, width) of the new picture

    @property
    def scale(self) -> tuple[float, float]:
        """New pixels per original pixel, (x, y)."""
        return self.size[1] / self.width, self.size[0] / self.height

    def picture(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> (height, width, 3) uint8."""
        box = (self.left, self.top, self.left + self.width, self.top + self.height)
        new = Image.fromarray(image).resize((self.size[1], self.size[0]), Image.Resampling.LANCZOS, box=box)
        return np.array(new)

    def camera(self, intrinsics: np.ndarray) -> np.ndarray:
        """Camera matrix (3, 3) in original pixels -> in new pixels; centres at integers in both."""
        (sx, sy), k = self.scale, np.array(intrinsics, np.float64)
        k[0] = k[0] * sx
        k[1] = k[1] * sy
        k[0, 2] = (intrinsics[0, 2] + 0.5 - self.left) * sx - 0.5
        k[1, 2] = (intrinsics[1, 2] + 0.5 - self.top) * sy - 0.5
        return k


def centred(shape: tuple[int, int], size: tuple[int, int], zoom: float = 1.0) -> Window:
    """Return the largest window in the middle of a picture (H, W) with the aspect of `size`, times `zoom` <= 1."""
    (height, width), (new_height, new_width) = shape, size
    step = min(width / new_width, height / new_height) * zoom
    w, h = new_width * step, new_height * step
    return Window((width - w) / 2, (height - h) / 2, w, h, size)


def cut(depth: np.ndarray, window: Window) -> np.ndarray:
    """Take a depth map (H, W), 0 = unknown, through a window: (height, width) float32.

    Each known depth goes to the new pixel in which it lies; where several do, the one nearest to the pixel's centre
    stays. Nothing is interpolated, so that no depth is invented across an edge.
    """
    rows, columns = np.nonzero(depth > 0)
    sx, sy = window.scale
    u, v = (columns + 0.5 - window.left) * sx - 0.5, (rows + 0.5 - window.top) * sy - 0.5
    x, y = np.rint(u).astype(np.intp), np.rint(v).astype(np.intp)
    inside = (x >= 0) & (x < window.size[1]) & (y >= 0) & (y < window.size[0])
    off = (u - x) ** 2 + (v - y) ** 2
    order = np.argsort(-off[inside], kind="stable")  # the nearest is written last
    out = np.zeros(window.size, np.float32)
    out[y[inside][order], x[inside][order]] = depth[rows[inside][order], columns[inside][order]]
    return out


def native_size(image: np.ndarray, size: int) -> tuple[int, int]:
    """Return the (height, width) that the model sees of such a picture when its longest side is `size`."""
    seen = prepare(image, size)[0].shape
    return seen[0], seen[1]


def colours(images: Tensor, rng: np.random.Generator) -> Tensor:
    """Change the light of takes (B, T, 3, H, W) in [0, 1]: gamma, gain, tint by take, exposure by frame."""
    b, t = images.shape[:2]

    def draw(*shape: int, by: float) -> Tensor:
        return torch.from_numpy(np.exp(by * rng.standard_normal(shape))).float()

    gamma, tint = draw(b, 1, 1, 1, 1, by=0.2), draw(b, 1, 3, 1, 1, by=0.05)
    gain, exposure = draw(b, 1, 1, 1, 1, by=0.1), draw(b, t, 1, 1, 1, by=0.03)
    return (images.clamp(0, 1) ** gamma * tint * gain * exposure).clamp(0, 1)
