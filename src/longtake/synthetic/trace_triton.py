# SPDX-License-Identifier: Apache-2.0
"""`world.trace` as one hand-written kernel: it compiles in seconds, once for all sizes.

Formulas and names are those of `raycast` and `shade`, the plain twin; a change there needs one here. A program of the
kernel draws BLOCK neighbouring pixels of one frame. Vectors are tuples of blocks of pixels; what a whole frame shares
is read as single numbers. Only imported where triton is installed; PyTorch for CUDA brings it along on Linux.

The kernel's functions carry no annotations, `tl.constexpr` neither: a runtime type checker would wrap them.
"""

from __future__ import annotations

import torch
import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]
from torch import Tensor

from longtake.synthetic import config, shade, textures
from longtake.synthetic.raycast import pixel_rays
from longtake.synthetic.scenes import FACE_FIELDS, Scenes
from longtake.synthetic.trace_triton_rays import BALL, BLOCK, CYLINDER, RAY, dot, load3, nearest, shadow, surface

WARPS = 4
COUNT = tl.constexpr(config.PRIMITIVES + 1)
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
def albedo(faces, texels, q, index, axis, side, grain, grazing):
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
    return (r * r * tint[0], g * g * tint[1], b * b * tint[2]), tl.load(at + 12)


@triton.jit
def darken(offset, size, normal):
    """One axis of `corners`; `offset` is the point's distance from the room's middle."""
    reach = tl.maximum(size - tl.abs(offset), 0.0)
    return 1.0 - 0.45 * (1.0 - tl.abs(normal)) * tl.exp(-reach / REACH)


@triton.jit
def lamp(position, point, normal, view, dark):
    """Diffuse power and the highlight's share of it."""
    way = (position[0] - point[0], position[1] - point[1], position[2] - point[2])
    square = dot(way, way)
    inverse = tl.rsqrt(tl.maximum(square, 1e-4))
    way = (way[0] * inverse, way[1] * inverse, way[2] * inverse)
    power = tl.maximum(dot(normal, way), 0.0) * (0.5 + 0.5 * dark) / (1.0 + 0.25 * square)
    half = (way[0] + view[0], way[1] + view[1], way[2] + view[2])
    gloss = dot(half, normal) * tl.rsqrt(tl.maximum(dot(half, half), 1e-6))
    gloss = tl.minimum(tl.maximum(gloss, 0.0), 1.0)
    gloss = gloss * gloss
    gloss = gloss * gloss
    gloss = gloss * gloss
    return power, gloss * gloss  # to the 16th


# Sizes and alignments differ from call to call; none may make triton compile again.
@triton.jit(do_not_specialize=range(14, 18), do_not_specialize_on_alignment=range(14))
def draw(
    light, depth, rays, poses, lenses, halves, matrices, centres, faces, shines, positions, strengths, ambients, texels,
    frames, width, pixels, blocks,
):  # fmt: skip
    """Draw one block of pixels. Without shadows `centres` is None, which triton knows when it compiles."""
    program = tl.program_id(0)
    frame = (program // blocks).to(tl.int64)
    place = (program % blocks) * BLOCK + tl.arange(0, BLOCK)
    room = frame // frames
    lens, pose = lenses + room * 9, poses + frame * 16
    focal = tl.load(lens)
    x = ((place % width).to(tl.float32) - tl.load(lens + 2)) / focal
    y = ((place // width).to(tl.float32) - tl.load(lens + 5)) / tl.load(lens + 4)

    rays, matrices = rays + frame * (COUNT * RAY), matrices + room * (COUNT * 9)
    t, index = nearest(rays, x, y)
    q, normal, axis, side = surface(rays, matrices, t, index, x, y)
    a, b, c = load3(pose), load3(pose + 4), load3(pose + 8)
    way = (a[0] * x + a[1] * y + a[2], b[0] * x + b[1] * y + b[2], c[0] * x + c[1] * y + c[2])
    point = (tl.load(pose + 3) + t * way[0], tl.load(pose + 7) + t * way[1], tl.load(pose + 11) + t * way[2])
    length = tl.rsqrt(dot(way, way))
    view = (-way[0] * length, -way[1] * length, -way[2] * length)

    color, glow = albedo(
        faces + room * (COUNT * 6 * FIELDS), texels, q, index, axis, side, t / focal, tl.abs(dot(normal, view))
    )
    half = load3(halves + room * 3)
    dark = darken(point[0], half[0], normal[0])
    dark = dark * darken(point[1] + half[1], half[1], normal[1])  # the room spans y in [-2 half, 0]
    dark = dark * darken(point[2], half[2], normal[2])
    ambient, up = load3(ambients + room * 3), (0.85 - 0.15 * normal[1]) * dark
    red, green, blue = ambient[0] * up + glow, ambient[1] * up + glow, ambient[2] * up + glow
    high = tl.zeros([BLOCK], tl.float32)
    positions, strengths = positions + room * (LIGHTS * 3), strengths + room * (LIGHTS * 3)
    for k in tl.static_range(LIGHTS):
        position, strength = load3(positions + k * 3), load3(strengths + k * 3)
        power, gloss = lamp(position, point, normal, view, dark)
        if k == 0 and centres is not None:
            power = power * shadow(matrices, centres + room * (COUNT * 3), position, point)
        high += gloss * power
        red, green, blue = red + strength[0] * power, green + strength[1] * power, blue + strength[2] * power
    high = high * tl.load(shines + room * COUNT + index)

    inside = place < pixels
    tl.store(depth + frame * pixels + place, t, mask=inside)
    out = light + frame * 3 * pixels + place
    tl.store(out, color[0] * red + high, mask=inside)
    tl.store(out + pixels, color[1] * green + high, mask=inside)
    tl.store(out + 2 * pixels, color[2] * blue + high, mask=inside)


def trace_triton(
    scenes: Scenes,
    room_from_cam: Tensor,
    intrinsics: Tensor,
    height: int,
    width: int,
    texels: Tensor,
    shadows: bool,
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
    s = scenes
    centre = s.centre if shadows else None
    tables = (s.half, s.local_from_room, centre, s.faces, s.shine, s.light_position, s.light_color, s.ambient)
    blocks = triton.cdiv(pixels, BLOCK.value)
    inputs = [None if part is None else part.contiguous() for part in (room_from_cam, intrinsics, *tables, texels)]
    with torch.cuda.device_of(light):  # triton launches on the current device
        launch = draw[(n * blocks,)]  # pyright: ignore[reportIndexIssue]
        launch(light, depth, rays, *inputs, t, width, pixels, blocks, num_warps=WARPS)
    return light, depth
