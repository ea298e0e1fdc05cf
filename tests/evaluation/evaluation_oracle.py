# SPDX-License-Identifier: Apache-2.0
"""A tiny analytic world for these tests: takes on disk, and an oracle that answers with the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from longtake.evaluation.folder import TakeFolder
from longtake.frame import Frame, PixelMap, Prediction

INTRINSICS = np.array([[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]])
SIZE = (64, 48)  # (width, height) of colour


def rotation(axis: np.ndarray, degrees: float) -> np.ndarray:
    """Rodrigues' formula."""
    x, y, z = np.asarray(axis, float) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    a = np.radians(degrees)
    return np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k


def random_path(frames: int, seed: int) -> np.ndarray:
    """(T, 4, 4) world_from_cam of a wandering camera; the first is not the identity."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    r, t = rotation(rng.normal(size=3), rng.uniform(0, 180)), rng.normal(size=3)
    for pose in poses:
        pose[:3, :3], pose[:3, 3] = r, t
        r, t = r @ rotation(rng.normal(size=3), rng.uniform(1, 8)), t + 0.3 * rng.normal(size=3)
    return poses


def true_depth(t: int, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Depth of a slanted plane at colour pixels (u, v) of frame t: affine in the pixel, so bilinear reads are exact."""
    return 2 + 0.1 * t + 0.01 * u[None, :] + 0.02 * v[:, None]


def write_take(path: Path, frames: int = 5, seed: int = 0, ratio: int = 2, depth_every: int = 1) -> Path:
    """Write a take folder of random pictures, exact plane depth (but for whole millimetres) and a random path."""
    rng = np.random.default_rng(seed)
    for name in ("rgb", "depth"):
        (path / name).mkdir(parents=True)
    for t in range(frames):
        Image.fromarray(rng.integers(0, 255, (SIZE[1], SIZE[0], 3), np.uint8)).save(path / f"rgb/{t:06d}.png")
        if t % depth_every == 0:
            depth = true_depth(t, np.arange(0, SIZE[0], ratio), np.arange(0, SIZE[1], ratio))
            depth[:3] = 0  # unknown rows
            Image.fromarray(np.round(depth * 1000).astype(np.uint16)).save(path / f"depth/{t:06d}.png")
    np.savetxt(path / "poses.txt", random_path(frames, seed).reshape(frames, 16), fmt="%.9f")
    np.savetxt(path / "intrinsics.txt", INTRINSICS, fmt="%.6f")
    return path


@dataclass
class Oracle:
    """Answers each frame with its truth, in units of its own, in the first camera's world, resized and cropped."""

    take: TakeFolder
    unit: float = 1.0  # predicted units per metre
    scale: float = 0.5  # model pixels per colour pixel
    crop: int = 0  # model pixels cut off at the left and the right
    revise: bool = False  # answer nonsense first and the truth with the next frame

    before: Prediction | None = None

    def streams(self, n: int, *, rule: Any, reset_every: int | None) -> Oracle:
        del rule, reset_every
        assert n == 1
        return self

    def step(self, frames: Sequence[Frame | None]) -> Sequence[Prediction]:
        (frame,) = frames
        assert frame is not None
        return [self.look(frame)]

    def look(self, frame: Frame) -> Prediction:
        width, height = round(SIZE[0] * self.scale) - 2 * self.crop, round(SIZE[1] * self.scale)
        pixels = PixelMap(SIZE, (width, height), (self.scale, self.scale), (self.crop, 0))
        u = (np.arange(width) + self.crop + 0.5) / self.scale - 0.5
        v = (np.arange(height) + 0.5) / self.scale - 0.5
        t = self.take.indices.index(frame.index)
        pose = np.linalg.inv(self.take.world_from_cam[0]) @ self.take.world_from_cam[t]
        pose[:3, 3] *= self.unit
        points, flat = torch.zeros(height, width, 3), torch.ones(height, width)
        truth = Prediction(
            points=points, confidence=flat, points_self=points, points_world=points, confidence_world=flat,
            depth=torch.from_numpy(true_depth(frame.index, u, v) * self.unit), world_from_cam=torch.from_numpy(pose),
            intrinsics=torch.from_numpy(pixels.to_model(self.take.intrinsics)), is_metric=self.unit == 1,
            image=torch.zeros(height, width, 3, dtype=torch.uint8), pixel_map=pixels, index=frame.index,
        )  # fmt: skip
        if not self.revise:
            return truth
        lost = torch.full_like(truth.depth, torch.nan)
        wrong = replace(truth, depth=lost, world_from_cam=truth.world_from_cam * torch.nan)
        before, self.before = self.before, truth
        last = t == len(self.take) - 1
        return replace(truth if last else wrong, revised=(before,) if before is not None else ())
