# SPDX-License-Identifier: Apache-2.0
"""`world.trace` as one hand-written kernel: it compiles in seconds, once for all sizes.

Formulas and names are those of `raycast` and `shade`, the plain twin; a change there needs one here. A program of the
kernel draws one tile of one frame. Vectors are tuples of blocks of pixels; what a whole frame shares
is read as single numbers. Only imported where triton is installed; PyTorch for CUDA brings it along on Linux.

The kernel's functions carry no annotations, `tl.constexpr` neither: a runtime type checker would wrap them.
"""

from __future__ import annotations

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from longtake.synthetic import config, shade, textures
from longtake.synthetic.meshes import Meshes
from longtake.synthetic.raycast import pixel_rays
from longtake.synthetic.scenes import FACE_FIELDS, Scenes
from longtake.synthetic.trace_triton_meshes import MESHES, closer, shaded, skin
from longtake.synthetic.trace_triton_rays import (
    BALL,
    BLOCK,
    CYLINDER,
    RAY,
    ROOM,
    SIDE,
    dot,
    load3,
    nearest,
    shadow,
    surface,
)

WARPS = 1
COUNT = tl.constexpr(config.BODIES)
CELLS = tl.constexpr(config.FLOOR_CELLS)
LIGHTS = tl.constexpr(config.LIGHTS)
REACH = tl.constexpr(shade.REACH)
FIELDS = tl.constexpr(FACE_FIELDS)
TILE = tl.constexpr(textures.TILE)
PER_TILE = tl.constexpr(textures.PER_TILE)
LAST_LEVEL = tl.constexpr(textures.LEVELS - 1.001)


@triton.jit
def half_turns(z, x):
    """atan2(z, x) / pi to 1e-7. Abramowitz and Stegun 4.4.49; triton has no arc tangent that its interpreter knows."""
    a, b = tl.abs(x), tl.abs(z)
    r = tl.minimum(a, b) / tl.maximum(tl.maximum(a, b), 1e-12)
    s = r * r
    f = s * (-0.0161657367 + s * 0.0028662257)
    f = s * (0.1065626393 + s * (-0.0752896400 + s * 0.0429096138 + s * f))
    f = r * (1.0 + s * (-0.3333314528 + s * (0.1999355085 + s * (-0.1420889944 + f)))) * 0.3183098862
    f = tl.where(b > a, 0.5 - f, f)
    f = tl.where(x < 0, 1.0 - f, f)
    return tl.where(z < 0, -f, f)


@triton.jit
def mix(a, b, w):
    return a[0] + w * (b[0] - a[0]), a[1] + w * (b[1] - a[1]), a[2] + w * (b[2] - a[2])


@triton.jit
def texel(at):
    packed = tl.load(at)
    unit = 1.0 / 255.0
    red, green, blue = packed & 255, (packed >> 8) & 255, (packed >> 16) & 255
    return red.to(tl.float32) * unit, green.to(tl.float32) * unit, blue.to(tl.float32) * unit


@triton.jit
def bilinear(texels, tile, level, u, v):
    size = TILE >> level
    at = texels + tile * PER_TILE + ((TILE * TILE - size * size) * 4) // 3
    x, y = (u - tl.floor(u)) * size - 0.5, (v - tl.floor(v)) * size - 0.5
    x0, y0 = tl.floor(x), tl.floor(y)
    mask = size - 1
    left, top = x0.to(tl.int32) & mask, y0.to(tl.int32) & mask
    right, bottom = (left + 1) & mask, (top + 1) & mask
    above = mix(texel(at + top * size + left), texel(at + top * size + right), x - x0)
    below = mix(texel(at + bottom * size + left), texel(at + bottom * size + right), x - x0)
    return mix(above, below, y - y0)


@triton.jit
def trilinear(texels, tile, u, v, level):
    level = tl.minimum(tl.maximum(level, 0.0), LAST_LEVEL)
    base = tl.floor(level)
    low = base.to(tl.int32)
    fine, coarse = bilinear(texels, tile, low, u, v), bilinear(texels, tile, low + 1, u, v)
    return mix(fine, coarse, level - base)


@triton.jit
def albedo(faces, texels, q, index, axis, side, tone, grain, grazing):
    """Linear colour of the surface, and emission."""
    ball = (index >= BALL) & (index < CYLINDER)
    first, second = tl.where(axis == 0, q[2], q[0]), tl.where(axis == 1, q[2], q[1])
    lead = tl.where(axis == 0, q[0], tl.where(axis == 1, q[1], q[2]))
    stretch = tl.where(ball, 1.0 / tl.maximum(tl.abs(lead), 0.3), 1.0)
    s = tl.where(side, half_turns(q[2], q[0]), first * stretch)
    t = second * stretch
    at = faces + (index * 6 + axis * 2 + tl.where(lead > 0, 1, 0)) * FIELDS
    u = s * tl.load(at + 1) + t * tl.load(at + 2) + tl.load(at + 5)
    v = s * tl.load(at + 3) + t * tl.load(at + 4) + tl.load(at + 6)
    level = tl.load(at + 7) + tl.log2(grain) - 0.6 * tl.log2(tl.maximum(grazing, 0.08))
    color = trilinear(texels, tl.load(at).to(tl.int32), u, v, level)
    contrast, tint = tl.load(at + 11), load3(at + 8)
    r, g, b = 0.5 + contrast * (color[0] - 0.5), 0.5 + contrast * (color[1] - 0.5), 0.5 + contrast * (color[2] - 0.5)
    column, line = s * tl.load(at + 13), t * tl.load(at + 14)
    soft = tl.log2(tl.maximum(grain, 1e-6)) + tl.load(at + 18)
    soft = tl.maximum(tl.exp2(tl.minimum(tl.maximum(soft, -20.0), 0.0)), 1e-4)
    edge = tl.maximum(tl.abs(column - tl.floor(column) - 0.5), tl.abs(line - tl.floor(line) - 0.5))
    inside = tl.minimum(tl.maximum((tl.load(at + 15) - edge) / soft + 0.5, 0.0), 1.0)
    between = tl.load(at + 17)
    pane = 4.0 * (between + inside * (tl.load(at + 16) - between))
    r, g, b = r * tone[0], g * tone[1], b * tone[2]
    return (r * r * tint[0] * pane, g * g * tint[1] * pane, b * b * tint[2] * pane), tl.load(at + 12)


@triton.jit
def darken(offset, size, normal):
    """One axis of `corners`; `offset` is the point's distance from the room's middle."""
    reach = tl.maximum(size - tl.abs(offset), 0.0)
    return 1.0 - 0.45 * (1.0 - tl.abs(normal)) * tl.exp(-reach / REACH)


@triton.jit
def floor_light(floor, half, point, normal):
    """Share of the ambient light that what stands about leaves to the floor; 1 above it."""
    x = tl.minimum(tl.maximum((point[0] / half[0] + 1.0) * (0.5 * CELLS) - 0.5, 0.0), CELLS - 1.001)
    z = tl.minimum(tl.maximum((point[2] / half[2] + 1.0) * (0.5 * CELLS) - 0.5, 0.0), CELLS - 1.001)
    x0, z0 = tl.floor(x), tl.floor(z)
    low = (point[1] > -0.02) & (normal[1] < -0.5)
    at = floor + z0.to(tl.int32) * CELLS + x0.to(tl.int32)
    a, b = tl.load(at, mask=low, other=1.0), tl.load(at + 1, mask=low, other=1.0)
    near = a + (x - x0) * (b - a)
    a, b = tl.load(at + CELLS, mask=low, other=1.0), tl.load(at + CELLS + 1, mask=low, other=1.0)
    far = a + (x - x0) * (b - a)
    return near + (z - z0) * (far - near)


@triton.jit
def lamp(position, faces, point, normal, view, dark):
    """Diffuse power and the highlight's share of it."""
    way = (position[0] - point[0], position[1] - point[1], position[2] - point[2])
    square = dot(way, way)
    inverse = tl.rsqrt(tl.maximum(square, 1e-4))
    way = (way[0] * inverse, way[1] * inverse, way[2] * inverse)
    beam = 1.0 + tl.load(faces + 3) * (tl.maximum(-dot(way, load3(faces)), 0.0) - 1.0)
    power = tl.maximum(dot(normal, way), 0.0) * (0.5 + 0.5 * dark) * beam / (1.0 + 0.25 * square)
    half = (way[0] + view[0], way[1] + view[1], way[2] + view[2])
    gloss = dot(half, normal) * tl.rsqrt(tl.maximum(dot(half, half), 1e-6))
    gloss = tl.minimum(tl.maximum(gloss, 0.0), 1.0)
    gloss = gloss * gloss
    gloss = gloss * gloss
    gloss = gloss * gloss
    return power, gloss * gloss  # to the 16th


@triton.jit
def exit_of(size, o, way):
    return (tl.where(way > 0, size, -size) - o) / way


@triton.jit
def away_from_zero(d):
    return tl.where(tl.abs(d) < 1e-7, 1e-7, d)


@triton.jit
def mirrored(faces, texels, half, ambient, positions, lamps, strengths, point, normal, view, grain):
    """What a polished surface reflects: walls in one light, windows and lamps as bright discs."""
    turn = 2.0 * dot(normal, view)
    wx, wy = away_from_zero(turn * normal[0] - view[0]), away_from_zero(turn * normal[1] - view[1])
    way = (wx, wy, away_from_zero(turn * normal[2] - view[2]))
    o = (point[0], point[1] + half[1], point[2])
    i, j, k = exit_of(half[0], o[0], way[0]), exit_of(half[1], o[1], way[1]), exit_of(half[2], o[2], way[2])
    t = tl.maximum(tl.minimum(tl.minimum(i, j), k), 0.0)
    axis = tl.where(i <= t, 0, tl.where(j <= t, 1, 2))
    q = ((o[0] + t * way[0]) / half[0], (o[1] + t * way[1]) / half[1], (o[2] + t * way[2]) / half[2])
    plain = tl.full([BLOCK], 0.5, tl.float32)
    index = tl.full([BLOCK], ROOM, tl.int32)
    color, glow = albedo(
        faces, texels, q, index, axis, axis < 0, (plain, plain, plain), 1.5 * grain + 0.01 * t, plain * 2.0
    )
    red, green = color[0] * (ambient[0] * 1.3 + glow), color[1] * (ambient[1] * 1.3 + glow)
    blue = color[2] * (ambient[2] * 1.3 + glow)
    for m in tl.static_range(LIGHTS):
        position, n, strength = load3(positions + m * 3), load3(lamps + m * 5), load3(strengths + m * 3)
        away = (position[0] - point[0], position[1] - point[1], position[2] - point[2])
        slope = away_from_zero(dot(n, way))
        far = dot(n, away) / slope
        miss = (away[0] - far * way[0], away[1] - far * way[1], away[2] - far * way[2])
        size = tl.load(lamps + m * 5 + 4)
        disc = 1.0 - 0.45 * dot(miss, miss) / tl.maximum(size * size, 1e-6)
        disc = tl.minimum(tl.maximum(disc, 0.0), 1.0)
        disc = tl.where((far > 0) & (slope < 0), disc * disc, 0.0)
        red, green, blue = red + disc * strength[0], green + disc * strength[1], blue + disc * strength[2]
    return red, green, blue


@triton.jit
def bend(x, y, row, warp):
    """Lens and rolling shutter, as `raycast.bend`."""
    wx, wy, wz = load3(warp + 2)
    square = x * x + y * y
    grow = 1.0 + square * (tl.load(warp) + tl.load(warp + 1) * square)
    x, y = x * grow, y * grow
    z = 1.0 + row * (wx * y - wy * x)
    return (x + row * (wy - wz * y)) / z, (y + row * (wz * x - wx)) / z


# Sizes and alignments differ from call to call; none may make triton compile again.
@triton.jit(do_not_specialize=range(26, 31), do_not_specialize_on_alignment=range(26))
def draw(
    light, depth, rays, poses, lenses, warps, matrices, centres, halves, extents, faces, shines, glosses, floors,
    positions, lamps, strengths, ambients, shadowed, models, texels,
    first, boxes, links, triangles, corners,
    frames, width, height, across, tiles,
):  # fmt: skip
    """Draw one tile of one frame. Without shadows `shadowed` is None, without meshes `first`, without a lens `warps`:
    triton knows these when it compiles."""
    program = tl.program_id(0)
    frame = (program // tiles).to(tl.int64)
    tile = program % tiles
    within = tl.arange(0, BLOCK)
    column = (tile % across) * SIDE + within % SIDE
    line = (tile // across) * SIDE + within // SIDE
    room = frame // frames
    lens, pose = lenses + room * 9, poses + frame * 16
    focal = tl.load(lens)
    x = (column.to(tl.float32) - tl.load(lens + 2)) / focal
    y = (line.to(tl.float32) - tl.load(lens + 5)) / tl.load(lens + 4)
    if warps is not None:
        x, y = bend(x, y, (line.to(tl.float32) + 0.5) / height - 0.5, warps + frame * 5)

    rays, matrices = rays + frame * (COUNT * RAY), matrices + frame * (COUNT * 9)
    t, index = nearest(rays, x, y)
    if first is not None:
        t, index, found = closer(rays, models + room * MESHES, x, y, t, index, first, boxes, links, triangles)
    q, flat, axis, side = surface(rays, matrices, t, index, x, y)
    # what an `if` changes are blocks, not tuples of them
    nx, ny, nz = flat[0], flat[1], flat[2]
    sky = tl.full([BLOCK], 1.0, tl.float32)
    pr, pg, pb = 0.5 * sky, 0.5 * sky, 0.5 * sky
    if first is not None:  # noqa: SIM102 - decided when triton compiles; the next one for each tile
        if tl.max(found, 0) >= 0:
            own = found >= 0
            n, lead, paint, open_ = skin(
                rays, matrices, extents + room * (COUNT * 3), index, found, x, y, triangles, corners
            )
            nx, ny, nz = tl.where(own, n[0], nx), tl.where(own, n[1], ny), tl.where(own, n[2], nz)
            pr, pg, pb = tl.where(own, paint[0], pr), tl.where(own, paint[1], pg), tl.where(own, paint[2], pb)
            axis = tl.where(own, lead, axis)
            sky = tl.where(own, open_, sky)
    normal, tone = (nx, ny, nz), (pr, pg, pb)
    a, b, c = load3(pose), load3(pose + 4), load3(pose + 8)
    way = (a[0] * x + a[1] * y + a[2], b[0] * x + b[1] * y + b[2], c[0] * x + c[1] * y + c[2])
    point = (tl.load(pose + 3) + t * way[0], tl.load(pose + 7) + t * way[1], tl.load(pose + 11) + t * way[2])
    length = tl.rsqrt(dot(way, way))
    view = (-way[0] * length, -way[1] * length, -way[2] * length)

    grazing, faces = tl.abs(dot(normal, view)), faces + room * (COUNT * 6 * FIELDS)
    color, glow = albedo(faces, texels, q, index, axis, side, tone, t / focal, grazing)
    half = load3(halves + room * 3)
    dark = darken(point[0], half[0], normal[0])
    dark = dark * darken(point[1] + half[1], half[1], normal[1])  # the room spans y in [-2 half, 0]
    dark = dark * darken(point[2], half[2], normal[2])
    dark = dark * floor_light(floors + room * (CELLS * CELLS), half, point, normal) * sky
    ambient, up = load3(ambients + room * 3), (0.85 - 0.15 * normal[1]) * dark
    red, green, blue = ambient[0] * up + glow, ambient[1] * up + glow, ambient[2] * up + glow
    high = tl.zeros([BLOCK], tl.float32)
    positions, strengths = positions + room * (LIGHTS * 3), strengths + room * (LIGHTS * 3)
    lamps = lamps + room * (LIGHTS * 5)
    lit = tl.full([BLOCK], 1.0, tl.float32)
    if shadowed is not None:  # noqa: SIM102 - likewise
        if tl.load(shadowed + room) > 0:
            middles, source = centres + frame * (COUNT * 3), load3(positions)
            lit = shadow(matrices, middles, source, point)
            if first is not None:
                dim = shaded(matrices, middles, models + room * MESHES, source, point, first, boxes, links, triangles)
                lit = lit * (1.0 - dim)
    for k in tl.static_range(LIGHTS):
        position, strength = load3(positions + k * 3), load3(strengths + k * 3)
        power, gloss = lamp(position, lamps + k * 5, point, normal, view, dark)
        if k == 0:
            power = power * lit
        high += gloss * power
        red, green, blue = red + strength[0] * power, green + strength[1] * power, blue + strength[2] * power
    high = high * tl.load(shines + room * COUNT + index)
    red, green, blue = color[0] * red + high, color[1] * green + high, color[2] * blue + high
    gloss = tl.load(glosses + room * COUNT + index)
    gloss = tl.where((index == ROOM) & (normal[1] > -0.5), 0.0, gloss)  # of a room, the floor alone
    if tl.max(gloss, 0) > 0:
        image = mirrored(faces, texels, half, ambient, positions, lamps, strengths, point, normal, view, t / focal)
        edge = tl.minimum(tl.maximum(1.0 - grazing, 0.0), 1.0)
        share = gloss * (gloss + (1.0 - gloss) * edge * edge * edge)
        red, green = red + share * (image[0] - red), green + share * (image[1] - green)
        blue = blue + share * (image[2] - blue)

    inside = (column < width) & (line < height)
    place, pixels = line * width + column, width * height
    tl.store(depth + frame * pixels + place, t, mask=inside)
    out = light + frame * 3 * pixels + place
    tl.store(out, red, mask=inside)
    tl.store(out + pixels, green, mask=inside)
    tl.store(out + 2 * pixels, blue, mask=inside)


def trace_triton(
    scenes: Scenes,
    room_from_cam: Tensor,
    intrinsics: Tensor,
    height: int,
    width: int,
    texels: Tensor,
    shadows: bool,
    meshes: Meshes | None = None,
    warp: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Draw N = B T frames with poses (B, T, 4, 4) on a CUDA device: linear light (N, 3, R) and z-depth (N, R).

    No gradients. Waits for nothing, so a CUDA graph can capture it once it has run.
    """
    b, t = room_from_cam.shape[:2]
    n, pixels, device = b * t, height * width, room_from_cam.device
    cameras = pixel_rays(scenes, room_from_cam, intrinsics, 0, 0)  # their pixels' places are the kernel's own work
    rays = torch.cat([cameras.origin, cameras.basis]).permute(1, 2, 0).contiguous()  # (N, P, 12)
    light = torch.empty(n, 3, pixels, dtype=torch.float32, device=device)
    depth = torch.empty(n, pixels, dtype=torch.float32, device=device)
    s, m = scenes, meshes
    lamps = (s.light_position, s.light_normal, s.light_color, s.ambient)
    tables = (
        *(room_from_cam, intrinsics, warp, cameras.matrix, cameras.centre, s.half, s.extent, s.faces, s.shine, s.gloss),
        *(s.floor, *lamps, s.shadowed if shadows else None, s.model, texels),
        *((None,) * 5 if m is None else (m.first, m.boxes, m.links, m.triangles, m.corners)),
    )
    across, down = triton.cdiv(width, SIDE.value), triton.cdiv(height, SIDE.value)
    inputs = [None if part is None else part.contiguous() for part in tables]
    with torch.cuda.device_of(light):  # triton launches on the current device
        launch = draw[(n * across * down,)]  # pyright: ignore[reportIndexIssue]
        launch(light, depth, rays, *inputs, t, width, height, across, across * down, num_warps=WARPS)
    return light, depth
