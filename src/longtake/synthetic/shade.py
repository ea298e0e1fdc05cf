# SPDX-License-Identifier: Apache-2.0
"""Colour of a hit: texture, lights, highlight, reflection, and darkening in corners and under furniture."""

from __future__ import annotations

import torch
from torch import Tensor

from longtake.synthetic.config import BOXES, ELLIPSOIDS, FLOOR_CELLS, LIGHTS, PRIMITIVES, ROOM
from longtake.synthetic.raycast import Hits, Rays, Vector, ball_span, box_span, cylinder_span, solid
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
    # a lattice of panes: windows of a facade, doors of a cupboard, joints between boards
    column, line = s * f[13], t * f[14]
    soft = torch.log2(pixel.clamp_min(1e-6)) + f[18]
    soft = torch.exp2(soft.clamp(-20.0, 0.0)).clamp_min(1e-4)  # a pixel's width in cells
    edge = torch.maximum((column - column.floor() - 0.5).abs(), (line - line.floor() - 0.5).abs())
    inside = ((f[15] - edge) / soft + 0.5).clamp(0.0, 1.0)
    pane = 4.0 * (f[17] + inside * (f[16] - f[17]))
    out = tuple(c * c * f[8 + i] * hit.tone[i] ** 2 * pane for i, c in enumerate(color))
    return out, f[12]  # pyright: ignore[reportReturnType]


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


def floor_light(scenes: Scenes, point: Vector, normal: Vector, room: Tensor) -> Tensor:
    """Share of the ambient light that what stands about leaves to points of the floor, from a map; 1 above it."""
    half = scenes.half[room]
    size = FLOOR_CELLS
    x = ((point[0] / half[:, 0, None] + 1) * (0.5 * size) - 0.5).clamp(0.0, size - 1.001)
    z = ((point[2] / half[:, 2, None] + 1) * (0.5 * size) - 0.5).clamp(0.0, size - 1.001)
    x0, z0 = x.floor(), z.floor()
    at = room[:, None] * (size * size) + z0.long() * size + x0.long()
    table = scenes.floor.flatten()
    near = table[at] + (x - x0) * (table[at + 1] - table[at])
    far = table[at + size] + (x - x0) * (table[at + size + 1] - table[at + size])
    return torch.where((point[1] > -0.02) & (normal[1] < -0.5), near + (z - z0) * (far - near), 1.0)


def shadow(rays: Rays, source: Tensor, way: Vector, length: Tensor) -> Tensor:
    """Share of the light at `source` (N, 3) that reaches the points (N, R) which `way` leads to; meshes are not asked.

    Soft where the blocking body is thin.
    """
    # the ray starts at the light: its origin in unit space is the same for all pixels of a frame
    matrix = rays.matrix[:, :PRIMITIVES]
    start = (matrix * (source[:, None] - rays.centre[:, :PRIMITIVES])[..., None, :]).sum(-1)  # (N, P, 3)
    matrix = matrix.flatten(2)
    w = [part[..., None] for part in way]

    def blocked(low: int, high: int, span) -> Tensor:  # noqa: ANN001
        o = tuple(start[:, None, low:high, i] for i in range(3))
        m = [matrix[:, None, low:high, i] for i in range(9)]
        d = tuple(m[3 * i] * w[0] + m[3 * i + 1] * w[1] + m[3 * i + 2] * w[2] for i in range(3))
        enter, leave = span(o, d)
        # the body that is lit must not shadow itself: stop 2 cm short of the point
        inside = (torch.minimum(leave, 1.0 - 0.02 / length[..., None]) - enter) * length[..., None]
        return torch.where(enter > 0, inside, 0.0).amax(-1)  # a body around the lamp does not count

    ball, cylinder = BOXES, BOXES + ELLIPSOIDS
    depth = torch.maximum(blocked(0, ball, box_span), blocked(ball, cylinder, ball_span))
    depth = torch.maximum(depth, blocked(cylinder, PRIMITIVES, cylinder_span))
    return 1.0 - (depth / 0.06).clamp(0.0, 1.0)


def lamp(scenes: Scenes, k: int, room: Tensor, point: Vector) -> tuple[Vector, Tensor, Tensor]:
    """Way to lamp k (unit), its square distance, and what it sends this way before the surface's own cosine."""
    position, faces = scenes.light_position[room, k], scenes.light_normal[room, k]
    way = [position[:, i, None] - point[i] for i in range(3)]
    square = way[0] ** 2 + way[1] ** 2 + way[2] ** 2
    inverse = torch.rsqrt(square.clamp_min(1e-4))
    way = [c * inverse for c in way]
    facing = -(way[0] * faces[:, 0, None] + way[1] * faces[:, 1, None] + way[2] * faces[:, 2, None])
    beam = 1.0 + faces[:, 3, None] * (facing.clamp_min(0.0) - 1.0)
    return (way[0], way[1], way[2]), square, beam / (1.0 + 0.25 * square)


def mirrored(
    scenes: Scenes, texels: Tensor, hit: Hits, point: Vector, view: Vector, pixel: Tensor, room: Tensor
) -> Vector:
    """What a polished surface reflects: the room's walls in one light, and its windows and lamps as bright discs."""
    normal = hit.normal
    turn = 2.0 * (normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2])
    way = tuple(solid(turn * n - v) for n, v in zip(normal, view, strict=True))
    half = scenes.half[room]
    o = [point[i] + (half[:, 1, None] if i == 1 else 0.0) for i in range(3)]
    spans = [(torch.where(way[i] > 0, half[:, i, None], -half[:, i, None]) - o[i]) / way[i] for i in range(3)]
    t = torch.minimum(torch.minimum(spans[0], spans[1]), spans[2]).clamp_min(0.0)
    axis = torch.where(spans[0] <= t, 0, torch.where(spans[1] <= t, 1, 2))
    q: Vector = tuple((o[i] + t * way[i]) / half[:, i, None] for i in range(3))  # pyright: ignore[reportAssignmentType]
    row = room[:, None] * scenes.faces.shape[1] + ROOM
    plain = torch.full_like(t, 0.5)
    wall = Hits(
        torch.full_like(hit.index, ROOM),
        t,
        q,
        normal,
        axis,
        row.expand_as(hit.row),
        (plain, plain, plain),
        plain,
    )
    color, glow = albedo(scenes, texels, wall, 1.5 * pixel + 0.01 * t, torch.ones_like(t))
    light = [scenes.ambient[room, i, None] * 1.3 + glow for i in range(3)]
    out = [c * p for c, p in zip(color, light, strict=True)]
    for k in range(LIGHTS):
        position, faces = scenes.light_position[room, k], scenes.light_normal[room, k]
        away = [position[:, i, None] - point[i] for i in range(3)]
        n = [faces[:, i, None] for i in range(3)]
        slope = solid(n[0] * way[0] + n[1] * way[1] + n[2] * way[2])
        far = (n[0] * away[0] + n[1] * away[1] + n[2] * away[2]) / slope
        miss = [away[i] - far * way[i] for i in range(3)]
        square = miss[0] ** 2 + miss[1] ** 2 + miss[2] ** 2
        size = faces[:, 4, None]
        disc = (1.0 - 0.45 * square / (size * size).clamp_min(1e-6)).clamp(0.0, 1.0)
        disc = disc * disc * ((far > 0) & (slope < 0))
        out = [out[i] + disc * scenes.light_color[room, k, i, None] for i in range(3)]
    return out[0], out[1], out[2]


def shade(
    scenes: Scenes,
    texels: Tensor,
    hit: Hits,
    ray: Vector,
    eye: Tensor,
    focal: Tensor,
    room: Tensor,
    lit: Tensor | None,
) -> Vector:
    """Return linear r, g, b of shape (N, R). `ray` is the direction in the room frame with z-depth as its parameter,
    `eye` (N, 3) the camera centres, `focal` (N,) pixels, `room` (N,) the frames' rooms, `lit` (N, R) the share of lamp
    0 that arrives.
    """
    point: Vector = tuple(eye[:, i, None] + hit.depth * ray[i] for i in range(3))  # pyright: ignore[reportAssignmentType]
    length = torch.rsqrt(ray[0] ** 2 + ray[1] ** 2 + ray[2] ** 2)
    view: Vector = tuple(-c * length for c in ray)  # pyright: ignore[reportAssignmentType]
    normal = hit.normal
    grazing = (normal[0] * view[0] + normal[1] * view[1] + normal[2] * view[2]).abs()
    pixel = hit.depth / focal[:, None]
    color, glow = albedo(scenes, texels, hit, pixel, grazing)
    shine, gloss = scenes.shine.flatten()[hit.row], scenes.gloss.flatten()[hit.row]
    dark = corners(scenes, point, normal, room) * floor_light(scenes, point, normal, room)
    dark = dark * hit.sky
    up = 0.85 - 0.15 * normal[1]  # surfaces that face up (y down) get a little more of the ambient light
    ambient = scenes.ambient[room]
    total = [ambient[:, i, None] * up * dark + glow for i in range(3)]
    high = torch.zeros_like(hit.depth)
    for k in range(LIGHTS):
        way, _, beam = lamp(scenes, k, room, point)
        cosine = (normal[0] * way[0] + normal[1] * way[1] + normal[2] * way[2]).clamp_min(0.0)
        if k == 0 and lit is not None:
            cosine = cosine * lit
        power = cosine * (0.5 + 0.5 * dark) * beam
        half = [way[i] + view[i] for i in range(3)]
        scale = torch.rsqrt((half[0] ** 2 + half[1] ** 2 + half[2] ** 2).clamp_min(1e-6))
        bright = ((half[0] * normal[0] + half[1] * normal[1] + half[2] * normal[2]) * scale).clamp(0.0, 1.0)
        for _ in range(4):
            bright = bright * bright  # to the 16th
        high = high + shine * bright * power
        for i in range(3):
            total[i] = total[i] + scenes.light_color[room, k, i, None] * power
    out = [color[i] * total[i] + high for i in range(3)]
    image = mirrored(scenes, texels, hit, point, view, pixel, room)
    edge = (1.0 - grazing).clamp(0.0, 1.0)
    gloss = torch.where((hit.index == ROOM) & (normal[1] > -0.5), 0.0, gloss)  # of a room, the floor alone
    share = gloss * (gloss + (1.0 - gloss) * edge * edge * edge)
    return tuple(out[i] + share * (image[i] - out[i]) for i in range(3))  # pyright: ignore[reportReturnType]
