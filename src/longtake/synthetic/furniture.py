# SPDX-License-Identifier: Apache-2.0
"""Where things stand in a room: each function fills its slots for all rooms at once.

Room frame as in `scenes`: y down, floor at 0. Yaw turns about the y axis. Every function returns solids (B, n).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import pi

import torch
from torch import Tensor

from longtake.synthetic.config import (
    BLOCKS,
    CYLINDERS,
    ELLIPSOIDS,
    PARTITIONS,
    SET_SIZE,
    SETS,
    STACKED,
    TILTED,
    WALL_ITEMS,
)
from longtake.synthetic.uniforms import Uniforms, constant


@dataclass(frozen=True, slots=True)
class Solids:
    """n bodies a room: centre and half extents in metres, rotation room_from_local."""

    centre: Tensor  # (B, n, 3)
    extent: Tensor  # (B, n, 3)
    rotation: Tensor  # (B, n, 3, 3)


def join(parts: list[Solids]) -> Solids:
    """Put solids one after the other."""
    return Solids(*(torch.cat([getattr(p, name) for p in parts], 1) for name in ("centre", "extent", "rotation")))


def turned(yaw: Tensor, pitch: Tensor | None = None, roll: Tensor | None = None) -> Tensor:
    """Rotation matrices (..., 3, 3) = Ry(yaw) Rx(pitch) Rz(roll), radians."""
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)

    def matrix(*entries: Tensor) -> Tensor:
        return torch.stack(entries, -1).unflatten(-1, (3, 3))

    c, s = yaw.cos(), yaw.sin()
    out = matrix(c, zero, s, zero, one, zero, -s, zero, c)
    if pitch is not None:
        c, s = pitch.cos(), pitch.sin()
        out = out @ matrix(one, zero, zero, zero, c, -s, zero, s, c)
    if roll is not None:
        c, s = roll.cos(), roll.sin()
        out = out @ matrix(c, -s, zero, s, c, zero, zero, zero, one)
    return out


def along_wall(u: Uniforms, half: Tensor, n: int, depth: Tensor, length: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Draw n places with their backs to a wall: centre x, z and yaw, (B, n) each. `depth`, `length`: half sizes."""
    wall = u.integer(4, n)
    on_x = wall < 2  # the walls x = -X and x = +X
    sign = torch.where(wall % 2 == 0, -1.0, 1.0)
    hx, hz = half[:, 0, None], half[:, 2, None]
    run = u.uniform(n, low=-1.0) * (torch.where(on_x, hz, hx) - length).clamp_min(0.0)
    out = sign * (torch.where(on_x, hx, hz) - depth).clamp_min(0.0)
    yaw = torch.where(on_x, sign * pi / 2, torch.where(sign > 0, 0.0, pi))
    return torch.where(on_x, out, run), torch.where(on_x, run, out), yaw


def standing(u: Uniforms, half: Tensor, extent: Tensor, wall_share: float) -> tuple[Tensor, Tensor, Tensor]:
    """Place bodies of these half extents (B, n, 3) on the floor: x, z and yaw; a share of them against walls."""
    n = extent.shape[1]
    wx, wz, wyaw = along_wall(u, half, n, extent[..., 2] + 0.02, extent[..., 0])
    reach = extent[..., ::2].amax(-1)
    fx = u.uniform(n, low=-1.0) * (half[:, 0, None] - reach).clamp_min(0.0)
    fz = u.uniform(n, low=-1.0) * (half[:, 2, None] - reach).clamp_min(0.0)
    square = u.integer(4, n) * (pi / 2) + u.normal(n) * 0.05
    fyaw = torch.where(u.chance(0.45, n), square, u.uniform(n, high=2 * pi))
    at_wall = u.chance(wall_share, n)
    return torch.where(at_wall, wx, fx), torch.where(at_wall, wz, fz), torch.where(at_wall, wyaw, fyaw)


# Pieces of furniture as four boxes in the unit cube of the piece (x width, y down from -1 top to 1 floor, z depth, the
# back at +1): centre xyz, half extents xyz.
TEMPLATES = (
    (  # desk
        (0, -0.94, 0, 1, 0.06, 1), (-0.92, 0.06, 0, 0.08, 0.94, 0.9),
        (0.92, 0.06, 0, 0.08, 0.94, 0.9), (0, 0.2, 0.85, 0.9, 0.5, 0.05),
    ),
    (  # table
        (0, -0.94, 0, 1, 0.06, 1), (-0.75, 0.06, -0.75, 0.07, 0.94, 0.1),
        (0.75, 0.06, -0.75, 0.07, 0.94, 0.1), (0, 0.06, 0.7, 0.8, 0.94, 0.1),
    ),
    (  # chair
        (0, 0.1, -0.1, 1, 0.06, 0.9), (0, -0.45, 0.88, 0.95, 0.55, 0.1),
        (-0.9, 0.55, 0, 0.08, 0.45, 0.85), (0.9, 0.55, 0, 0.08, 0.45, 0.85),
    ),
    (  # shelf
        (-0.94, 0, 0, 0.06, 1, 1), (0.94, 0, 0, 0.06, 1, 1),
        (0, 0, 0.9, 1, 1, 0.06), (0, 0.0, 0, 0.94, 0.04, 0.95),
    ),
    (  # sofa
        (0, 0.45, -0.1, 1, 0.3, 0.9), (0, -0.2, 0.8, 1, 0.8, 0.2),
        (-0.9, 0.2, -0.1, 0.1, 0.55, 0.9), (0.9, 0.2, -0.1, 0.1, 0.55, 0.9),
    ),
    (  # pile
        (0, 0.55, 0, 1, 0.45, 1), (-0.5, -0.15, 0.1, 0.4, 0.25, 0.6),
        (0.45, -0.3, 0.2, 0.3, 0.4, 0.5), (0.1, -0.75, 0.3, 0.5, 0.06, 0.4),
    ),
)  # fmt: skip
# full width, height, depth of each template, metres
SIZES = ((1.4, 0.75, 0.7), (1.6, 0.75, 0.8), (0.5, 0.95, 0.55), (0.9, 1.8, 0.35), (1.9, 0.85, 0.9), (1.0, 1.1, 0.7))


def sets(u: Uniforms, half: Tensor, size: Tensor) -> tuple[Solids, Tensor]:
    """Draw the composed pieces, SETS of four boxes each, and the (B, SETS, 5) tops: x, y, z, half width, yaw."""
    device = half.device
    kind = u.integer(len(TEMPLATES), SETS)
    shape = constant(TEMPLATES, device)[kind]  # (B, SETS, 4, 6)
    stretch = u.log_uniform(SETS, 3, low=0.75, high=1.35)
    extent = 0.5 * constant(SIZES, device)[kind] * stretch * size[:, None, None]
    extent = torch.minimum(extent, 0.45 * half[:, None] * constant((1.0, 2.0, 1.0), device))
    x, z, yaw = standing(u, half, extent, 0.5)
    rotation = turned(yaw)  # (B, SETS, 3, 3)
    base = torch.stack([x, -extent[..., 1], z], -1)
    local = shape[..., :3] * extent[:, :, None]
    centre = base[:, :, None] + (rotation[:, :, None] * local[..., None, :]).sum(-1)
    boxes = Solids(
        centre.flatten(1, 2),
        (shape[..., 3:] * extent[:, :, None]).clamp_min(0.01).flatten(1, 2),
        rotation[:, :, None].expand(-1, -1, SET_SIZE, 3, 3).flatten(1, 2),
    )
    return boxes, torch.stack([x, -2 * extent[..., 1], z, 0.6 * extent[..., ::2].amin(-1), yaw], -1)


def blocks(u: Uniforms, half: Tensor, size: Tensor) -> tuple[Solids, Tensor]:
    """Draw cabinets, crates and steps on the floor, and their tops as `sets` returns them."""
    extent = 0.5 * u.log_uniform(BLOCKS, 3, low=0.25, high=1.6) * size[:, None, None]
    tall = u.chance(0.3, BLOCKS)
    high = torch.where(tall, u.uniform(BLOCKS, low=0.8, high=1.1), extent[..., 1])
    extent = torch.stack([extent[..., 0], torch.minimum(high, 0.9 * half[:, 1, None]), extent[..., 2]], -1)
    extent = torch.minimum(extent, 0.45 * half[:, None] * constant((1.0, 2.2, 1.0), half.device))
    x, z, yaw = standing(u, half, extent, 0.55)
    centre = torch.stack([x, -extent[..., 1], z], -1)
    tops = torch.stack([x, -2 * extent[..., 1], z, 0.6 * extent[..., ::2].amin(-1), yaw], -1)
    return Solids(centre, extent, turned(yaw)), tops


def on_top(u: Uniforms, tops: Tensor, n: int, low: float, high: float) -> tuple[Tensor, Tensor, Tensor]:
    """Draw n bodies on random tops (B, m, 5): base point (B, n, 3), size (B, n, 3) full, yaw (B, n)."""
    chosen = u.integer(tops.shape[1], n)[..., None].expand(-1, -1, 5)
    top = tops.gather(1, chosen)
    angle, radius = u.uniform(n, high=2 * pi), u.uniform(n).sqrt() * top[..., 3]
    base = torch.stack([top[..., 0] + radius * angle.cos(), top[..., 1], top[..., 2] + radius * angle.sin()], -1)
    return base, u.log_uniform(n, 3, low=low, high=high), top[..., 4] + u.normal(n) * 0.4


def stacked(u: Uniforms, half: Tensor, tops: Tensor) -> Solids:
    """Draw boxes, books and screens on top of other things."""
    base, full, yaw = on_top(u, tops, STACKED, 0.06, 0.6)
    extent = 0.5 * full
    room = 0.3 * (2 * half[:, None, 1:2] + base[..., 1:2]).clamp_min(0.05)  # up to the ceiling
    extent = torch.cat([extent[..., :1], torch.minimum(extent[..., 1:2], room), extent[..., 2:]], -1)
    return Solids(base - torch.nn.functional.pad(extent[..., 1:2], (1, 1)), extent, turned(yaw))


def wall_items(u: Uniforms, half: Tensor) -> Solids:
    """Draw posters, windows, doors, boards and wall shelves: flat boxes on the walls."""
    n = WALL_ITEMS
    width, high = 0.5 * u.log_uniform(n, low=0.3, high=2.2), 0.5 * u.log_uniform(n, low=0.3, high=1.6)
    thick = 0.5 * torch.where(u.chance(0.3, n), u.uniform(n, low=0.1, high=0.35), u.uniform(n, low=0.01, high=0.06))
    door = u.chance(0.15, n)
    room_high = 2 * half[:, 1, None]
    width = torch.where(door, 0.45, width)
    high = torch.where(door, 1.02, high)
    high = torch.minimum(high, 0.4 * room_high)
    y = -(0.3 * room_high + u.uniform(n, high=0.6) * room_high)
    y = torch.minimum(torch.maximum(y, high - room_high + 0.02), -high)
    y = torch.where(door, -high, y)
    x, z, yaw = along_wall(u, half, n, thick, width)
    return Solids(torch.stack([x, y, z], -1), torch.stack([width, high, thick], -1), turned(yaw))


def partitions(u: Uniforms, half: Tensor) -> Solids:
    """Draw pillars and walls from floor to ceiling; the path later removes those in its way."""
    n = PARTITIONS
    wall = u.chance(0.5, n)
    length = torch.where(wall, u.uniform(n, low=0.15, high=0.6) * half[:, 0, None], u.uniform(n, low=0.1, high=0.4))
    thick = torch.where(wall, u.uniform(n, low=0.05, high=0.15), u.uniform(n, low=0.1, high=0.4))
    yaw = torch.where(u.chance(0.85, n), u.integer(2, n) * (pi / 2), u.uniform(n, high=pi))
    x, z = (u.uniform(n, low=-1.0) * half[:, i, None] for i in (0, 2))
    high = half[:, 1, None].expand(-1, n)
    return Solids(torch.stack([x, -high, z], -1), torch.stack([length, high, thick], -1), turned(yaw))


def floating(u: Uniforms, half: Tensor, n: int, low: float, high: float) -> Solids:
    """Draw bodies of any rotation anywhere, as no real room has: they keep the model from trusting gravity."""
    extent = 0.5 * u.log_uniform(n, 3, low=low, high=high)
    place = u.uniform(n, 3, low=-0.9, high=0.9) * half[:, None]
    place = torch.stack([place[..., 0], place[..., 1] - half[:, 1, None], place[..., 2]], -1)
    angles = u.uniform(3, n, high=2 * pi)
    return Solids(place, extent, turned(angles[:, 0], angles[:, 1], angles[:, 2]))


def round_things(u: Uniforms, half: Tensor, tops: Tensor, n: int, lying_share: float) -> Solids:
    """Draw ellipsoids or cylinders: on the floor, on furniture, hanging, lying or floating."""
    extent = 0.5 * u.log_uniform(n, low=0.15, high=1.0)
    radius = extent * torch.where(u.chance(0.6, n), 1.0, u.uniform(n, low=0.5, high=1.4))
    high = extent * u.log_uniform(n, low=0.5, high=3.0)
    size = torch.stack([extent, torch.minimum(high, 0.9 * half[:, 1, None]), radius], -1)
    x, z, yaw = standing(u, half, size, 0.3)
    floor = torch.stack([x, -size[..., 1], z], -1)
    base, full, _ = on_top(u, tops, n, 0.08, 0.4)
    base = base - torch.nn.functional.pad(0.5 * full[..., 1:2], (1, 1))
    on_floor, lying, anywhere = u.chance(0.5, n), u.chance(lying_share, n), u.chance(0.15, n)
    size = torch.where(on_floor[..., None], size, 0.5 * full)
    centre = torch.where(on_floor[..., None], floor, base)
    # lying on the floor: turned by a right angle about z, so that its height becomes a width
    lying = lying & on_floor
    centre = torch.where(lying[..., None], torch.stack([x, -size[..., 0], z], -1), centre)
    free = floating(u, half, n, 0.15, 0.9)
    roll = torch.where(lying, pi / 2, 0.0)
    rotation = torch.where(anywhere[..., None, None], free.rotation, turned(yaw, torch.zeros_like(yaw), roll))
    return Solids(
        torch.where(anywhere[..., None], free.centre, centre),
        torch.where(anywhere[..., None], free.extent, size),
        rotation,
    )


def furnish(u: Uniforms, half: Tensor) -> Solids:
    """Draw all 64 bodies of rooms with half extents (B, 3), in the order of the ids."""
    size = (half[:, ::2].amin(-1) / 2.0).clamp(0.8, 1.6) ** 0.5  # larger things in larger rooms
    composed, set_tops = sets(u, half, size)
    crates, block_tops = blocks(u, half, size)
    tops = torch.cat([set_tops, block_tops], 1)
    return join(
        [
            composed,
            crates,
            stacked(u, half, tops),
            wall_items(u, half),
            partitions(u, half),
            floating(u, half, TILTED, 0.2, 1.4),
            round_things(u, half, tops, ELLIPSOIDS, 0.0),
            round_things(u, half, tops, CYLINDERS, 0.25),
        ]
    )
