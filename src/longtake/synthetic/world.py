# SPDX-License-Identifier: Apache-2.0
"""Draw batches of takes: rooms, paths, lenses, pictures with exact depth. The trainer calls `make_batch` only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from longtake.errors import CapabilityError
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.effects import build_camera, develop
from longtake.synthetic.paths import build_intrinsics, build_paths
from longtake.synthetic.raycast import Rays, hits, nearest, pixel_rays
from longtake.synthetic.rooms import build_scenes, clear_path
from longtake.synthetic.scenes import Scenes
from longtake.synthetic.shade import shade
from longtake.synthetic.textures import Textures, load_textures
from longtake.synthetic.uniforms import Uniforms, draw_uniforms


@dataclass(frozen=True, slots=True)
class Batch:
    """B takes of T frames. World = the first camera of each take (OpenCV axes); metres."""

    images: Tensor  # (B, T, 3, H, W) float32 in [0, 1], 8-bit steps
    depth: Tensor  # (B, T, H, W) z > 0 everywhere, metres
    world_from_cam: Tensor  # (B, T, 4, 4); the first is the identity
    intrinsics: Tensor  # (B, 3, 3) pixels, centres at integers


def trace(
    scenes: Scenes, rays: Rays, room_from_cam: Tensor, focal: Tensor, texels: Tensor, shadows: bool
) -> tuple[Tensor, Tensor]:
    """Follow the rays of N frames with poses (N, 4, 4): linear light (N, 3, R) and z-depth (N, R)."""
    hit = hits(scenes, rays, nearest(rays))
    turn = room_from_cam
    way = tuple(turn[:, i, 0, None] * rays.x + turn[:, i, 1, None] * rays.y + turn[:, i, 2, None] for i in range(3))
    light = shade(scenes, texels, hit, way, turn[:, :3, 3], focal, rays.room, shadows)  # pyright: ignore[reportArgumentType]
    return torch.stack(light, 1), hit.depth


def kernel(device: torch.device) -> Callable[..., tuple[Tensor, Tensor]]:
    """The hand-written twin of `trace`; triton is imported here, because PyTorch for the CPU lacks it."""
    if device.type != "cuda":
        raise CapabilityError(f"fast=True draws on a CUDA device, not on {device}; pass fast=False.")
    try:
        from longtake.synthetic.trace_triton import trace_triton
    except ModuleNotFoundError as error:
        raise CapabilityError(
            f"fast=True needs triton, which PyTorch for CUDA on Linux brings along ({error}); "
            "install it or pass fast=False."
        ) from error
    return trace_triton


def render(
    scenes: Scenes,
    room_from_cam: Tensor,
    intrinsics: Tensor,
    height: int,
    width: int,
    textures: Textures,
    shadows: bool = False,
    fast: bool = False,
) -> tuple[Tensor, Tensor]:
    """Cast one ray a pixel: linear light (B, T, 3, H, W) and exact z-depth (B, T, H, W) in metres.

    `room_from_cam` is (B, T, 4, 4), `intrinsics` (B, 3, 3) in pixels with centres at integers. Pure. `fast` takes
    the hand-written kernel instead of `trace`: CapabilityError without triton or off a CUDA device.
    """
    b, t = room_from_cam.shape[:2]
    if fast:
        draw = kernel(room_from_cam.device)
        light, depth = draw(scenes, room_from_cam, intrinsics, height, width, textures.texels, shadows)
    else:
        rays = pixel_rays(scenes, room_from_cam, intrinsics, height, width)
        poses, focal = room_from_cam.reshape(b * t, 4, 4), intrinsics[:, 0, 0].repeat_interleave(t)
        light, depth = trace(scenes, rays, poses, focal, textures.texels, shadows)
    return light.view(b, t, 3, height, width), depth.view(b, t, height, width)


def batch_from_uniforms(
    block: Tensor,
    config: WorldConfig,
    textures: Textures,
    frames: int,
    height: int,
    width: int,
    fast: bool = False,
) -> Batch:
    """Turn a block of uniforms (B, N) into takes; a pure function that a graph can capture."""
    u = Uniforms(block)
    scenes = build_scenes(u, config, textures)
    room_from_cam = build_paths(u, config, scenes.half, frames)
    intrinsics = build_intrinsics(u, config, height, width)
    near = config.clearance * u.uniform(low=0.9, high=1.6)
    scenes = clear_path(scenes, room_from_cam[:, :, :3, 3], near)
    camera = build_camera(u, frames) if config.effects else None
    light, depth = render(scenes, room_from_cam, intrinsics, height, width, textures, config.shadows, fast)
    return Batch(develop(light, camera), depth, from_first(room_from_cam), intrinsics)


def from_first(room_from_cam: Tensor) -> Tensor:
    """Express poses (B, T, 4, 4) in the first camera's frame; the first becomes exactly the identity."""
    turn, place = room_from_cam[..., :3, :3], room_from_cam[..., :3, 3]
    back = turn[:, :1].transpose(-1, -2)
    rotation = back @ turn
    shift = (back * (place - place[:, :1])[..., None, :]).sum(-1)
    poses = torch.zeros_like(room_from_cam)
    poses[..., :3, :3], poses[..., :3, 3], poses[..., 3, 3] = rotation, shift, 1.0
    poses[:, 0] = torch.eye(4, device=poses.device)
    return poses


def make_batch(
    config: WorldConfig,
    batch: int,
    frames: int,
    height: int,
    width: int,
    device: torch.device | str,
    generator: torch.Generator | None = None,
    fast: bool = False,
) -> Batch:
    """Draw a batch of takes without gradients.

    The generator (on the same device) and the config decide everything; None takes the device's default generator,
    which a CUDA graph can capture. `fast=True` casts the rays with the hand-written kernel (CUDA only). Without it,
    `config.chunk` bounds how many takes' frames are rendered at once.
    """
    textures = load_textures(device)
    with torch.no_grad():
        block = draw_uniforms(batch, frames, device, generator)
        if fast or not config.chunk or batch * frames <= config.chunk:
            return batch_from_uniforms(block, config, textures, frames, height, width, fast)
        takes = max(1, config.chunk // frames)
        parts = [batch_from_uniforms(part, config, textures, frames, height, width) for part in block.split(takes)]
    return Batch(*(torch.cat([getattr(p, f) for p in parts]) for f in Batch.__dataclass_fields__))
