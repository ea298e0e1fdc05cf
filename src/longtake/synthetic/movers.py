# SPDX-License-Identifier: Apache-2.0
"""People who walk through the rooms while the camera does."""

from __future__ import annotations

from dataclasses import replace
from math import pi

import torch
from torch import Tensor

from longtake.synthetic.config import MESHES, MOVER, MOVERS, ROOM
from longtake.synthetic.furniture import turned
from longtake.synthetic.paths import fold
from longtake.synthetic.scenes import Scenes
from longtake.synthetic.uniforms import Uniforms


def walk_people(u: Uniforms, scenes: Scenes, points: Tensor) -> Scenes:
    """Let the last two meshes of each room walk straight on and turn back at walls; some stand still.

    `points` (B, T, 3) are the camera's places: who would come within 0.6 m of one of them is taken out of the take.
    """
    frames = points.shape[1]
    slots = slice(MOVER, ROOM)
    start, extent, half = scenes.centre[:, slots], scenes.extent[:, slots], scenes.half
    heading = u.uniform(MOVERS, high=2 * pi)
    pace = torch.where(u.chance(0.3, MOVERS), 0.0, u.log_uniform(MOVERS, low=0.02, high=0.2))  # metres a frame
    time = torch.arange(frames, device=points.device, dtype=torch.float32)[None, :, None]
    free = (half[:, None, None] - 0.35).clamp_min(0.05)  # (B, 1, 1, 3)
    place, ways = [], []
    for axis, way in ((0, heading.sin()), (2, heading.cos())):
        at = start[:, None, :, axis] + (way * pace)[:, None] * time
        room = free[..., axis].expand_as(at)
        turns = ((at / room + 1) / 2).floor().remainder(2.0)  # on the way back every second time
        place.append(fold(at, room))
        ways.append(way[:, None] * (1 - 2 * turns))
    yaw = torch.atan2(-ways[0], -ways[1])  # a model looks along -z
    centre = torch.stack([place[0], start[:, None, :, 1].expand_as(place[0]), place[1]], -1)  # (B, T, 2, 3)
    matrix = turned(yaw).transpose(-1, -2) / extent[:, None, :, :, None]
    away = (centre[..., ::2] - points[:, :, None, ::2]).norm(dim=-1).amin(1)
    model = scenes.model.clone()
    blocked = away < 0.6 + extent[..., ::2].amax(-1)
    model[:, MESHES - MOVERS :] = torch.where(blocked, -1, model[:, MESHES - MOVERS :])
    return replace(scenes, model=model, moving=torch.cat([centre, matrix.flatten(-2)], -1))
