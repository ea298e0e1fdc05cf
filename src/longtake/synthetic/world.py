# SPDX-License-Identifier: Apache-2.0
"""Draw batches of takes: rooms, paths, lenses, pictures with exact depth. The trainer calls `make_batch` only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from longtake.errors import CapabilityError
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.effects import Camera, build_camera, develop
from longtake.synthetic.interiors import Placed, decorate, furnish_rooms, insert
from longtake.synthetic.lighting import light_rooms
from longtake.synthetic.meshcast import closer, shaded
from longtake.synthetic.meshes import Meshes, load_meshes
from longtake.synthetic.movers import walk_people
from longtake.synthetic.optics import Optics, build_optics, smear
from longtake.synthetic.painted import repaint, scatter
from longtake.synthetic.paths import build_intrinsics, build_paths
from longtake.synthetic.raycast import Rays, Vector, hits, nearest, pixel_rays
from longtake.synthetic.rooms import build_scenes, clear_path, floor_map, room_sizes
from longtake.synthetic.scenes import Scenes
from longtake.synthetic.shade import shade, shadow
from longtake.synthetic.streets import line_streets, open_sky, street_sizes
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
    scenes: Scenes,
    rays: Rays,
    room_from_cam: Tensor,
    focal: Tensor,
    texels: Tensor,
    meshes: Meshes | None,
    shadows: bool,
) -> tuple[Tensor, Tensor]:
    """Follow the rays of N frames with poses (N, 4, 4): linear light (N, 3, R) and z-depth (N, R)."""
    hit = hits(scenes, rays, nearest(rays))
    if meshes is not None:
        hit = closer(scenes, rays, hit, meshes)
    turn, eye = room_from_cam, room_from_cam[:, :3, 3]
    ray = tuple(turn[:, i, 0, None] * rays.x + turn[:, i, 1, None] * rays.y + turn[:, i, 2, None] for i in range(3))
    lit = None
    if shadows:
        source = scenes.light_position[rays.room, 0]
        way: Vector = tuple(eye[:, i, None] + hit.depth * ray[i] - source[:, i, None] for i in range(3))  # pyright: ignore[reportAssignmentType]
        length = torch.sqrt(way[0] ** 2 + way[1] ** 2 + way[2] ** 2 + 1e-6)
        lit = shadow(rays, source, way, length)
        if meshes is not None:
            lit = torch.where(shaded(scenes, rays, source, way, length, meshes), 0.0, lit)
        lit = 1.0 + scenes.shadowed[rays.room, None] * (lit - 1.0)
    light = shade(scenes, texels, hit, ray, eye, focal, rays.room, lit)  # pyright: ignore[reportArgumentType]
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
    meshes: Meshes | None = None,
    warp: Tensor | None = None,
    at_once: int = 0,
) -> tuple[Tensor, Tensor]:
    """Cast one ray a pixel: linear light (B, T, 3, H, W) and exact z-depth (B, T, H, W) in metres.

    `room_from_cam` is (B, T, 4, 4), `intrinsics` (B, 3, 3) in pixels with centres at integers. Pure. `fast` takes
    the hand-written kernel instead of `trace`: CapabilityError without triton or off a CUDA device. `at_once` bounds
    how many frames `trace` has in work, which takes some 25 MB for each at 160x128; 0 means all.
    """
    b, t = room_from_cam.shape[:2]
    if fast:
        draw = kernel(room_from_cam.device)
        light, depth = draw(scenes, room_from_cam, intrinsics, height, width, textures.texels, shadows, meshes, warp)
    else:
        parts, step = [], max(1, at_once // b) if at_once else t
        for first in range(0, t, step):
            now = slice(first, first + step)
            moved = replace(scenes, moving=None if scenes.moving is None else scenes.moving[:, now])
            poses, bent = room_from_cam[:, now], None if warp is None else warp[:, now]
            rays = pixel_rays(moved, poses, intrinsics, height, width, bent)
            n, focal = poses.shape[1], intrinsics[:, 0, 0].repeat_interleave(poses.shape[1])
            light, depth = trace(moved, rays, poses.reshape(b * n, 4, 4), focal, textures.texels, meshes, shadows)
            parts.append((light.view(b, n, 3, height, width), depth.view(b, n, height, width)))
        light, depth = (torch.cat(kind, 1) for kind in zip(*parts, strict=True))
    return light.view(b, t, 3, height, width), depth.view(b, t, height, width)


def furnish(
    u: Uniforms,
    config: WorldConfig,
    scenes: Scenes,
    textures: Textures,
    meshes: Meshes,
    street: Tensor,
    room: Tensor,
    points: Tensor,
) -> Scenes:
    """Put meshes, windows and people into furnished rooms and streets, (B,) bool each."""
    inside, rests = furnish_rooms(u, scenes.half, meshes, config.people_share)
    outside = line_streets(u, scenes.half, meshes, config.people_share)
    placed = Placed(
        *(
            torch.where(street.view(-1, *([1] * (a.dim() - 1))), b, a)
            for a, b in ((getattr(inside, name), getattr(outside, name)) for name in Placed.__dataclass_fields__)
        )
    )
    own = torch.arange(rests.shape[1], device=rests.device)
    scenes = decorate(u, scenes, textures, room, street)
    scenes = light_rooms(u, scenes, textures, room)
    scenes = open_sky(u, scenes, textures, street)
    scenes = insert(u, scenes, placed, torch.where(street[:, None], own, rests), textures, room | street)
    return walk_people(u, replace(scenes, shadowed=u.chance(config.shadow_share).float()), points)


@dataclass(frozen=True, slots=True)
class Plan:
    """All that is decided about B takes before a ray is cast."""

    scenes: Scenes
    room_from_cam: Tensor  # (B, T, 4, 4)
    intrinsics: Tensor  # (B, 3, 3)
    camera: Camera | None
    optics: Optics | None
    meshes: Meshes | None


def plan_takes(
    u: Uniforms, config: WorldConfig, textures: Textures, meshes: Meshes | None, frames: int, height: int, width: int
) -> Plan:
    """Decide what takes look like; a pure function of the uniforms whose sizes depend on nothing that is drawn.

    `meshes` may be None where the config furnishes nothing.
    """
    street = u.chance(config.street_share)
    room = u.chance(config.mesh_share) & ~street
    half = torch.where(street[:, None], street_sizes(u), room_sizes(u, config))
    cosy = room & u.chance(0.6)  # the same furniture fills a smaller room
    half = torch.where(cosy[:, None], torch.minimum(half, half.new_full((3,), 2.6)), half)
    scenes = build_scenes(u, config, textures, half)
    room_from_cam = build_paths(u, config, half, frames, street, room)
    intrinsics = build_intrinsics(u, config, height, width)
    points = room_from_cam[:, :, :3, 3]
    near = config.clearance * u.uniform(low=0.9, high=1.6) * torch.where(room, 0.75, 1.0)
    camera = build_camera(u, frames) if config.effects else None
    bent = max(config.distortion_share, config.rolling_share, config.blur_share, config.compression_share) > 0
    optics = build_optics(u, config, room_from_cam) if bent and config.effects else None
    if meshes is not None:
        scenes = furnish(u, config, scenes, textures, meshes, street, room, points)
    if config.painted_share > 0:
        painted = u.chance(config.painted_share) & ~street
        scenes = scatter(u, scenes, painted & ~room & u.chance(0.7))
        scenes = repaint(u, scenes, textures, painted)
    scenes = clear_path(scenes, points, near)
    if meshes is not None:
        scenes = replace(scenes, floor=floor_map(scenes))
    return Plan(scenes, room_from_cam, intrinsics, camera, optics, meshes)


def batch_from_uniforms(
    block: Tensor,
    config: WorldConfig,
    textures: Textures,
    frames: int,
    height: int,
    width: int,
    fast: bool = False,
    compiled: bool = False,
) -> Batch:
    """Turn a block of uniforms (B, N) into takes; a pure function that a graph can capture."""
    meshes = load_meshes(block.device) if config.mesh_share > 0 or config.street_share > 0 else None
    plan = plan_takes(Uniforms(block), config, textures, meshes, frames, height, width)
    poses, lens, optics = plan.room_from_cam, plan.intrinsics, plan.optics
    warp = None if optics is None else optics.warp
    light, depth = render(
        plan.scenes, poses, lens, height, width, textures, config.shadows, fast, meshes, warp, config.chunk
    )
    if optics is not None and config.blur_share > 0:
        light = smear(light, optics.turn, lens)
    images = develop(light, plan.camera, None if optics is None else optics.step, compiled=compiled)
    return Batch(images, depth, from_first(poses), lens)


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
    compiled: bool = False,
) -> Batch:
    """Draw a batch of takes without gradients.

    The generator (on the same device) and the config decide everything; None takes the device's default generator,
    which a CUDA graph can capture. `fast=True` casts the rays with the hand-written kernel (CUDA only). Without it,
    `config.chunk` bounds how many frames are rendered at once, of one take or of several. `compiled`: see
    `effects.develop`.
    """
    textures = load_textures(device, patterns=config.painted_share > 0)
    with torch.no_grad():
        block = draw_uniforms(batch, frames, device, generator)
        if fast or not config.chunk or batch * frames <= config.chunk:
            return batch_from_uniforms(block, config, textures, frames, height, width, fast, compiled)
        takes = max(1, config.chunk // frames)
        parts = [
            batch_from_uniforms(part, config, textures, frames, height, width, compiled=compiled)
            for part in block.split(takes)
        ]
    return Batch(*(torch.cat([getattr(p, f) for p in parts]) for f in Batch.__dataclass_fields__))
