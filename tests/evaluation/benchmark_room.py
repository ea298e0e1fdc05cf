# SPDX-License-Identifier: Apache-2.0
"""A box to walk in, known exactly: sequences of it, and a stream that answers with the truth or with stated errors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from evaluation_oracle import rotation

from longtake.datasets.sequence import PosedFrame
from longtake.errors import InputError
from longtake.frame import Frame, PixelMap, Prediction

WIDTH, HEIGHT = 48, 32
K = np.array([[40.0, 0, 23.5], [0, 40.0, 15.5], [0, 0, 1]])
HALF = np.array([3.0, 2.0, 4.0])  # of the box


def cameras(frames: int, seed: int = 0) -> np.ndarray:
    """(T, 4, 4) world_from_cam that stays inside the box."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    turn, place = rotation(rng.normal(size=3), 20), rng.uniform(-0.5, 0.5, 3)
    for pose in poses:
        pose[:3, :3], pose[:3, 3] = turn, place
        turn = turn @ rotation(rng.normal(size=3), rng.uniform(2, 9))
        place = np.clip(place + 0.15 * rng.normal(size=3), -1.2, 1.2)
    return poses


def depth_of(pose: np.ndarray, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Depth along z at pixels (u, v): the first wall that each ray meets."""
    uu, vv = np.meshgrid(u, v)
    rays = np.stack([(uu - K[0, 2]) / K[0, 0], (vv - K[1, 2]) / K[1, 1], np.ones_like(uu)], -1) @ pose[:3, :3].T
    return ((np.sign(rays) * HALF - pose[:3, 3]) / np.where(rays == 0, 1e-12, rays)).min(-1)


@dataclass
class Room:
    """A sequence in memory. Frames may lack truth; `broken` ones cannot be read."""

    poses: np.ndarray
    keep_pose: Callable[[int], bool] = lambda i: True
    keep_depth: Callable[[int], bool] = lambda i: True
    broken: tuple[int, ...] = ()
    name: str = "room"
    dataset: str = "rgbd"
    dropped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=lambda: ["depth: metres"])

    def __len__(self) -> int:
        return len(self.poses)

    def __getitem__(self, i: int, /) -> PosedFrame:
        if i in self.broken:
            raise InputError(f"{i}.png: cut short")
        image = np.random.default_rng(i).integers(0, 255, (HEIGHT, WIDTH, 3), np.uint8)
        depth = depth_of(self.poses[i], np.arange(WIDTH), np.arange(HEIGHT)).astype(np.float32)
        depth[:2] = 0  # unknown rows
        pose = self.poses[i] if self.keep_pose(i) else None
        return PosedFrame(i, i / 30, f"{i}.png", image, depth if self.keep_depth(i) else None, pose, K)

    def frame_names(self) -> list[str]:
        return [f"{i}.png" for i in range(len(self))]


@dataclass
class Knower:
    """A stream that knows the room: answers in units and a world of its own, pixel for pixel unless cropped."""

    poses: np.ndarray
    unit: float = 1.0
    crop: int = 0  # pixels cut off at the left and the right
    revise: bool = False  # nonsense first, the truth with the next frame
    spoil: Callable[[int, Prediction], Prediction] = lambda i, p: p
    memory: int | None = None  # frames that it has room for
    before: Prediction | None = None
    first: np.ndarray | None = None

    def step(self, frames: Frame, /) -> Prediction:
        if self.memory is not None and frames.index >= self.memory:
            np.empty(1 << 60, np.uint8)  # asks the system for more than there is
        truth = self.spoil(frames.index, self.answer(frames))
        if not self.revise:
            return truth
        nothing = replace(truth, depth=truth.depth * torch.nan, world_from_cam=truth.world_from_cam * torch.nan)
        before, self.before = self.before, truth
        last = frames.index == len(self.poses) - 1
        return replace(truth if last else nothing, revised=() if before is None else (before,))

    def answer(self, frame: Frame) -> Prediction:
        true = self.poses[frame.index]
        self.first = true if self.first is None else self.first
        pose = np.linalg.inv(self.first) @ true
        pose[:3, 3] *= self.unit
        u, v = np.arange(self.crop, WIDTH - self.crop), np.arange(HEIGHT)
        z = depth_of(true, u, v) * self.unit
        own = np.stack([(u[None] - K[0, 2]) / K[0, 0] * z, (v[:, None] - K[1, 2]) / K[1, 1] * z, z], -1)
        flat = torch.ones(z.shape)
        points = torch.from_numpy(own)
        return Prediction(
            points=points, confidence=flat, depth=torch.from_numpy(z), world_from_cam=torch.from_numpy(pose),
            intrinsics=torch.from_numpy(K), points_self=points, points_world=points, confidence_world=flat,
            image=torch.from_numpy(np.ascontiguousarray(frame.image[:, u])), is_metric=self.unit == 1,
            pixel_map=PixelMap((WIDTH, HEIGHT), (len(u), HEIGHT), (1.0, 1.0), (self.crop, 0)), index=frame.index,
        )  # fmt: skip
