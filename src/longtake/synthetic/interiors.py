# SPDX-License-Identifier: Apache-2.0
"""Rooms as people furnish them: meshes of known size in their places, plain walls, polished floors, windows.

Everything is drawn for all takes and kept where `chosen` says so. Room frame as in `scenes`: y down, floor at 0; a
model's back is at +z, and a yaw of 0 leaves it there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import log2, pi

import torch
from torch import Tensor

from longtake.synthetic.config import (
    BLOCKS,
    CEILINGS,
    FLOORS,
    MESH,
    MESHES,
    MOVERS,
    OPENINGS,
    PARTITIONS,
    PRIMITIVES,
    ROOM,
    SEATS,
    SET_SIZE,
    SETS,
    STACKED,
    TABLES,
    TOPS,
    WALL_ITEMS,
    WALLS,
)
from longtake.synthetic.furniture import along_wall, standing, turned
from longtake.synthetic.materials import FLOOR, colors, pick
from longtake.synthetic.meshes import Meshes
from longtake.synthetic.scenes import PLAIN, Scenes
from longtake.synthetic.textures import TILE, Textures
from longtake.synthetic.uniforms import Uniforms, constant

GONE = 1e5  # as in `rooms`: removed bodies stand this far below the floor


@dataclass(frozen=True, slots=True)
class Placed:
    """n mesh instances a room."""

    model: Tensor  # (B, n) int64
    centre: Tensor  # (B, n, 3)
    extent: Tensor  # (B, n, 3)
    yaw: Tensor  # (B, n)
    gone: Tensor  # (B, n) bool


def choose(u: Uniforms, meshes: Meshes, kinds: tuple[str, ...], n: int) -> tuple[Tensor, Tensor]:
    """Draw n models of any of these kinds, and their half sizes: true to the catalogue within 6 %."""
    spans = [meshes.ranges[kind] for kind in kinds if kind in meshes.ranges]
    sizes = [high - low for low, high in spans]
    number = u.integer(sum(sizes), n)
    model, before = torch.zeros_like(number), 0
    for (low, _), size in zip(spans, sizes, strict=True):
        model = torch.where((number >= before) & (number < before + size), number - before + low, model)
        before += size
    return model, meshes.extent[model] * u.uniform(n, low=0.94, high=1.06)[..., None]


def up(x: Tensor, y: Tensor, z: Tensor) -> Tensor:
    """Stack components to points."""
    return torch.stack([x, y, z], -1)


def dining(u: Uniforms, half: Tensor, meshes: Meshes) -> Placed:
    """A table and its seats: two on each long side."""
    model, extent = choose(u, meshes, ("table",), TABLES)
    reach = extent[..., ::2].amax(-1) + 0.7
    x, z = (u.uniform(TABLES, low=-1.0) * (half[:, i, None] - reach).clamp_min(0.0) for i in (0, 2))
    yaw = u.integer(2, TABLES) * (pi / 2) + torch.where(u.chance(0.7, TABLES), 0.0, u.normal(TABLES) * 0.5)
    missing = (half[:, ::2].amin(-1, keepdim=True) < 1.25) | u.chance(0.35, TABLES)
    seat, size = choose(u, meshes, ("seat",), SEATS)
    alike = u.chance(0.75)[:, None]
    seat = torch.where(alike, seat[:, :1], seat)
    size = torch.where(alike[..., None], size[:, :1], size)
    number = torch.arange(SEATS, device=half.device)
    side, run = (number % 2) * 2.0 - 1.0, (number // 2) * 2.0 - 1.0
    wide = extent[:, :, 0] > 0.55
    along = torch.where(wide, 0.5 * extent[..., 0] * run, 0.0) + 0.06 * u.normal(SEATS)
    away = side * (extent[..., 2] + size[..., 2] * u.uniform(SEATS, low=0.1, high=1.5))
    c, s = yaw.cos(), yaw.sin()
    place = up(x + c * along + s * away, -size[..., 1], z - s * along + c * away)
    turn = yaw + torch.where(side > 0, 0.0, pi) + 0.25 * u.normal(SEATS)
    lacking = missing | (~wide & (run > 0)) | u.chance(0.25, SEATS)
    return Placed(
        torch.cat([model, seat], 1),
        torch.cat([up(x, -extent[..., 1], z), place], 1),
        torch.cat([extent, size], 1),
        torch.cat([yaw, turn], 1),
        torch.cat([missing, lacking], 1),
    )


def overlapping(p: Placed, first: int) -> Tensor:
    """Which instances from `first` on stand in an earlier one that stays, (B, n); in order, so that few have to go."""
    c, s = p.yaw.cos().abs(), p.yaw.sin().abs()
    width, depth = p.extent[..., 0], p.extent[..., 2]
    reach = 0.85 * torch.stack([c * width + s * depth, s * width + c * depth], -1)
    apart = (p.centre[:, :, None, ::2] - p.centre[:, None, :, ::2]).abs()
    inside = (apart < reach[:, :, None] + reach[:, None]).all(-1)
    gone = list(p.gone.unbind(1))
    for i in range(first, len(gone)):
        for j in range(i):
            gone[i] = gone[i] | (inside[:, i, j] & ~gone[j])
    return torch.stack(gone, 1)


def join(parts: list[Placed]) -> Placed:
    """Put instances one after the other."""
    return Placed(*(torch.cat([getattr(p, name) for p in parts], 1) for name in Placed.__dataclass_fields__))


def floor_things(u: Uniforms, half: Tensor, meshes: Meshes) -> Placed:
    """Cupboards, sofas, beds, shelves: mostly with their backs to a wall."""
    model, extent = choose(u, meshes, ("floor", "floor", "table", "seat"), FLOORS)
    x, z, yaw = standing(u, half, extent, 0.8)
    large = (2 * extent[..., 1] > 2 * half[:, 1, None]) | (extent[..., 0] > half[:, ::2].amin(-1, keepdim=True))
    return Placed(model, up(x, -extent[..., 1], z), extent, yaw, large | u.chance(0.15, FLOORS))


def top_things(u: Uniforms, below: Placed, meshes: Meshes) -> tuple[Placed, Tensor]:
    """Small things on what carries them, and the slot that does."""
    model, extent = choose(u, meshes, ("top",), TOPS)
    carrier = torch.where(u.chance(0.4, TOPS), 0, u.integer(below.model.shape[1], TOPS))

    def of(x: Tensor) -> Tensor:
        if x.dim() == 2:
            return x.gather(1, carrier)
        return x.gather(1, carrier[..., None].expand(-1, -1, x.shape[2]))

    size, yaw, centre = of(below.extent), of(below.yaw), of(below.centre)
    high = meshes.top[of(below.model)] * size[..., 1] / meshes.extent[of(below.model)][..., 1]
    free = (size[..., ::2] - 0.6 * extent[..., ::2]).clamp_min(0.0)
    a, b = u.uniform(TOPS, low=-0.9, high=0.9) * free[..., 0], u.uniform(TOPS, low=-0.9, high=0.9) * free[..., 1]
    c, s = yaw.cos(), yaw.sin()
    place = up(centre[..., 0] + c * a + s * b, -high - extent[..., 1], centre[..., 2] - s * a + c * b)
    seat = (carrier >= TABLES) & (carrier < TABLES + SEATS)
    unfit = of(below.gone) | seat | (high < 0.3) | (high > 1.5) | (size[..., ::2].amin(-1) < 0.12)
    return Placed(model, place, extent, yaw + 0.5 * u.normal(TOPS), unfit), carrier


def wall_things(u: Uniforms, half: Tensor, meshes: Meshes) -> Placed:
    """Cupboards and pictures on walls, doors and windows in them, lamps at the ceiling."""
    n = WALLS + OPENINGS
    hung, size = choose(u, meshes, ("wall",), WALLS)
    leaf, frame = choose(u, meshes, ("opening",), OPENINGS)
    model, extent = torch.cat([hung, leaf], 1), torch.cat([size, frame], 1)
    number = torch.arange(n, device=half.device)
    depth = extent[..., 2] * torch.where(number < WALLS, 1.0, 0.5)  # doors sit in the wall
    x, z, yaw = along_wall(u, half, n, depth, extent[..., 0])
    y = -meshes.elevation[model] - extent[..., 1]
    tall = meshes.elevation[model] + 2 * extent[..., 1] > 2 * half[:, 1, None]
    lamp, shade = choose(u, meshes, ("ceiling",), CEILINGS)
    lx, lz = (u.uniform(CEILINGS, low=-0.7, high=0.7) * half[:, i, None] for i in (0, 2))
    low = 2 * half[:, 1, None] - 2 * shade[..., 1] < 1.7
    return Placed(
        torch.cat([model, lamp], 1),
        torch.cat([up(x, y, z), up(lx, shade[..., 1] - 2 * half[:, 1, None], lz)], 1),
        torch.cat([extent, shade], 1),
        torch.cat([yaw, u.uniform(CEILINGS, high=2 * pi)], 1),
        torch.cat([tall | u.chance(0.3, n), low | u.chance(0.3, CEILINGS)], 1),
    )


def people(u: Uniforms, half: Tensor, meshes: Meshes, share: float) -> Placed:
    """Persons on the floor; `movers` lets them walk."""
    model, extent = choose(u, meshes, ("person",), MOVERS)
    x, z = (u.uniform(MOVERS, low=-1.0) * (half[:, i, None] - 0.3).clamp_min(0.0) for i in (0, 2))
    return Placed(model, up(x, -extent[..., 1], z), extent, u.uniform(MOVERS, high=2 * pi), ~u.chance(share, MOVERS))


def skins(u: Uniforms, extent: Tensor, textures: Textures) -> tuple[Tensor, Tensor, Tensor]:
    """Face tables (B, n, 6, 19), shine and gloss (B, n) of meshes: their own colours, a grain over them."""
    n = extent.shape[1]
    tile = pick(u, textures, "object", n)[..., None].expand(-1, -1, 6).float()
    size = u.log_uniform(n, low=0.2, high=1.2)[..., None]
    first = torch.stack([extent[..., 2]] * 2 + [extent[..., 0]] * 4, -1) / size
    down = torch.stack([extent[..., 1]] * 2 + [extent[..., 2]] * 2 + [extent[..., 1]] * 2, -1) / size
    zero = torch.zeros_like(first)
    own = u.uniform(n, low=0.6, high=1.5)[..., None] * (1 + 0.05 * u.normal(n, 3))
    tint = torch.where(u.chance(0.3, n)[..., None], colors(u, n), own)[:, :, None].expand(-1, -1, 6, 3)
    grain = torch.where(u.chance(0.45, n), 0.0, u.uniform(n, low=0.1, high=0.6))[..., None].expand(-1, -1, 6)
    level = (log2(TILE) - size.log2()).expand(-1, -1, 6)
    plain = constant(PLAIN, extent.device).expand(*first.shape, len(PLAIN))
    offset = u.uniform(n, 2)[:, :, None].expand(-1, -1, 6, 2)
    faces = torch.stack([tile, first, zero, zero, down, offset[..., 0], offset[..., 1], level], -1)
    faces = torch.cat([faces, tint, grain[..., None], zero[..., None], plain], -1)
    shine = torch.where(u.chance(0.4, n), u.uniform(n, high=0.5), 0.0)
    gloss = torch.where(u.chance(0.25, n), u.uniform(n, low=0.05, high=0.35), 0.0)
    return faces, shine, gloss


def finish(u: Uniforms, scenes: Scenes, textures: Textures) -> tuple[Tensor, Tensor]:
    """Faces (B, 6, 19) and gloss (B,) of the room's own box as most rooms have them: pale walls, a floor with grain."""
    old = scenes.faces[:, ROOM]
    b, device = old.shape[0], old.device
    is_floor = torch.arange(6, device=device) == FLOOR
    pale = u.uniform(low=1.0, high=2.6)[:, None, None] * (1 + 0.05 * u.normal(6, 3))
    one = u.chance(0.7)[:, None, None]
    pale = torch.where(one, pale[:, :1], pale)
    strong = torch.where(u.chance(0.08, 6)[..., None], colors(u, 6), pale)
    floor = u.uniform(low=0.5, high=1.8)[:, None, None] * (1 + 0.08 * u.normal(1, 3))
    floor = torch.where(u.chance(0.25)[:, None, None], colors(u, 1), floor)
    tint = torch.where(is_floor[:, None], floor, strong)
    contrast = torch.where(is_floor, u.uniform(6, low=0.4, high=1.2), u.log_uniform(low=0.05, high=0.7)[:, None])
    tile = torch.where(is_floor, pick(u, textures, "floor", 1), pick(u, textures, "wall", 1)).float()
    # joints: tiles, boards, panels
    joints = (u.chance(0.25)[:, None] & is_floor) | (u.chance(0.12)[:, None] & ~is_floor)
    cell = u.log_uniform(2, low=0.25, high=1.3)
    half = scenes.half
    first = torch.stack([half[:, 2]] * 2 + [half[:, 0]] * 4, -1)
    down = torch.stack([half[:, 1]] * 2 + [half[:, 2]] * 2 + [half[:, 1]] * 2, -1)
    across, along = first / cell[:, :1], down / cell[:, 1:]
    between = u.uniform(low=0.45, high=0.85)[:, None].expand(b, 6)
    pane = 0.5 - 0.006 / cell.amin(1, keepdim=True).expand(b, 6)
    fine = -cell.amin(1, keepdim=True).log2().expand(b, 6)
    grid = torch.stack([across, along, pane, torch.ones_like(pane), between, fine], -1)
    grid = torch.where(joints[..., None], grid, constant(PLAIN, device))
    new = torch.cat([tile[..., None], old[..., 1:8], tint, contrast[..., None], old[..., 12:13], grid], -1)
    polished = torch.where(u.chance(0.5), u.uniform(low=0.05, high=0.4), 0.0)
    plain = u.chance(0.8)
    return torch.where(plain[:, None, None], new, old), polished


def fronts(u: Uniforms, extent: Tensor) -> Tensor:
    """Lattices (B, n, 6) for boxes of half extents (B, n, 3): doors and drawers of cupboards, books in shelves."""
    n = extent.shape[1]
    cell = u.log_uniform(n, 2, low=0.2, high=0.8)
    count = (2 * extent[..., :2] / cell).round().clamp_min(1.0)
    size = 2 * extent[..., :2] / count
    pane = 0.5 - 0.008 / size.amin(-1)
    one = torch.ones_like(pane)
    grid = torch.stack([0.5 * count[..., 0], 0.5 * count[..., 1], pane, one, one * 0.4, -size.amin(-1).log2()], -1)
    return torch.where(u.chance(0.6, n)[..., None], grid, constant(PLAIN, extent.device))


def insert(u: Uniforms, scenes: Scenes, placed: Placed, rests: Tensor, textures: Textures, chosen: Tensor) -> Scenes:
    """Put instances into the mesh slots of chosen takes (B,), with skins; `rests` as in `Scenes`."""
    here = chosen[:, None] & ~placed.gone
    centre = placed.centre * 1.0
    low = up(torch.zeros_like(placed.yaw), torch.full_like(placed.yaw, GONE), torch.zeros_like(placed.yaw))
    centre = torch.where(here[..., None], centre, low)
    extent = placed.extent.clamp_min(0.004)
    matrix = turned(placed.yaw).transpose(-1, -2) / extent[..., None]

    def put(old: Tensor, new: Tensor) -> Tensor:
        return torch.cat([old[:, :MESH], new, old[:, MESH + MESHES :]], 1)

    faces, shine, gloss = skins(u, placed.extent, textures)
    return replace(
        scenes,
        centre=put(scenes.centre, centre),
        local_from_room=put(scenes.local_from_room, matrix),
        extent=put(scenes.extent, extent),
        faces=put(scenes.faces, faces),
        shine=put(scenes.shine, shine),
        gloss=put(scenes.gloss, gloss),
        model=torch.where(here, placed.model, -1).int(),
        rests=rests,
    )


def cleared(u: Uniforms) -> Tensor:
    """Which primitives leave a furnished room (B, 64): most crates, floating bodies and round things."""
    share = torch.full((PRIMITIVES,), 0.8, device=u.block.device)
    wall = slice(SETS * SET_SIZE + BLOCKS + STACKED, SETS * SET_SIZE + BLOCKS + STACKED + WALL_ITEMS + PARTITIONS)
    number = torch.arange(PRIMITIVES, device=share.device)
    share = torch.where((number >= wall.start) & (number < wall.stop), 0.25, share)
    drawn = u.uniform(PRIMITIVES)
    whole = drawn[:, : SETS * SET_SIZE : SET_SIZE].repeat_interleave(SET_SIZE, 1)
    return torch.cat([whole, drawn[:, SETS * SET_SIZE :]], 1) < share


def furnish_rooms(u: Uniforms, half: Tensor, meshes: Meshes, crowd: float) -> tuple[Placed, Tensor]:
    """All instances of rooms, in the order of their slots, and the slot that carries each (B, 28).

    `crowd`: how many of the places for people are taken.
    """
    standing_ = join([dining(u, half, meshes), floor_things(u, half, meshes)])
    standing_ = replace(standing_, gone=overlapping(standing_, TABLES + SEATS))
    tops, carrier = top_things(u, standing_, meshes)
    placed = join([standing_, tops, wall_things(u, half, meshes), people(u, half, meshes, crowd)])
    rests = torch.arange(MESHES, device=half.device).expand(half.shape[0], -1).clone()
    rests[:, TABLES + SEATS + FLOORS : TABLES + SEATS + FLOORS + TOPS] = carrier
    return placed, rests


def decorate(u: Uniforms, scenes: Scenes, textures: Textures, chosen: Tensor, street: Tensor) -> Scenes:
    """Give chosen rooms (B,) ordinary walls and floors, cupboard fronts, few bodies beside the meshes; streets none."""
    away = torch.where((chosen[:, None] & cleared(u)) | street[:, None], GONE, scenes.centre[:, :PRIMITIVES, 1])
    centre = torch.stack([scenes.centre[:, :PRIMITIVES, 0], away, scenes.centre[:, :PRIMITIVES, 2]], -1)
    faces, polished = finish(u, scenes, textures)
    crates = slice(SETS * SET_SIZE, SETS * SET_SIZE + BLOCKS)
    lattice = fronts(u, scenes.extent[:, crates])
    here = chosen[:, None, None]
    table = scenes.faces.clone()
    table[:, ROOM] = torch.where(here, faces, table[:, ROOM])
    table[:, crates, 4:, 13:] = torch.where(here[..., None], lattice[:, :, None], table[:, crates, 4:, 13:])
    gloss = scenes.gloss.clone()
    gloss[:, ROOM] = torch.where(chosen, polished, gloss[:, ROOM])
    return replace(scenes, centre=torch.cat([centre, scenes.centre[:, PRIMITIVES:]], 1), faces=table, gloss=gloss)
