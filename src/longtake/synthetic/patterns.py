# SPDX-License-Identifier: Apache-2.0
"""Tiles that no photograph shows: patterns of arbitrary colours, made from a seed when they are needed.

A model that only ever saw the colours of real materials reads depth from them. Painted in anything, a room leaves it
with what its geometry says. Every tile wraps around.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Field = NDArray[np.float64]
COUNT = 512


def waves(rng: np.random.Generator, size: int, falloff: float, stretch: float = 1.0) -> Field:
    """Periodic noise of unit variance whose amplitude falls with frequency to the power `falloff`."""
    y = np.fft.fftfreq(size)[:, None] * size * stretch
    x = np.fft.rfftfreq(size)[None] * size / stretch
    distance = np.hypot(x, y)
    distance[0, 0] = np.inf
    field = np.fft.irfft2(np.fft.rfft2(rng.standard_normal((size, size))) * distance**-falloff, (size, size))
    return field / field.std()


def checker(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Squares or oblongs."""
    a, b = rng.integers(1, 5, 2)
    return (np.floor(2 * a * x) + np.floor(2 * b * y)) % 2


def stripes(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Bars in any direction that wraps, hard or soft."""
    a, b = rng.integers(-6, 7, 2)
    wave = np.sin(2 * np.pi * ((a if a or b else 3) * x + b * y))
    return 0.5 + 0.5 * np.clip(wave * rng.choice([1.0, 2.0, 20.0]), -1, 1)


def bricks(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Courses with joints; every other course may be shifted by half a stone."""
    rows, columns = 2 * rng.integers(1, 5), rng.integers(1, 6)
    joint, shift = rng.uniform(0.03, 0.15), rng.choice([0.0, 0.5])
    across = (columns * x + shift * (np.floor(rows * y) % 2)) % 1
    down = (rows * y) % 1
    return ((across > joint * columns / 4) & (down > joint * rows / 4)).astype(float)


def dots(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Discs on a grid."""
    n, radius = rng.integers(2, 7), rng.uniform(0.2, 0.45)
    distance = np.hypot((n * x) % 1 - 0.5, (n * y) % 1 - 0.5)
    return np.clip((radius - distance) * 128 / n + 0.5, 0, 1)


def patches(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Blots with a hard or a soft edge."""
    return 0.5 + 0.5 * np.tanh(waves(rng, x.shape[0], rng.uniform(1.0, 2.2)) * rng.choice([0.7, 2.0, 8.0]))


def cells(rng: np.random.Generator, x: Field, y: Field) -> Field:
    """Stones: the nearest of a few points decides, joints between them."""
    points = rng.uniform(size=(rng.integers(6, 30), 2))
    dx = np.abs(x[..., None] - points[:, 0])
    dy = np.abs(y[..., None] - points[:, 1])
    distance = np.hypot(np.minimum(dx, 1 - dx), np.minimum(dy, 1 - dy))
    near = np.partition(distance, 1, -1)
    shade = rng.uniform(size=len(points))[distance.argmin(-1)]
    return shade * np.clip((near[..., 1] - near[..., 0]) * 40, 0.0, 1.0)


MOTIFS: tuple[Callable[[np.random.Generator, Field, Field], Field], ...] = (
    checker,
    stripes,
    bricks,
    dots,
    patches,
    cells,
)


def color(rng: np.random.Generator) -> Field:
    """Any colour, display space, (3,) in [0, 255]."""
    hue = (rng.uniform() + np.array([0.0, 1 / 3, 2 / 3])) % 1
    ramp = np.clip(np.abs(6 * hue - 3) - 1, 0, 1)
    saturation, value = rng.uniform(), rng.uniform(0.25, 1.0)
    return 255 * value * (1 - saturation + saturation * ramp)


def tile(rng: np.random.Generator, size: int) -> NDArray[np.uint8]:
    """One tile (size, size, 3)."""
    y, x = np.meshgrid(*[(np.arange(size) + 0.5) / size] * 2, indexing="ij")
    wobble = rng.choice([0.0, 0.0, 0.01, 0.03])
    x = (x + wobble * waves(rng, size, 1.8)) % 1
    y = (y + wobble * waves(rng, size, 1.8)) % 1
    # two patterns, one over the other: three colours
    out = np.broadcast_to(color(rng), (size, size, 3))
    for strength in (1.0, rng.choice([0.0, 0.35, 0.8])):
        motif = MOTIFS[rng.integers(len(MOTIFS))](rng, x, y)[..., None]
        out = out + strength * motif * (color(rng) - out)
    # wear over all of it, coarse and fine
    coarse = rng.uniform(0.0, 0.25) * waves(rng, size, rng.uniform(0.8, 1.6), rng.uniform(0.5, 2.0))
    fine = rng.uniform(0.0, 0.15) * waves(rng, size, rng.uniform(0.0, 0.7))
    return np.clip(out * (1 + coarse + fine)[..., None], 0, 255).round().astype(np.uint8)


def pattern_tiles(size: int, count: int = COUNT, seed: int = 20) -> Tensor:
    """Draw tiles (count, size, size, 3) uint8 RGB; the seed decides them all."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(np.stack([tile(rng, size) for _ in range(count)]))
