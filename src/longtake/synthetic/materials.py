# SPDX-License-Identifier: Apache-2.0
"""What surfaces are made of: a row of numbers for each face, as `Scenes.faces` describes them."""

from __future__ import annotations

from math import log2

import torch
from torch import Tensor

from longtake.synthetic.config import BLOCKS, BOXES, PRIMITIVES, SET_SIZE, SETS, STACKED, WALL_ITEMS
from longtake.synthetic.scenes import PLAIN
from longtake.synthetic.textures import TILE, Textures
from longtake.synthetic.uniforms import Uniforms, constant

POSTERS = slice(SETS * SET_SIZE + BLOCKS + STACKED, SETS * SET_SIZE + BLOCKS + STACKED + WALL_ITEMS)
FLOOR, CEILING = 3, 2  # faces of the room: +y is down


def pick(u: Uniforms, textures: Textures, use: str, *shape: int) -> Tensor:
    """Draw tile numbers of one use."""
    low, high = textures.ranges[use]
    return low + u.integer(high - low, *shape)


def colors(u: Uniforms, *shape: int) -> Tensor:
    """Draw tints (B, *shape, 3), linear, brightest channel near 1: mostly pale, some strong."""
    hue = u.uniform(*shape)[..., None] + constant((0.0, 1 / 3, 2 / 3), u.block.device)
    ramp = (2 - 6 * (hue - hue.round()).abs()).clamp(0, 1)
    strong = u.chance(0.3, *shape)
    saturation = torch.where(strong, u.uniform(*shape, low=0.3, high=0.85), u.uniform(*shape, high=0.25))[..., None]
    value = u.uniform(*shape, low=0.75, high=1.9)[..., None]
    return value * (1 - saturation + saturation * ramp)


def paint(u: Uniforms, extent: Tensor, textures: Textures) -> tuple[Tensor, Tensor]:
    """Draw faces (B, 65, 6, 19) and shine (B, 65) for bodies of half extents (B, 65, 3)."""
    p = PRIMITIVES + 1
    anything = u.integer(textures.count, p)
    thing = pick(u, textures, "object", p)
    tile = torch.where(u.chance(0.5, p), thing, anything)
    poster = pick(u, textures, "clutter", WALL_ITEMS)
    tile = torch.cat([tile[:, : POSTERS.start], poster, tile[:, POSTERS.stop :]], 1)
    tile = tile[..., None].expand(-1, -1, 6)
    # crates, stacked boxes and round things sometimes show a different tile on one pair of faces
    second = torch.where(u.chance(0.35, p), u.integer(textures.count, p), tile[..., 0])
    axis = u.integer(3, p)[..., None]
    pair = torch.arange(6, device=tile.device) // 2 == axis
    tile = torch.where(pair & (torch.arange(p, device=tile.device) < PRIMITIVES)[:, None], second[..., None], tile)
    # pieces of a set share their material
    shared = tile[:, : SETS * SET_SIZE : SET_SIZE].repeat_interleave(SET_SIZE, 1)
    pieces = torch.where(u.chance(0.8)[:, None, None], shared, tile[:, : SETS * SET_SIZE])
    tile = torch.cat([pieces, tile[:, SETS * SET_SIZE :]], 1)
    wall = torch.where(u.chance(0.6), pick(u, textures, "wall"), u.integer(textures.count))
    feature = torch.where(u.chance(0.7), wall, u.integer(textures.count))  # one wall may differ
    floor = torch.where(u.chance(0.7), pick(u, textures, "floor"), u.integer(textures.count))
    plain = torch.where(u.chance(0.5), pick(u, textures, "ceiling"), pick(u, textures, "wall"))
    ceiling = torch.where(u.chance(0.8), plain, u.integer(textures.count))
    tile = torch.cat([tile[:, :PRIMITIVES], torch.stack([wall, feature, ceiling, floor, wall, wall], -1)[:, None]], 1)

    # face coordinates run over [-1, 1]: times half extent they are metres, divided by the tile's side they are tiles
    size = u.log_uniform(p, low=0.3, high=1.6)[..., None].expand(-1, -1, 6)
    walls = u.log_uniform(low=0.5, high=3.0)
    floor, ceiling = u.log_uniform(low=0.5, high=3.0), u.log_uniform(low=0.5, high=3.0)
    room_size = torch.stack([walls, walls, floor, ceiling], -1)
    room_size = torch.cat([room_size, room_size[:, :2]], 1)
    size = torch.cat([size[:, :PRIMITIVES], room_size[:, None]], 1)
    first = torch.stack([extent[..., 2]] * 2 + [extent[..., 0]] * 4, -1)
    down = torch.stack([extent[..., 1]] * 2 + [extent[..., 2]] * 2 + [extent[..., 1]] * 2, -1)
    along, across = first / size, down / size
    # a cylinder's side goes round once: a whole number of tiles, so that no seam shows
    number = torch.arange(p, device=tile.device)[:, None]
    tube = (number >= BOXES + (PRIMITIVES - BOXES) // 2) & (number < PRIMITIVES)
    rounds = tube & (torch.arange(6, device=tile.device) < 2)
    along = torch.where(rounds, 0.5 * (2 * torch.pi * extent[..., :1] / size).round().clamp_min(1.0), along)
    # posters show their tile once; so do a third of the other boxes
    once = u.chance(0.3, p)[..., None] & (number < BOXES)
    once = once | ((number >= POSTERS.start) & (number < POSTERS.stop))
    metres = torch.where(once, 2 * torch.minimum(first, down), size)
    along, across = torch.where(once, 0.5, along), torch.where(once, 0.5, across)
    swap = (u.chance(0.35, p)[..., None] & ~once & ~rounds).float()
    flip = torch.where(once | rounds, 1.0, u.sign(p)[..., None])
    offset = torch.where(once[..., None], 0.5, u.uniform(p, 6, 2))
    level = log2(TILE) - metres.clamp_min(1e-3).log2()

    tint = colors(u, p)[:, :, None].expand(-1, -1, 6, 3)
    own = colors(u, 6)
    second = torch.where(u.chance(0.75)[:, None], own[:, 0], own[:, 1])
    own = torch.stack([own[:, 0], second, own[:, 2], own[:, 3], own[:, 0], own[:, 0]], 1)
    tint = torch.cat([tint[:, :PRIMITIVES], own[:, None]], 1)
    contrast = torch.where(u.chance(0.6, p, 6), 1.0, u.uniform(p, 6, low=0.15, high=1.3))
    # some posters are windows or screens: they shine by themselves
    glow = torch.where(u.chance(0.15, p), u.uniform(p, low=0.5, high=3.0), 0.0)
    glow = torch.where((number[:, 0] >= POSTERS.start) & (number[:, 0] < POSTERS.stop), glow, 0.0)
    faces = torch.stack(
        [
            tile.float(),
            along * (1 - swap),
            across * swap * flip,
            along * swap * flip,
            across * (1 - swap),
            offset[..., 0],
            offset[..., 1],
            level,
            tint[..., 0],
            tint[..., 1],
            tint[..., 2],
            contrast,
            glow[..., None].expand(-1, -1, 6),
            *(torch.full_like(along, value) for value in PLAIN),
        ],
        -1,
    )
    shine = torch.where(u.chance(0.35, p), u.uniform(p, high=0.6), 0.0)
    return faces.contiguous(), shine
