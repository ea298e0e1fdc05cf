# SPDX-License-Identifier: Apache-2.0
"""A surface whose pictures, depth and cameras are exact: a wavy wall with a smooth random paint on it."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from longtake.refine.motion import exp_motion

HEIGHT, WIDTH, FOCAL = 48, 64, 60.0


@dataclass(frozen=True)
class Hill:
    """What a perfect model would say of a take, and the pictures."""

    images: Tensor  # (n, H, W, 3) uint8
    depth: Tensor  # (n, H, W)
    world_from_cam: Tensor  # (n, 4, 4), the first is the identity
    intrinsics: Tensor  # (3, 3)


def make_hill(frames: int = 6, step: float = 0.06, turn: float = 0.02, *, unit: float = 1.0) -> Hill:
    """A camera that moves sideways and turns. unit: metres in a unit of length."""
    intrinsics = torch.tensor([[FOCAL, 0, WIDTH / 2], [0, FOCAL, HEIGHT / 2], [0, 0, 1]], dtype=torch.float64)
    motions = torch.zeros(frames, 6, dtype=torch.float64)
    along = torch.arange(frames, dtype=torch.float64)
    motions[:, 0], motions[:, 1] = step * along, 0.3 * step * torch.sin(along)
    motions[:, 4], motions[:, 5] = -turn * along, 0.4 * turn * along
    poses = exp_motion(motions)
    v, u = torch.meshgrid(torch.arange(HEIGHT).double(), torch.arange(WIDTH).double(), indexing="ij")
    rays = torch.stack(((u - WIDTH / 2) / FOCAL, (v - HEIGHT / 2) / FOCAL, torch.ones_like(u)), -1)
    images, depths = [], []
    for pose in poses:
        direction, origin = rays @ pose[:3, :3].T, pose[:3, 3]
        far = torch.full_like(u, 2.0)
        for _ in range(60):  # the wall is flat enough for this to converge
            point = origin + far[..., None] * direction
            far = far - (point[..., 2] - _wall(point)) / direction[..., 2]
        point = origin + far[..., None] * direction
        images.append((255 * _paint(point)).round().clamp(0, 255).byte()[..., None].expand(-1, -1, 3))
        depths.append(far)  # rays have z = 1 in the camera
    poses = poses.clone()
    poses[:, :3, 3] *= unit
    return Hill(torch.stack(images), torch.stack(depths) * unit, poses, intrinsics)


def _wall(point: Tensor) -> Tensor:
    return 2.0 + 0.25 * torch.sin(1.3 * point[..., 0]) + 0.2 * torch.cos(1.7 * point[..., 1] + 0.5)


def _paint(point: Tensor) -> Tensor:
    made = torch.zeros_like(point[..., 0])
    generator = torch.Generator().manual_seed(7)
    for _ in range(14):
        a, b, phase = torch.rand(3, generator=generator, dtype=torch.float64)
        angle, pace = 2 * math.pi * a, 4 + 14 * b
        wave = pace * (torch.cos(angle) * point[..., 0] + torch.sin(angle) * point[..., 1])
        made = made + torch.sin(wave + 6 * phase)
    return 0.5 + made / 12
