# SPDX-License-Identifier: Apache-2.0
"""Colour of a hit: texture, lights, highlight, and darkening near the room's corners."""

from __future__ import annotations

import torch
from torch import Tensor

from longtake.synthetic.config import BOXES, ELLIPSOIDS, LIGHTS, PRIMITIVES, ROOM
from longtake.synthetic.raycast import Hits, Vector, ball_span, box_span, cylinder_span
from longtake.synthetic.scenes import FACE_FIELDS, Scenes
from longtake.synthetic.textures import LEVELS, PER_TILE, TILE

REACH = 0.3  # metres over which corners darken


def unpack(texel: Tensor) -> Vector:
    """Split packed texels into r, g, b in [0, 1]."""
    return (texel & 255) / 255.0, ((texel >> 8) & 255) / 255.0, ((texel >> 16) & 255) / 255.0


def mix(a: Vector, b: Vector, w: Tensor) -> Vector:
    """Interpolate component-wise."""
    return (a[0] + w * (b[0] - a[0]), a[1] + w * (b[1] - a[1]), a[2] + w * (b[2] - a[2]))


def bilinear(texels: Tensor, tile: Tensor, level: Tensor, u: Tensor, v: Tensor) -> Vector:
    """Sample tiles (wrapping) at u, v in tile units on one mip level, with centres at half texels."""
    size = (TILE >> level).int()
    # starts of the levels: 0, 128^2, 128^2 + 64^2, ... = (4/3) (128^2 - size^2)
    start = tile * PER_TILE + ((TILE * TILE - size * size) * 4) // 3
    x, y = (u - u.floor()) * size - 0.5, (v - v.floor()) * size - 0.5
    x0, y0 = x.floor(), y.floor()
    fx, fy = x - x0, y - y0
    mask = size - 1
    left, top = x0.int() & mask, y0.int() & mask
    right, bottom = (left + 1) & mask, (top + 1) & mask

    def at(column: Tensor, line: Tensor) -> Vector:
        return unpack(texels[start + line * size + column])

    return mix(mix(at(left, top), at(right, top), fx), mix(at(left, bottom), at(right, bottom), fx), fy)


def trilinear(texels: Tensor, tile: Tensor, u: Tensor, v: Tensor, level: Tensor) -> Vector:
    """Sample between the two mip levels beside the fractional `level`."""
    level = level.clamp(0.0, LEVELS - 1.001)
    base = level.floor()
    low = base.int()
    return mix(bilinear(texels, tile, low, u, v), bilinear(texels, tile, low + 1, u, v), level - base)


def albedo(scenes: Scenes, texels: Tensor, hit: Hits, pixel: Tensor, grazing: Tensor) -> tuple[Vector, Tensor]:
    """Linear surface colour, and emission. `pixel` is metres a pixel at the hit, `grazing` the cosine of incidence."""
    q = hit.local
    flat = (hit.index < BOXES) | (hit.index == ROOM)
    is_ball = (hit.index >= BOXES) & (hit.index < BOXES + ELLIPSOIDS)
    first, second = torch.where(hit.axis == 0, q[2], q[0]), torch.where(hit.axis == 1, q[2], q[1])
    lead = torch.where(hit.axis == 0, q[0], torch.where(hit.axis == 1, q[1], q[2]))
    stretch = torch.where(is_ball, 1.0 / lead.abs().clamp_min(0.3), 1.0)
    round_ = torch.atan2(q[2], q[0]) / torch.pi
    side = (~flat) & (~is_ball) & (hit.axis == 0)
    s = torch.where(side, round_, first * stretch)
    t = second * stretch
    face = (hit.row * 6 + hit.axis * 2 + (lead > 0).long()) * FACE_FIELDS
    table = scenes.faces.flatten()
    f = [table[face + i] for i in range(FACE_FIELDS)]
    u, v = s * f[1] + t * f[2] + f[5], s * f[3] + t * f[4] + f[6]
    level = f[7] + torch.log2(pixel) - 0.6 * torch.log2(grazing.clamp_min(0.08))
    texture = trilinear(texels, f[0].int(), u, v, level)
    contrast = f[11]
    color = [0.5 + contrast * (c - 0.5) for c in texture]
    return (color[0] ** 2 * f[8], color[1] ** 2 * f[9], color[2] ** 2 * f[10]), f[12]


def corners(scenes: Scenes, point: Vector, normal: Vector, room: Tensor) -> Tensor:
    """Darkening in [0.35, 1] near the room's planes other than the one hit: a cheap stand-in for ambient occlusion."""
    half = scenes.half[room]  # (N, 3)
    light = torch.ones_like(point[0])
    centre = (0.0, -1.0, 0.0)  # the room spans y in [-2 half, 0]
    for i in range(3):
        size = half[:, i, None]
        reach = size - (point[i] - centre[i] * size).abs()
        facing = 1.0 - normal[i].abs()  # a plane does not darken itself
        light = light * (1.0 - 0.45 * facing * torch.exp(-reach.clamp_min(0.0) / REACH))
    return light


def shadow(scenes: Scenes, point: Vector, room: Tensor) -> Tensor:
    """Share of light 0 that reaches each point, (N, R) in [0, 1]; soft where the blocking body is thin."""
    source = scenes.light_position[:, 0]  # (B, 3)
    # the ray starts at the light: its origin in unit space is the same for all pixels of a room
    matrix = scenes.local_from_room[:, :PRIMITIVES]
    start = (matrix * (source[:, None] - scenes.centre[:, :PRIMITIVES])[..., None, :]).sum(-1)  # (B, P, 3)
    start, matrix, source = start[room], matrix.flatten(2)[room], source[room]
    way = [point[i] - source[:, i, None] for i in range(3)]  # (N, R)
    length = torch.sqrt(way[0] ** 2 + way[1] ** 2 + way[2] ** 2 + 1e-6)[..., None]
    w = [part[..., None] for part in way]

    def blocked(low: int, high: int, span) -> Tensor:  # noqa: ANN001
        o = tuple(start[:, None, low:high, i] for i in range(3))
        m = [matrix[:, None, low:high, i] for i in range(9)]
        d = tuple(m[3 * i] * w[0] + m[3 * i + 1] * w[1] + m[3 * i + 2] * w[2] for i in range(3))
        enter, leave = span(o, d)
        # the body that is lit must not shadow itself: stop 2 cm short of the point
        inside = (torch.minimum(leave, 1.0 - 0.02 / length) - enter) * length
        return torch.where(enter > 0, inside, 0.0).amax(-1)  # a body around the lamp does not count

    ball, cylinder = BOXES, BOXES + ELLIPSOIDS
    depth = torch.maximum(blocked(0, ball, box_span), blocked(ball, cylinder, ball_span))
    depth = torch.maximum(depth, blocked(cylinder, PRIMITIVES, cylinder_span))
    return 1.0 - (depth / 0.06).clamp(0.0, 1.0)


def shade(
    scenes: Scenes,
    texels: Tensor,
    hit: Hits,
    ray: Vector,
    eye: Tensor,
    focal: Tensor,
    room: Tensor,
    shadows: bool,
) -> Vector:
    """Return linear r, g, b of shape (N, R). `ray` is the direction in the room frame with z-depth as its parameter,
    `eye` (N, 3) the camera centres, `focal` (N,) pixels, `room` (N,) the frames' rooms.
    """
    point = tuple(eye[:, i, None] + hit.depth * ray[i] for i in range(3))
    length = torch.rsqrt(ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2)
    view = tuple(-c * length for c in ray)
    normal = hit.normal
    grazing = (normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2]).abs()
    color, glow = albedo(scenes, texels, hit, hit.depth / focal[:, None], grazing)
    shine = scenes.shine.flatten()[hit.row]
    dark = corners(scenes, point, normal, room)  # pyright: ignore[reportArgumentType]
    up = 0.85 - 0.15 * normal[1]  # surfaces that face up (y down) get a little more of the ambient light
    ambient = scenes.ambient[room]
    total = [ambient[:, i, None] * up * dark + glow for i in range(3)]
    high = torch.zeros_like(hit.depth)
    lit = shadow(scenes, point, room) if shadows else None  # pyright: ignore[reportArgumentType]
    position, strength = scenes.light_position[room], scenes.light_color[room]
    for k in range(LIGHTS):
        way = [position[:, k, i, None] - point[i] for i in range(3)]
        square = way[0] ** 2 + way[1] ** 2 + way[2] ** 2
        inverse = torch.rsqrt(square.clamp_min(1e-4))
        way = [c * inverse for c in way]
        cosine = (normal[0] * way[0] + normal[1] * way[1] + normal[2] * way[2]).clamp_min(0.0)
        if k == 0 and lit is not None:
            cosine = cosine * lit
        power = cosine * (0.5 + 0.5 * dark) / (1.0 + 0.25 * square)
        half = [way[i] + view[i] for i in range(3)]
        scale = torch.rsqrt((half[0] ** 2 + half[1] ** 2 + half[2] ** 2).clamp_min(1e-6))
        gloss = ((half[0] * normal[0] + half[1] * normal[1] + half[2] * normal[2]) * scale).clamp(0.0, 1.0)
        gloss = gloss * gloss
        gloss = gloss * gloss
        gloss = gloss * gloss
        gloss = gloss * gloss  # to the 16th
        high = high + shine * gloss * power
        for i in range(3):
            total[i] = total[i] + strength[:, k, i, None] * power
    return (color[0] * total[0] + high, color[1] * total[1] + high, color[2] * total[2] + high)
