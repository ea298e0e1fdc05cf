# SPDX-License-Identifier: Apache-2.0
"""Meshes of the hand-written kernel (`trace_triton`): the walk through a model's tree, and what a hit looks like.

Formulas are those of `meshcast`; a change there needs one here. A tile of pixels walks the tree together: a branch is
entered if any pixel's ray meets its box, so a program has one place in the tree and nothing diverges.
"""

from __future__ import annotations

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from longtake.synthetic import config, meshcast, meshes
from longtake.synthetic.trace_triton_rays import BLOCK, NEAR, TIE, dot, invert, load3, ray, shadow_ray

MESH = tl.constexpr(config.MESH)
MESHES = tl.constexpr(config.MESHES)
LEAF = tl.constexpr(meshes.LEAF)
EDGE = tl.constexpr(meshcast.EDGE)


@triton.jit
def cross(a, b):
    return a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0]


@triton.jit
def minus(a, b):
    return a[0] - b[0], a[1] - b[1], a[2] - b[2]


@triton.jit
def slabs(o, inverse, low, high):
    ax, ay, az = (low[0] - o[0]) * inverse[0], (low[1] - o[1]) * inverse[1], (low[2] - o[2]) * inverse[2]
    bx, by, bz = (high[0] - o[0]) * inverse[0], (high[1] - o[1]) * inverse[1], (high[2] - o[2]) * inverse[2]
    enter = tl.maximum(tl.maximum(tl.minimum(ax, bx), tl.minimum(ay, by)), tl.minimum(az, bz))
    leave = tl.minimum(tl.minimum(tl.maximum(ax, bx), tl.maximum(ay, by)), tl.maximum(az, bz))
    return enter, leave


@triton.jit
def triangle(o, d, table, number):
    """Depth, and the weights of the second and third corner; the determinant is near 0 where there is no triangle."""
    at = table + number * 9
    corner, first, second = load3(at), load3(at + 3), load3(at + 6)
    s = minus(o, corner)
    q = cross(s, first)
    det = dot(d, cross(second, first))
    inverse = 1.0 / tl.where(tl.abs(det) < 1e-12, 1e-12, det)
    return dot(second, q) * inverse, dot(d, cross(second, s)) * inverse, dot(d, q) * inverse, det


@triton.jit
def walk(o, d, t, found, model, first, boxes, links, triangles):
    """Nearest triangle of a model before depth t, and its number."""
    inverse = (invert(d[0]), invert(d[1]), invert(d[2]))
    node, last = tl.load(first + model), tl.load(first + model + 1)
    while node < last:
        enter, leave = slabs(o, inverse, load3(boxes + node * 6), load3(boxes + node * 6 + 3))
        meets = (leave >= tl.maximum(enter, NEAR)) & (enter < t)
        if tl.max(meets.to(tl.int32), 0) > 0:
            leaf = tl.load(links + node * 2 + 1)
            if leaf >= 0:
                for k in range(0, LEAF):
                    depth, u, v, det = triangle(o, d, triangles, leaf + k)
                    hit = (tl.abs(det) > 1e-12) & (u >= -EDGE) & (v >= -EDGE) & (u + v <= 1.0 + EDGE)
                    hit = hit & (depth > NEAR) & (depth < t * TIE)
                    t, found = tl.where(hit, depth, t), tl.where(hit, leaf + k, found)
            node += 1
        else:
            node = tl.load(links + node * 2)
    return t, found


@triton.jit
def closer(rays, models, x, y, t, index, first, boxes, links, triangles):
    """Depth and number of the nearest surface, meshes included, and the triangle hit (-1: none)."""
    found = tl.full([BLOCK], -1, tl.int32)
    for m in range(0, MESHES):
        model = tl.load(models + m)
        if model >= 0:
            o, d = ray(rays, MESH + m, x, y)
            enter, leave = slabs(o, (invert(d[0]), invert(d[1]), invert(d[2])), (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
            meets = (leave >= tl.maximum(enter, NEAR)) & (enter < t)
            if tl.max(meets.to(tl.int32), 0) > 0:
                before = t
                t, found = walk(o, d, t, found, model, first, boxes, links, triangles)
                index = tl.where(t < before, MESH + m, index)
    return t, index, found


@triton.jit
def shaded(matrices, centres, models, source, point, first, boxes, links, triangles):
    """1 where a mesh stands between lamp and point, else 0."""
    way = minus(point, source)
    limit = 1.0 - 0.02 / tl.sqrt(dot(way, way) + 1e-6)
    t, found = limit, tl.full([BLOCK], -1, tl.int32)
    for m in range(0, MESHES):
        model = tl.load(models + m)
        if model >= 0:
            o, d = shadow_ray(matrices, centres, source, way, MESH + m)
            enter, leave = slabs(o, (invert(d[0]), invert(d[1]), invert(d[2])), (-1.0, -1.0, -1.0), (1.0, 1.0, 1.0))
            meets = (leave >= tl.maximum(enter, NEAR)) & (enter < t)
            if tl.max(meets.to(tl.int32), 0) > 0:
                t, found = walk(o, d, t, found, model, first, boxes, links, triangles)
                t = tl.where(found >= 0, 0.0, t)  # once is enough
    return tl.where(found >= 0, 1.0, 0.0)


@triton.jit
def channel(a, b, c, u, v, shift):
    p, q, r = (a >> shift) & 255, (b >> shift) & 255, (c >> shift) & 255
    return p.to(tl.float32) * (1.0 - u - v) + q.to(tl.float32) * u + r.to(tl.float32) * v


@triton.jit
def skin(rays, matrices, extents, index, found, x, y, triangles, corners):
    """Normal in the room frame, the axis that it leads, the mesh's own colour and the sky that it leaves open."""
    number = tl.maximum(found, 0)
    o, d = ray(rays, index, x, y)
    t, u, v, det = triangle(o, d, triangles, number)
    at = corners + number * 6
    a, b, c = load3(at)
    tone = channel(a, b, c, u, v, 0) / 255.0, channel(a, b, c, u, v, 8) / 255.0, channel(a, b, c, u, v, 16) / 255.0
    sky = channel(a, b, c, u, v, 24) / 255.0
    a, b, c = load3(at + 3)
    n = channel(a, b, c, u, v, 0) - 128.0, channel(a, b, c, u, v, 8) - 128.0, channel(a, b, c, u, v, 16) - 128.0
    ax, ay, az = tl.abs(n[0]), tl.abs(n[1]), tl.abs(n[2])
    axis = tl.where((ax >= ay) & (ax >= az), 0, tl.where(ay >= az, 1, 2))
    e = load3(extents + index * 3)
    n = (n[0] * e[0], n[1] * e[1], n[2] * e[2])
    at = matrices + index * 9
    a, b, c = load3(at), load3(at + 3), load3(at + 6)
    normal = (
        a[0] * n[0] + b[0] * n[1] + c[0] * n[2],
        a[1] * n[0] + b[1] * n[1] + c[1] * n[2],
        a[2] * n[0] + b[2] * n[1] + c[2] * n[2],
    )
    scale = tl.rsqrt(tl.maximum(dot(normal, normal), 1e-12))
    scale = tl.where(dot(n, d) > 0, -scale, scale)
    return (normal[0] * scale, normal[1] * scale, normal[2] * scale), axis, tone, sky
