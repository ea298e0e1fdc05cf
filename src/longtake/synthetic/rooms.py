# SPDX-License-Identifier: Apache-2.0
"""Draw rooms: their size, what stands in them, what it is made of, and the light."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from longtake.synthetic.config import (
    BODIES,
    FLOOR_CELLS,
    LIGHTS,
    MESH,
    MESHES,
    MOVER,
    PRIMITIVES,
    ROOM,
    SET_SIZE,
    SETS,
    WorldConfig,
)
from longtake.synthetic.furniture import Solids, furnish
from longtake.synthetic.materials import paint
from longtake.synthetic.scenes import Scenes
from longtake.synthetic.textures import Textures
from longtake.synthetic.uniforms import Uniforms, constant

GONE = 1e5  # removed bodies stand this far below the floor, in metres


def room_sizes(u: Uniforms, config: WorldConfig) -> Tensor:
    """Draw half extents (B, 3): ordinary rooms, halls and corridors."""
    low, high = config.room_size
    x, z = u.log_uniform(low=low, high=high), u.log_uniform(low=low, high=high)
    y = u.uniform(low=config.room_height[0], high=config.room_height[1])
    hall, corridor = u.chance(config.hall_share), u.chance(config.corridor_share)
    x = torch.where(hall, u.uniform(low=10, high=20), x)
    z = torch.where(hall, u.uniform(low=8, high=20), z)
    y = torch.where(hall, y * 1.5, y)
    long_x = u.chance(0.5)
    narrow, long = u.uniform(low=1.8, high=2.6), u.uniform(low=7, high=20)
    x = torch.where(corridor, torch.where(long_x, long, narrow), x)
    z = torch.where(corridor, torch.where(long_x, narrow, long), z)
    return 0.5 * torch.stack([x, y, z], -1)


def lamps(u: Uniforms, half: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw light positions (B, 4, 3), colours (B, 4, 3), strongest first, and ambient light (B, 3)."""
    spread = u.uniform(LIGHTS, 3, low=-0.85, high=0.85)
    high = -(0.72 + 0.25 * u.uniform(LIGHTS)) * 2 * half[:, 1, None]
    position = torch.stack([spread[..., 0] * half[:, 0, None], high, spread[..., 2] * half[:, 2, None]], -1)
    power = u.log_uniform(LIGHTS, low=0.4, high=2.0).sort(-1, descending=True).values
    power = power * torch.stack([torch.ones_like(power[:, 0])] * 2 + [u.chance(0.6).float(), u.chance(0.3).float()], -1)
    warm = u.normal(LIGHTS) * 0.12
    color = torch.stack([1 + warm, 1 + 0.05 * u.normal(LIGHTS), 1 - warm], -1).clamp(0.4, 1.6)
    reach = half.norm(dim=-1)[:, None, None]
    ambient = u.uniform(low=0.25, high=0.8)[:, None] * (1 + 0.06 * u.normal(3))
    return position, color * power[..., None] * (0.8 + 0.25 * reach), ambient


def assemble(half: Tensor, solids: Solids) -> tuple[Tensor, Tensor, Tensor]:
    """Return centre (B, P, 3), local_from_room (B, P, 3, 3) and extent (B, P, 3) with the room as the last."""
    middle = torch.stack([torch.zeros_like(half[:, 1]), -half[:, 1], torch.zeros_like(half[:, 1])], -1)
    centre = torch.cat([solids.centre, middle[:, None]], 1)
    extent = torch.cat([solids.extent.clamp_min(0.005), half[:, None]], 1)
    eye = torch.eye(3, device=half.device).expand(half.shape[0], 1, 3, 3)
    rotation = torch.cat([solids.rotation, eye], 1)
    return centre, rotation.transpose(-1, -2) / extent[..., None], extent


def build_scenes(u: Uniforms, config: WorldConfig, textures: Textures, half: Tensor | None = None) -> Scenes:
    """Draw one room for each row of the uniforms, of half extents (B, 3) or of its own; a pure function of them."""
    half = room_sizes(u, config) if half is None else half
    centre, local_from_room, extent = assemble(half, furnish(u, half))
    # rooms differ in how full they are
    fill = u.uniform(low=0.45, high=1.0)
    gone = u.uniform(PRIMITIVES) > fill[:, None]
    whole = gone[:, : SETS * SET_SIZE : SET_SIZE].repeat_interleave(SET_SIZE, 1)  # sets go as a whole
    gone = torch.cat([whole, gone[:, SETS * SET_SIZE :]], 1)
    faces, shine = paint(u, extent, textures)
    position, color, ambient = lamps(u, half)
    b, device = half.shape[0], half.device

    def spread(table: Tensor, value: float = 0.0) -> Tensor:
        """Make room for the meshes between the bodies and the room."""
        empty = torch.full((b, MESHES, *table.shape[2:]), value, device=device)
        return torch.cat([table[:, :PRIMITIVES], empty, table[:, PRIMITIVES:]], 1)

    down = constant((0.0, 1.0, 0.0, 0.0, 0.1), device).expand(b, LIGHTS, 5)
    scenes = Scenes(
        half=half,
        centre=spread(centre, GONE),
        local_from_room=spread(local_from_room),
        extent=spread(extent, 1.0),
        faces=spread(faces),
        shine=spread(shine),
        gloss=torch.zeros(b, BODIES, device=device),
        floor=torch.ones(b, FLOOR_CELLS, FLOOR_CELLS, device=device),
        light_position=position,
        light_color=color,
        light_normal=down,
        ambient=ambient,
        model=torch.full((b, MESHES), -1, dtype=torch.int32, device=device),
        rests=torch.arange(MESHES, device=device).expand(b, -1),
        shadowed=torch.ones(b, device=device),
    )
    return remove(scenes, torch.cat([gone, torch.zeros_like(gone[:, :MESHES])], 1))


def remove(scenes: Scenes, gone: Tensor) -> Scenes:
    """Take bodies (B, 92) bool out of the rooms: they move far below the floor, which hides them; meshes are unset."""
    room = torch.zeros_like(gone[:, :1])
    away = torch.cat([gone, room], 1)[..., None] & constant((False, True, False), gone.device)
    return replace(
        scenes,
        centre=torch.where(away, GONE, scenes.centre),
        model=torch.where(gone[:, MESH:], -1, scenes.model),
    )


def distances(scenes: Scenes, points: Tensor) -> Tensor:
    """Distance in metres, at least, from points (B, N, 3) to each body, (B, N, 92); 0 inside.

    Exact for boxes; ellipsoids, cylinders and meshes are measured by their bounding boxes.
    """
    offset = points[:, :, None] - scenes.centre[:, None, :ROOM]
    local = (scenes.local_from_room[:, None, :ROOM] * offset[..., None, :]).sum(-1)
    beyond = (local.abs() - 1).clamp_min(0.0) * scenes.extent[:, None, :ROOM]
    away = scenes.centre[:, None, :ROOM, 1] >= 0.5 * GONE
    return torch.where(away, GONE, (beyond * beyond).sum(-1).sqrt())


def clear_path(scenes: Scenes, points: Tensor, clearance: Tensor) -> Scenes:
    """Remove whatever comes closer than `clearance` (B,) metres to the camera centres (B, T, 3)."""
    near = distances(scenes, points).amin(1) < clearance[:, None]
    # a set whose part is in the way goes as a whole
    count = SETS * SET_SIZE
    whole = near[:, :count].unflatten(1, (SETS, SET_SIZE)).any(-1).repeat_interleave(SET_SIZE, 1)
    # nothing stays in the air when what it stood on goes
    mesh = near[:, MESH:]
    return remove(scenes, torch.cat([whole, near[:, count:MESH], mesh | mesh.gather(1, scenes.rests)], 1))


def floor_map(scenes: Scenes) -> Tensor:
    """How much of the ambient light reaches the floor beside and under what stands on it, (B, 32, 32), rows along z.

    Each body darkens by exp(-distance / 0.2 m) exp(-height of its underside / 0.25 m); its footprint is a rectangle.
    """
    device, n = scenes.half.device, FLOOR_CELLS
    line = (torch.arange(n, device=device) + 0.5) * (2 / n) - 1
    z, x = torch.meshgrid(line, line, indexing="ij")
    x = x.flatten()[None, :, None] * scenes.half[:, :1, None]  # (B, cells, 1)
    z = z.flatten()[None, :, None] * scenes.half[:, 2:, None]
    centre, matrix, extent = (t[:, None, :MOVER] for t in (scenes.centre, scenes.local_from_room, scenes.extent))
    dx, dz = x - centre[..., 0], z - centre[..., 2]
    under = -centre[..., 1] - extent[..., 1]  # bodies that lie or tilt are taken as if they stood
    inside = [(matrix[..., i, 0] * dx + matrix[..., i, 2] * dz).abs() for i in (0, 2)]
    beyond = [(c - 1).clamp_min(0.0) * extent[..., i] for c, i in zip(inside, (0, 2), strict=True)]
    away = (beyond[0].square() + beyond[1].square()).sqrt()
    dark = 0.65 * torch.exp(-away / 0.2 - under.clamp_min(0.0) / 0.25)
    dark = torch.where(centre[..., 1] > 0.5 * GONE, 0.0, dark)
    return (1 - dark).prod(-1).unflatten(1, (n, n)).clamp_min(0.15)
