# SPDX-License-Identifier: Apache-2.0
"""Windows and ceiling lamps: surfaces that shine, and the lamps of `scenes` placed in them.

A window or panel lights a room as a small area: its light leaves along its normal's side only and falls with the cosine
to it. Both are boxes of the rooms' own: the first wall items and stacked boxes of chosen takes.
"""

from __future__ import annotations

from dataclasses import replace
from math import log2

import torch
from torch import Tensor

from longtake.synthetic.config import BLOCKS, LIGHTS, SET_SIZE, SETS, STACKED
from longtake.synthetic.furniture import along_wall, turned
from longtake.synthetic.materials import pick
from longtake.synthetic.scenes import PLAIN, Scenes
from longtake.synthetic.textures import TILE, Textures
from longtake.synthetic.uniforms import Uniforms, constant

WINDOWS = 2  # lamps 0 and 1 may be windows
PANEL = SETS * SET_SIZE + BLOCKS  # the first stacked box
WINDOW = PANEL + STACKED  # the first wall item


def light_rooms(u: Uniforms, scenes: Scenes, textures: Textures, chosen: Tensor) -> Scenes:
    """Give chosen rooms (B,) windows and ceiling panels in place of bare lamps; a pure function of the uniforms."""
    half = scenes.half
    b, device = half.shape[0], half.device
    # windows: a sill at table height, panes in a frame, the outdoors behind them only as light
    wide = 0.5 * u.log_uniform(WINDOWS, low=0.7, high=2.6)
    high = torch.minimum(0.5 * u.uniform(WINDOWS, low=0.8, high=1.9), half[:, 1, None] - 0.45)
    thick = torch.full_like(wide, 0.02)
    x, z, yaw = along_wall(u, half, WINDOWS, thick, wide)
    sill = torch.minimum(u.uniform(WINDOWS, low=0.4, high=1.1), 2 * (half[:, 1, None] - high) - 0.1)
    window = torch.stack([x, -sill - high, z], -1)
    # panels: squares and strips under the ceiling
    strip = u.chance(0.4, LIGHTS)
    px, pz = (u.uniform(LIGHTS, low=-0.75, high=0.75) * half[:, i, None] for i in (0, 2))
    long, short = torch.where(strip, 0.6, 0.3), torch.where(strip, 0.08, 0.3)
    panel = torch.stack([px, 0.03 - 2 * half[:, 1, None].expand(-1, LIGHTS), pz], -1)
    is_window = u.chance(0.6, LIGHTS) & (torch.arange(LIGHTS, device=device) < WINDOWS)
    is_panel = ~is_window & u.chance(0.6, LIGHTS)
    is_window, is_panel = is_window & chosen[:, None], is_panel & chosen[:, None]

    def pad(two: Tensor) -> Tensor:
        return torch.cat([two, torch.zeros_like(two[:, :1]).expand(-1, LIGHTS - WINDOWS, *two.shape[2:])], 1)

    inward = pad(torch.stack([-yaw.sin(), torch.zeros_like(yaw), -yaw.cos()], -1))
    bright = u.log_uniform(LIGHTS, low=0.7, high=3.0) * torch.where(is_window, 2.5 * pad(wide * high).sqrt(), 0.8)
    sky = torch.stack([u.uniform(low=0.75, high=1.1), torch.ones(b, device=device), u.uniform(low=0.9, high=1.4)], -1)
    warm = 0.15 * u.normal(LIGHTS)
    bulb = torch.stack([1 + warm, torch.ones_like(warm), 1 - warm], -1).clamp(0.5, 1.5)
    reach = 0.8 + 0.25 * half.norm(dim=-1)[:, None, None]
    color = torch.where(is_window[..., None], sky[:, None], bulb) * bright[..., None] * reach
    mine = is_window | is_panel
    position = torch.where(is_window[..., None], pad(window) + 0.1 * inward, panel + constant((0.0, 0.08, 0.0), device))
    normal = torch.where(is_window[..., None], inward, constant((0.0, 1.0, 0.0), device))
    radius = torch.where(is_window, pad(wide * high).sqrt(), (long * short).sqrt())
    focus = torch.where(is_window, 1.0, 0.85)
    facing = torch.cat([normal, focus[..., None], radius[..., None]], -1)

    centre, matrix, extent = scenes.centre.clone(), scenes.local_from_room.clone(), scenes.extent.clone()
    faces = scenes.faces.clone()

    def put(first: int, n: int, here: Tensor, place: Tensor, size: Tensor, turn: Tensor, face: Tensor) -> None:
        span, pick_ = slice(first, first + n), here[..., None]
        centre[:, span] = torch.where(pick_, place, centre[:, span])
        extent[:, span] = torch.where(pick_, size, extent[:, span])
        own = turn.transpose(-1, -2) / size[..., None]
        matrix[:, span] = torch.where(pick_[..., None], own, matrix[:, span])
        faces[:, span] = torch.where(pick_[..., None], face[:, :, None], faces[:, span])

    # what the panes show: an outdoor texture once, washed out by the light
    one = torch.ones_like(wide)
    count = (2 * wide / u.uniform(WINDOWS, low=0.5, high=1.0)).round().clamp_min(1.0)
    frame = torch.stack([0.5 * count, one * 0.5, one * 0.46, one, one * 0.12, -(2 * wide / count).log2()], -1)
    level = log2(TILE) - (2 * torch.minimum(wide, high)).log2()
    view = torch.stack([pick(u, textures, "outdoor", WINDOWS).float(), one * 0.5, one * 0, one * 0, one * 0.5], -1)
    glow = (u.log_uniform(low=5.0, high=25.0)[:, None] * one)[..., None]
    contrast = u.uniform(WINDOWS, low=0.1, high=0.9)[..., None]
    tint = 0.8 * sky[:, None].expand(-1, WINDOWS, 3)
    pane = torch.cat([view, torch.stack([one * 0.5, one * 0.5, level], -1), tint, contrast, glow, frame], -1)
    put(
        *(WINDOW, WINDOWS, is_window[:, :WINDOWS], window, torch.stack([wide, high, thick], -1), turned(yaw), pane),
    )
    flat = torch.zeros(b, LIGHTS, 8, device=device)
    lit = torch.cat([flat, bulb, flat[..., :1], flat[..., :1] + 9.0], -1)
    lit = torch.cat([lit, constant(PLAIN, device).expand(b, LIGHTS, len(PLAIN))], -1)
    size = torch.stack([long, torch.full_like(long, 0.02), short], -1)
    put(PANEL, LIGHTS, is_panel, panel, size, turned(torch.zeros_like(px)), lit)

    def choose(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(mine[..., None], new, old)

    return replace(
        scenes,
        centre=centre,
        local_from_room=matrix,
        extent=extent,
        faces=faces,
        light_position=choose(position, scenes.light_position),
        light_color=choose(color, scenes.light_color),
        light_normal=choose(facing, scenes.light_normal),
    )
