# SPDX-License-Identifier: Apache-2.0
"""What a moving phone adds to a picture: lens distortion, rolling shutter, motion blur, compression.

Distortion and shutter bend the rays before they are cast, so depth is that of what each pixel shows; intrinsics remain
those of the pinhole beside it. The shutter follows the camera's turning and not its shift, which matters less.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, pi, sqrt

import torch
from torch import Tensor

from longtake.synthetic.config import WorldConfig
from longtake.synthetic.uniforms import Uniforms, constant

TAPS = tuple((k + 0.5) / 6 - 0.5 for k in range(6))  # moments of the exposure, from -1/2 to 1/2
BLOCK = 8


@dataclass(frozen=True, slots=True)
class Optics:
    """Parameters of B takes of T frames."""

    warp: Tensor  # (B, T, 5) as `raycast.bend` takes it
    turn: Tensor  # (B, T, 3) radians about x, y, z of the camera while the shutter is open
    step: Tensor  # (B,) quantiser of the compression, 0 for none


def turning(room_from_cam: Tensor) -> Tensor:
    """Rotation vector, in the camera's own axes, from each frame to the next; (B, T, 4, 4) -> (B, T, 3) radians.

    The last frame repeats the one before it. Large turns are shortened to sin(angle) times the axis.
    """
    rotation = room_from_cam[..., :3, :3]
    if rotation.shape[1] < 2:
        return torch.zeros_like(room_from_cam[..., :3, 0])
    to = rotation[:, :-1].transpose(-1, -2) @ rotation[:, 1:]
    skew = 0.5 * (to - to.transpose(-1, -2))
    vector = torch.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], -1)
    return torch.cat([vector, vector[:, -1:]], 1)


def build_optics(u: Uniforms, config: WorldConfig, room_from_cam: Tensor) -> Optics:
    """Draw lenses and shutters for these paths; a pure function of the uniforms."""
    turn = turning(room_from_cam)
    bent = u.chance(config.distortion_share)
    lens = torch.where(bent[:, None], u.normal(2) * constant((0.06, 0.015), turn.device), 0.0)
    reading = torch.where(u.chance(config.rolling_share), u.uniform(low=0.03, high=0.3), 0.0)
    open_ = torch.where(u.chance(config.blur_share), u.log_uniform(low=0.04, high=0.4), 0.0)
    step = torch.where(u.chance(config.compression_share), u.log_uniform(low=0.01, high=0.09), 0.0)
    warp = torch.cat([lens[:, None].expand(-1, turn.shape[1], -1), turn * reading[:, None, None]], -1)
    return Optics(warp, turn * open_[:, None, None], step)


def smear(light: Tensor, turn: Tensor, intrinsics: Tensor) -> Tensor:
    """Average linear light (B, T, 3, H, W) along the way of each pixel while the camera turns by (B, T, 3)."""
    b, t, _, height, width = light.shape
    device = light.device
    k = intrinsics[:, None, :, :, None, None]
    v, u = torch.meshgrid(
        torch.arange(height, device=device, dtype=torch.float32),
        torch.arange(width, device=device, dtype=torch.float32),
        indexing="ij",
    )
    x, y = (u - k[:, :, 0, 2]) / k[:, :, 0, 0], (v - k[:, :, 1, 2]) / k[:, :, 1, 1]  # (B, 1, H, W)
    w = [turn[:, :, i, None, None] for i in range(3)]
    # a point at (x, y, 1) moves by -(w x p), seen after projection
    away = w[0] * y - w[1] * x
    du = -(w[1] - w[2] * y) + x * away
    dv = -(w[2] * x - w[0]) + y * away
    du, dv = du * k[:, :, 0, 0], dv * k[:, :, 1, 1]
    frames = light.flatten(0, 1)
    total = torch.zeros_like(frames)
    for tap in TAPS:
        place = torch.stack([(2 * (u + tap * du) + 1) / width - 1, (2 * (v + tap * dv) + 1) / height - 1], -1)
        total += torch.nn.functional.grid_sample(
            frames, place.flatten(0, 1), mode="bilinear", padding_mode="border", align_corners=False
        )
    return (total / len(TAPS)).view_as(light)


def cosines(device: torch.device) -> tuple[Tensor, Tensor]:
    """The cosine transform of a block's side (8, 8), and how its steps grow with frequency (8, 8)."""
    rows = tuple(
        tuple(sqrt((1 if k == 0 else 2) / BLOCK) * cos(pi * (2 * n + 1) * k / (2 * BLOCK)) for n in range(BLOCK))
        for k in range(BLOCK)
    )
    slope = tuple(tuple(1 + 0.5 * (i + j) for j in range(BLOCK)) for i in range(BLOCK))
    return constant(rows, device), constant(slope, device)


def compress(image: Tensor, step: Tensor, dct: Tensor, slope: Tensor) -> Tensor:
    """Quantise the 8 x 8 cosine transforms of pictures (B, T, 3, H, W) in [0, 1] as JPEG does (ITU T.81); `step` (B,).

    dct, slope: `cosines`, which compiled code must not make: it would copy them from the host. Pictures whose sides are
    no multiples of 8 are left as they are.
    """
    b, t, c, height, width = image.shape
    if height % BLOCK or width % BLOCK:
        return image
    blocks = image.reshape(b, t, c, height // BLOCK, BLOCK, width // BLOCK, BLOCK).transpose(4, 5)
    quantum = step.view(b, *([1] * 6)) * slope
    waves = dct @ blocks @ dct.T
    coarse = torch.where(quantum > 0, (waves / quantum.clamp_min(1e-6)).round() * quantum, waves)
    back = dct.T @ coarse @ dct
    return back.transpose(4, 5).reshape(image.shape)
