# SPDX-License-Identifier: Apache-2.0
"""Rays of the hand-written kernel (`trace_triton`): the nearest surface, the hit on it, the shadow.

Formulas and names are those of `raycast` and `shade.shadow`; a change there needs one here. Vectors are tuples of
blocks of pixels. The functions carry no annotations, as `trace_triton` says.
"""

from __future__ import annotations

import triton  # pyright: ignore[reportMissingImports]
import triton.language as tl  # pyright: ignore[reportMissingImports]

from longtake.synthetic import config, raycast

# A kernel may read globals only if they are wrapped.
SIDE = tl.constexpr(8)  # a program draws a square tile: its rays meet the same boxes
BLOCK = tl.constexpr(64)  # pixels a program
BALL = tl.constexpr(config.BOXES)  # number of the first ellipsoid
CYLINDER = tl.constexpr(config.BOXES + config.ELLIPSOIDS)
BODIES = tl.constexpr(config.PRIMITIVES)  # meshes come after these
ROOM = tl.constexpr(config.ROOM)
NEAR = tl.constexpr(raycast.NEAR)
FAR = tl.constexpr(raycast.FAR)
TIE = tl.constexpr(0.99999)  # faces in one plane: the lower number wins, and rounding does not choose pixel by pixel
RAY = tl.constexpr(12)  # numbers a primitive and frame: origin (3), then the three columns of the basis


@triton.jit
def dot(a, b):
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


@triton.jit
def invert(d):
    return 1.0 / tl.where(tl.abs(d) < 1e-7, 1e-7, d)


@triton.jit
def box_span(o, d):
    i, j, k = invert(d[0]), invert(d[1]), invert(d[2])
    x, y, z = -o[0] * i, -o[1] * j, -o[2] * k
    i, j, k = tl.abs(i), tl.abs(j), tl.abs(k)
    enter = tl.maximum(tl.maximum(x - i, y - j), z - k)
    return enter, tl.minimum(tl.minimum(x + i, y + j), z + k)


@triton.jit
def ball_span(o, d):
    square = tl.maximum(dot(d, d), 1e-12)
    middle = -dot(o, d) / square
    q = (o[0] + middle * d[0], o[1] + middle * d[1], o[2] + middle * d[2])
    inside = 1.0 - dot(q, q)
    reach = tl.sqrt(tl.maximum(inside, 0.0) / square)
    miss = tl.where(inside > 0, 0.0, FAR)
    return middle - reach + miss, middle + reach - miss


@triton.jit
def cylinder_span(o, d):
    square = tl.maximum(d[0] * d[0] + d[2] * d[2], 1e-12)
    middle = -(o[0] * d[0] + o[2] * d[2]) / square
    x, z = o[0] + middle * d[0], o[2] + middle * d[2]
    inside = 1.0 - (x * x + z * z)
    reach = tl.sqrt(tl.maximum(inside, 0.0) / square)
    miss = tl.where(inside > 0, 0.0, FAR)
    inverse = invert(d[1])
    cap, slab = -o[1] * inverse, tl.abs(inverse)
    return tl.maximum(middle - reach + miss, cap - slab), tl.minimum(middle + reach - miss, cap + slab)


@triton.jit
def load3(at):
    return tl.load(at), tl.load(at + 1), tl.load(at + 2)


@triton.jit
def ray(rays, p, x, y):
    """The pixels' rays in the unit space of primitive p, one number or one a pixel."""
    at = rays + p * RAY
    o, a, b, c = load3(at), load3(at + 3), load3(at + 6), load3(at + 9)
    return o, (a[0] * x + b[0] * y + c[0], a[1] * x + b[1] * y + c[1], a[2] * x + b[2] * y + c[2])


@triton.jit
def nearest(rays, x, y):
    """Depth and number of the nearest surface."""
    t = tl.full([BLOCK], FAR, tl.float32)
    index = tl.full([BLOCK], ROOM, tl.int32)
    for p in range(0, BALL):
        o, d = ray(rays, p, x, y)
        enter, leave = box_span(o, d)
        nearer = (enter < leave) & (enter > NEAR) & (enter < t * TIE)
        t, index = tl.where(nearer, enter, t), tl.where(nearer, p, index)
    for p in range(BALL, CYLINDER):
        o, d = ray(rays, p, x, y)
        enter, leave = ball_span(o, d)
        nearer = (enter < leave) & (enter > NEAR) & (enter < t * TIE)
        t, index = tl.where(nearer, enter, t), tl.where(nearer, p, index)
    for p in range(CYLINDER, BODIES):
        o, d = ray(rays, p, x, y)
        enter, leave = cylinder_span(o, d)
        nearer = (enter < leave) & (enter > NEAR) & (enter < t * TIE)
        t, index = tl.where(nearer, enter, t), tl.where(nearer, p, index)
    room_o, room_d = ray(rays, ROOM, x, y)
    enter_room, leave_room = box_span(room_o, room_d)
    wall = tl.maximum(leave_room, NEAR)
    nearer = wall < t * TIE
    return tl.where(nearer, wall, t), tl.where(nearer, ROOM, index)


@triton.jit
def shadow_ray(matrix, centre, source, way, p):
    """The way from the lamp in the unit space of primitive p: the lamp there, and the direction."""
    c = load3(centre + p * 3)
    s = (source[0] - c[0], source[1] - c[1], source[2] - c[2])
    at = matrix + p * 9
    a, b, c = load3(at), load3(at + 3), load3(at + 6)
    return (dot(a, s), dot(b, s), dot(c, s)), (dot(a, way), dot(b, way), dot(c, way))


@triton.jit
def deeper(depth, enter, leave, length):
    inside = (tl.minimum(leave, 1.0 - 0.02 / length) - enter) * length
    return tl.maximum(depth, tl.where(enter > 0, inside, 0.0))


@triton.jit
def shadow(matrix, centre, source, point):
    way = (point[0] - source[0], point[1] - source[1], point[2] - source[2])
    length = tl.sqrt(dot(way, way) + 1e-6)
    depth = tl.zeros([BLOCK], tl.float32)
    for p in range(0, BALL):
        o, d = shadow_ray(matrix, centre, source, way, p)
        enter, leave = box_span(o, d)
        depth = deeper(depth, enter, leave, length)
    for p in range(BALL, CYLINDER):
        o, d = shadow_ray(matrix, centre, source, way, p)
        enter, leave = ball_span(o, d)
        depth = deeper(depth, enter, leave, length)
    for p in range(CYLINDER, BODIES):
        o, d = shadow_ray(matrix, centre, source, way, p)
        enter, leave = cylinder_span(o, d)
        depth = deeper(depth, enter, leave, length)
    return 1.0 - tl.minimum(depth / 0.06, 1.0)


@triton.jit
def surface(rays, matrix, t, index, x, y):
    """The hit in its unit space, its normal in the room frame, the face's axis, and whether it is a cylinder's side."""
    o, d = ray(rays, index, x, y)
    q = (o[0] + t * d[0], o[1] + t * d[1], o[2] + t * d[2])
    ax, ay, az = tl.abs(q[0]), tl.abs(q[1]), tl.abs(q[2])
    tube = (index >= CYLINDER) & (index < BODIES)
    cap = tube & (ay * ay > q[0] * q[0] + q[2] * q[2])
    side = tube & (ay * ay <= q[0] * q[0] + q[2] * q[2])
    axis = tl.where((ax >= ay) & (ax >= az), 0, tl.where(ay >= az, 1, 2))
    axis = tl.where(cap, 1, tl.where(side, 0, axis))
    flat = (index < BALL) | (index == ROOM)
    # components that the normal lacks: a box's face has its axis alone, a cap is y, a cylinder's side is x and z
    sx = tl.where((flat & (axis != 0)) | cap, 0.0, tl.where(flat, tl.where(q[0] > 0, 1.0, -1.0), q[0]))
    sy = tl.where((flat & (axis != 1)) | side, 0.0, tl.where(flat, tl.where(q[1] > 0, 1.0, -1.0), q[1]))
    sz = tl.where((flat & (axis != 2)) | cap, 0.0, tl.where(flat, tl.where(q[2] > 0, 1.0, -1.0), q[2]))
    at = matrix + index * 9
    a, b, c = load3(at), load3(at + 3), load3(at + 6)
    n = (a[0] * sx + b[0] * sy + c[0] * sz, a[1] * sx + b[1] * sy + c[1] * sz, a[2] * sx + b[2] * sy + c[2] * sz)
    scale = tl.rsqrt(tl.maximum(dot(n, n), 1e-12))
    scale = tl.where(index == ROOM, -scale, scale)
    return q, (n[0] * scale, n[1] * scale, n[2] * scale), axis, side
