# SPDX-License-Identifier: Apache-2.0
"""Streets: a long box whose walls are facades and whose ceiling is the sky, with cars, benches, bushes and passers-by.

The street runs along z. Its sky has a finite depth, that of the box's ceiling, so that every pixel has one.
"""

from __future__ import annotations

from dataclasses import replace
from math import log2, pi

import torch
from torch import Tensor

from longtake.synthetic.config import CEILINGS, FLOORS, LIGHTS, OPENINGS, ROOM, SEATS, TABLES, TOPS, WALLS
from longtake.synthetic.interiors import Placed, choose, join, people, up
from longtake.synthetic.materials import CEILING, FLOOR, colors, pick
from longtake.synthetic.meshes import Meshes
from longtake.synthetic.scenes import PLAIN, Scenes
from longtake.synthetic.textures import TILE, Textures
from longtake.synthetic.uniforms import Uniforms, constant


def street_sizes(u: Uniforms) -> Tensor:
    """Half extents (B, 3): 9 to 24 m wide, 9 to 26 m high, 30 to 80 m long."""
    return 0.5 * up(u.log_uniform(low=9, high=24), u.log_uniform(low=9, high=26), u.log_uniform(low=30, high=80))


def line_streets(u: Uniforms, half: Tensor, meshes: Meshes, crowd: float) -> Placed:
    """Cars at the curbs, other things on the pavements, people."""

    def along(n: int, kinds: tuple[str, ...], inset: float, loose: float) -> Placed:
        model, extent = choose(u, meshes, kinds, n)
        side = u.sign(n)
        x = side * (half[:, 0, None] - inset - extent[..., ::2].amin(-1) - u.uniform(n, high=loose))
        z = u.uniform(n, low=-0.95, high=0.95) * half[:, 2, None]
        turn = torch.where(extent[..., 0] > extent[..., 2], 0.5 * pi, 0.0) + u.integer(2, n) * pi + 0.04 * u.normal(n)
        return Placed(model, up(x, -extent[..., 1], z), extent, turn, u.chance(0.2, n))

    cars = along(TABLES + SEATS, ("vehicle",), 1.8, 0.6)
    things = along(FLOORS + TOPS + WALLS + OPENINGS + CEILINGS, ("outside", "outside", "seat", "vehicle"), 0.3, 2.5)
    return join([cars, things, people(u, half, meshes, crowd)])


def facades(u: Uniforms, scenes: Scenes, textures: Textures) -> Tensor:
    """Faces (B, 6, 19) of a street's box: windows in rows, asphalt or stones, a plain bright sky."""
    half = scenes.half
    b, device = half.shape[0], half.device
    number = torch.arange(6, device=device)
    is_floor, is_sky = number == FLOOR, number == CEILING
    first = torch.stack([half[:, 2]] * 2 + [half[:, 0]] * 4, -1)
    down = torch.stack([half[:, 1]] * 2 + [half[:, 2]] * 2 + [half[:, 1]] * 2, -1)
    size = torch.where(is_floor, u.log_uniform(low=1.5, high=5.0)[:, None], u.log_uniform(6, low=1.0, high=4.0))
    tile = torch.where(is_floor, pick(u, textures, "outdoor", 1), pick(u, textures, "wall", 6)).float()
    pale = u.uniform(6, low=0.8, high=2.4)[..., None] * (1 + 0.1 * u.normal(6, 3))
    tint = torch.where(u.chance(0.3, 6)[..., None], colors(u, 6), pale)
    blue = torch.stack([u.uniform(low=0.55, high=1.0), u.uniform(low=0.75, high=1.0), torch.ones(b, device=device)], -1)
    tint = torch.where(is_sky[:, None], 2.5 * blue[:, None], tint)
    tint = torch.where(is_floor[:, None], u.uniform(low=0.4, high=1.2)[:, None, None], tint)
    contrast = torch.where(is_sky, 0.0, u.uniform(6, low=0.2, high=1.0))
    glow = torch.where(is_sky, u.log_uniform(low=1.0, high=4.0)[:, None], 0.0)
    # storeys of about 3 m, a window every 1.5 to 4 m
    wide, high = u.uniform(6, low=1.5, high=4.0), u.uniform(6, low=2.7, high=3.6)
    zero = torch.zeros_like(wide)
    pane, dark = u.uniform(6, low=0.22, high=0.4), u.uniform(6, low=0.08, high=0.5)
    grid = torch.stack([first / wide, down / high, pane, dark, zero + 1.0, -wide.log2()], -1)
    grid = torch.where((is_floor | is_sky)[:, None], constant(PLAIN, device), grid)
    offset = u.uniform(6, 2)
    level = log2(TILE) - size.log2()
    core = torch.stack([tile, first / size, zero, zero, down / size, offset[..., 0], offset[..., 1], level], -1)
    return torch.cat([core, tint, contrast[..., None], glow[..., None], grid], -1)


def open_sky(u: Uniforms, scenes: Scenes, textures: Textures, chosen: Tensor) -> Scenes:
    """Turn the boxes of chosen takes (B,) into streets under a sun; what stands there is placed apart."""
    half = scenes.half
    device = half.device
    faces = scenes.faces.clone()
    faces[:, ROOM] = torch.where(chosen[:, None, None], facades(u, scenes, textures), faces[:, ROOM])
    # the sun: far away, so that its way is nearly the same everywhere; its power makes up for the distance
    high, round_ = u.uniform(low=0.4, high=1.3), u.uniform(high=2 * pi)
    way = up(high.cos() * round_.cos(), -high.sin(), high.cos() * round_.sin())
    far = 300.0
    power = u.log_uniform(low=0.3, high=4.0) * (1 + 0.25 * far * far)
    sun = power[:, None] * up(u.uniform(low=1.0, high=1.2), torch.ones_like(high), u.uniform(low=0.7, high=1.0))
    position, color = scenes.light_position.clone(), scenes.light_color.clone()
    here = chosen[:, None]
    position[:, 0] = torch.where(here, far * way, position[:, 0])
    off = torch.zeros(LIGHTS - 1, 3, device=device)
    color[:, 0] = torch.where(here, sun, color[:, 0])
    color[:, 1:] = torch.where(here[..., None], off, color[:, 1:])
    ambient = torch.where(here, 1.5 * scenes.ambient * constant((0.9, 1.0, 1.15), device), scenes.ambient)
    return replace(scenes, faces=faces, light_position=position, light_color=color, ambient=ambient)
