# SPDX-License-Identifier: Apache-2.0
"""What a camera does to light: exposure, colour, tone, vignette, blur, noise, chroma loss, 8 bits.

All parameters are drawn once a take. Noise comes from an integer hash of (take, frame, pixel), so it needs no random
state and is the same on every device.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from math import gcd, pi

import torch
from torch import Tensor

from longtake.synthetic.optics import compress, cosines
from longtake.synthetic.uniforms import Uniforms

GROUP = 8  # frames that compiled code develops at a time; steps of four takes or more are whole groups


@dataclass(frozen=True, slots=True)
class Camera:
    """Parameters of B takes."""

    target: Tensor  # (B,) mean grey level aimed at, display space
    follow: Tensor  # (B,) share of the exposure that follows each frame rather than the take
    drift: Tensor  # (B, T) log2 of the exposure's own drift
    warmth: Tensor  # (B, T) log of red over blue that drifts too
    color: Tensor  # (B, 3, 3) white balance and cross-talk, linear
    gamma: Tensor  # (B,)
    contrast: Tensor  # (B,)
    vignette: Tensor  # (B,)
    blur: Tensor  # (B, T, 2) weight of each neighbour, in [0, 1/3], across and down
    shot: Tensor  # (B,) noise that grows with the root of the signal
    read: Tensor  # (B,) noise of the dark
    chroma: Tensor  # (B,) share of the colour that is kept at half resolution only
    seed: Tensor  # (B,) int32


def build_camera(u: Uniforms, frames: int) -> Camera:
    """Draw the cameras; a pure function of the uniforms."""
    device = u.block.device
    time = torch.arange(frames, device=device) / max(frames, 16)
    wave = torch.sin(2 * pi * (u.uniform(low=0.2, high=1.5)[:, None] * time + u.uniform()[:, None]))
    balance = torch.diag_embed(torch.exp(u.normal(3) * 0.14))
    mixing = torch.eye(3, device=device) + u.normal(3, 3) * u.uniform(high=0.06)[:, None, None]
    grey = torch.full((3, 3), 1 / 3, device=device)
    saturation = u.uniform(low=0.55, high=1.4)[:, None, None]
    mixing = mixing * saturation + grey * (1 - saturation)
    blurred = torch.where(u.chance(0.7), u.uniform(high=0.26), 0.0)
    moving = torch.where(u.chance(0.3)[:, None, None], u.uniform(frames, 2, high=0.3), 0.0)
    noisy = torch.where(u.chance(0.75), u.log_uniform(low=0.15, high=2.2), 0.0)
    return Camera(
        target=u.uniform(low=0.28, high=0.62),
        follow=u.uniform(high=0.7),
        drift=u.uniform(high=0.35)[:, None] * wave,
        warmth=torch.where(u.chance(0.3), u.normal() * 0.12, 0.0)[:, None] * wave,
        color=balance @ mixing,
        gamma=u.uniform(low=0.85, high=1.2),
        contrast=u.uniform(low=0.0, high=0.6),
        vignette=torch.where(u.chance(0.5), u.uniform(high=0.5), 0.0),
        blur=(blurred[:, None, None] + moving).clamp(0, 1 / 3),
        shot=0.022 * noisy,
        read=0.010 * noisy,
        chroma=torch.where(u.chance(0.6), u.uniform(high=0.9), 0.0),
        seed=(u.uniform() * 2**30).int(),
    )


def scramble(x: Tensor) -> Tensor:
    """Mix the bits of int32 numbers (a multiply-xorshift hash)."""
    x = x ^ ((x >> 16) & 0xFFFF)
    x = x * 0x7FEB352D
    x = x ^ ((x >> 15) & 0x1FFFF)
    x = x * -0x7B935975
    return x ^ ((x >> 16) & 0xFFFF)


def noise(take: Tensor, height: int, width: int) -> Tensor:
    """Nearly normal noise (N, 3, H, W) of unit variance: the four bytes of a hash of picture (N,) int32 and pixel."""
    pixel = torch.arange(3 * height * width, device=take.device, dtype=torch.int32).view(3, height, width)
    bits = scramble(take[:, None, None, None] ^ (pixel * 0x1E3779B1))
    total = (bits & 255) + ((bits >> 8) & 255) + ((bits >> 16) & 255) + ((bits >> 24) & 255)
    return (total.float() - 510.0) / 147.8


def smooth(image: Tensor, weight: Tensor, axis: int) -> Tensor:
    """Mix each pixel with its two neighbours along an axis; the border repeats."""
    n = image.shape[axis]
    before = torch.cat([image.narrow(axis, 0, 1), image.narrow(axis, 0, n - 1)], axis)
    after = torch.cat([image.narrow(axis, 1, n - 1), image.narrow(axis, n - 1, 1)], axis)
    return image + weight * (before + after - 2 * image)


def develop(light: Tensor, camera: Camera | None, step: Tensor | None = None, *, compiled: bool = False) -> Tensor:
    """Turn linear light (B, T, 3, H, W) into pictures in [0, 1] with 8-bit steps. `step` (B,) compresses them.

    Without a camera: a fixed exposure for the take's mean and gamma 2, still with 8-bit steps. compiled: eight frames
    at a time through torch.compile, which reads a picture a few times where the plain steps read it a hundred times;
    compiled code depends on the picture's size alone. Some pixels differ by a step of the quantisers.
    """
    b, t, _, height, width = light.shape
    grey = light.clamp(0, 8).mean((2, 3, 4))  # (B, T)
    whole = grey.mean(1, keepdim=True)
    if camera is None:
        image = (light * (0.16 / whole.clamp_min(1e-4))[..., None, None, None]).clamp(0, 1).sqrt()
        return (image * 255).round() / 255
    metered = whole ** (1 - camera.follow[:, None]) * grey.clamp_min(1e-4) ** camera.follow[:, None]
    gain = (camera.target**2)[:, None] / metered.clamp_min(1e-4) * torch.exp2(camera.drift)
    frame = torch.arange(t, device=light.device, dtype=torch.int32)
    timed = (gain, camera.warmth, camera.blur, scramble(camera.seed[:, None] + frame * 0x3C6EF372))
    still = (camera.color, camera.gamma, camera.contrast, camera.vignette, camera.shot, camera.read, camera.chroma)
    still = still if step is None else (*still, step)
    of_frames = (*(x.flatten(0, 1) for x in timed), *(x.repeat_interleave(t, 0) for x in still))
    frames = light.flatten(0, 1)
    if not compiled:
        return expose(frames, *of_frames, basis=cosines(light.device)).view_as(light)
    group, basis = gcd(b * t, GROUP), cosines(light.device)
    groups = zip(*(x.contiguous().split(group) for x in (frames, *of_frames)), strict=True)
    return torch.cat([compiled_expose()(*each, basis=basis) for each in groups]).view_as(light)


def expose(
    light: Tensor,
    gain: Tensor,
    warmth: Tensor,
    blur: Tensor,
    take: Tensor,
    color: Tensor,
    gamma: Tensor,
    contrast: Tensor,
    vignette: Tensor,
    shot: Tensor,
    read: Tensor,
    chroma: Tensor,
    step: Tensor | None = None,
    basis: tuple[Tensor, Tensor] | None = None,
) -> Tensor:
    """What `develop` does to N frames (N, 3, H, W) once they are metered; the rest as in `Camera`, (N, ...).

    step (N,), with `cosines` as the basis: compresses them.
    """
    height, width = light.shape[-2:]
    device = light.device

    def wide(x: Tensor) -> Tensor:
        return x.reshape(-1, 1, 1, 1)

    y = (torch.arange(height, device=device) - 0.5 * (height - 1)) / (0.5 * max(height, width))
    x = (torch.arange(width, device=device) - 0.5 * (width - 1)) / (0.5 * max(height, width))
    corner = 1 - wide(vignette) * (y[:, None] ** 2 + x**2) * 0.5
    image = (light * wide(gain)).clamp(0, 4) * corner
    r, g, bl = image[:, 0], image[:, 1], image[:, 2]
    m = color[:, :, :, None, None]
    r, bl = r * warmth.exp()[:, None, None], bl * warmth.neg().exp()[:, None, None]
    image = torch.stack([m[:, i, 0] * r + m[:, i, 1] * g + m[:, i, 2] * bl for i in range(3)], 1).clamp(0, 4)
    image = smooth(image, wide(blur[:, 0]), 3)
    image = smooth(image, wide(blur[:, 1]), 2)
    spread = (image * wide(shot**2) + wide(read**2)).sqrt()
    image = image + spread * noise(take, height, width)
    image = image.clamp(1e-6, 1) ** (wide(gamma) * 0.5)
    curve = image * image * (3 - 2 * image)
    image = image + wide(contrast) * (curve - image)
    if height % 2 == 0 and width % 2 == 0:
        luma = 0.3 * image[:, 0:1] + 0.59 * image[:, 1:2] + 0.11 * image[:, 2:3]
        tint = image - luma
        half = tint.unflatten(3, (width // 2, 2)).unflatten(2, (height // 2, 2)).mean((3, 5), keepdim=True)
        half = half.expand(-1, -1, -1, 2, -1, 2).reshape(tint.shape)
        image = luma + tint + wide(chroma) * (half - tint)
    if step is not None and basis is not None:
        image = compress(image[:, None], step, *basis)[:, 0]
    return (image.clamp(0, 1) * 255).round() / 255


@lru_cache(maxsize=1)
def compiled_expose() -> Callable[..., Tensor]:
    """`expose` under torch.compile, for each number of frames and size it meets."""
    return torch.compile(expose, dynamic=False)
