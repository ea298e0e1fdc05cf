# SPDX-License-Identifier: Apache-2.0
"""Rooms painted in anything, full of bodies that hang in the air: what no photograph shows, and geometry explains.

Randomised domains (Tobin et al., arXiv 1703.06907): a model that has seen every colour takes a real room for one more.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from longtake.synthetic.config import BOXES, PRIMITIVES, ROOM, SET_SIZE, SETS
from longtake.synthetic.furniture import turned
from longtake.synthetic.materials import pick
from longtake.synthetic.rooms import GONE
from longtake.synthetic.scenes import PLAIN, Scenes
from longtake.synthetic.textures import Textures
from longtake.synthetic.uniforms import Uniforms, constant


def repaint(u: Uniforms, scenes: Scenes, textures: Textures, chosen: Tensor) -> Scenes:
    """Give bodies and room of chosen takes (B,) patterns and a bright even light; what shines keeps its face."""
    n = PRIMITIVES
    body = pick(u, textures, "pattern", n)[..., None].expand(-1, -1, 6)
    other = pick(u, textures, "pattern", n)[..., None]
    axis = torch.arange(6, device=body.device) // 2
    body = torch.where(u.chance(0.2, n)[..., None] & (axis == u.integer(3, n)[..., None]), other, body)
    own = pick(u, textures, "pattern", 6)
    walls = torch.where(u.chance(0.6)[:, None], own[:, :1], own)
    room = torch.stack([walls[:, 0], walls[:, 1], own[:, 2], own[:, 3], walls[:, 4], walls[:, 5]], 1)
    tile = torch.cat([body, room[:, None]], 1).float()
    bright = u.uniform(n + 1, low=0.7, high=1.3)[..., None, None]
    tint = (bright * (1 + 0.1 * u.normal(n + 1, 1, 3))).clamp_min(0.2).expand(-1, -1, 6, -1)
    here = chosen[:, None] & u.chance(0.85, n + 1)
    slots = torch.cat([torch.arange(n, device=body.device), constant((ROOM,), body.device)])
    old = scenes.faces[:, slots]
    plain = constant(PLAIN, body.device).expand(*old.shape[:3], len(PLAIN))
    new = torch.cat([tile[..., None], old[..., 1:8], tint, torch.ones_like(old[..., :1]), old[..., 12:13], plain], -1)
    new = torch.where(here[..., None, None] & (old[..., 12:13] == 0), new, old)
    faces = scenes.faces.clone()
    faces[:, slots] = new
    even = torch.where(chosen, u.log_uniform(low=1.0, high=4.0), 1.0)
    return replace(scenes, faces=faces, ambient=scenes.ambient * even[:, None])


def scatter(u: Uniforms, scenes: Scenes, chosen: Tensor) -> Scenes:
    """Hang half of the bodies of chosen takes (B,) anywhere in the room, larger or smaller, many of them turned."""
    n = PRIMITIVES
    moved = chosen[:, None] & u.chance(0.5, n) & (scenes.centre[:, :n, 1] < 0.5 * GONE)
    moved = moved & (torch.arange(n, device=moved.device) >= SETS * SET_SIZE)  # furniture stays in one piece
    half = scenes.half[:, None]
    extent = scenes.extent[:, :n] * u.log_uniform(n, low=0.7, high=2.2)[..., None]
    extent = torch.minimum(extent, 0.45 * half)
    place = half * u.uniform(n, 3, low=-0.92, high=0.92) - half * constant((0.0, 1.0, 0.0), half.device)
    tilt = torch.where(u.chance(0.5, n)[..., None], u.normal(n, 2) * 0.6, 0.0)
    turn = turned(6.2832 * u.uniform(n), tilt[..., 0], tilt[..., 1])
    matrix = turn.transpose(-1, -2) / extent[..., None]
    # half of the boxes lie square to the walls, as shelves and beams do
    square = (turned(torch.zeros_like(tilt[..., 0])) / extent[..., None]).contiguous()
    straight = u.chance(0.4, n) & (torch.arange(n, device=moved.device) < BOXES)
    matrix = torch.where(straight[..., None, None], square, matrix)

    def put(old: Tensor, new: Tensor) -> Tensor:
        here = moved.view(*moved.shape, *([1] * (old.dim() - 2)))
        return torch.cat([torch.where(here, new, old[:, :n]), old[:, n:]], 1)

    return replace(
        scenes,
        centre=put(scenes.centre, place),
        extent=put(scenes.extent, extent),
        local_from_room=put(scenes.local_from_room, matrix),
    )
