# SPDX-License-Identifier: Apache-2.0
"""Nearest surface along each pixel's ray, exact, as reductions that a compiler can fuse.

A ray in a primitive's unit space is o + t d with d = d0 x + d1 y + d2, where (x, y, 1) is the pixel in the camera and t
is therefore the depth z. The reduction runs over keys: the bits of t (positive floats sort like integers) with the low
7 bits replaced by the primitive's number. It only finds the winner; the winner's t is then computed again in full.
Vectors are tuples of component tensors: stacking them would make the compiler write them out.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longtake.synthetic.config import BOXES, ELLIPSOIDS, MOVER, PRIMITIVES, ROOM
from longtake.synthetic.scenes import Scenes

FAR = 1e6
NEAR = 1e-3
INDEX_BITS = 7
Vector = tuple[Tensor, Tensor, Tensor]


def solid(d: Tensor) -> Tensor:
    """Keep a component away from zero so that 1 / d is finite."""
    return torch.where(d.abs() < 1e-7, 1e-7, d)


def box_span(o: Vector, d: Vector) -> tuple[Tensor, Tensor]:
    """Entry and exit of rays through the unit cube (slab method); entry > exit where they miss."""
    spans = []
    for a, b in zip(o, d, strict=True):
        inverse = 1.0 / solid(b)
        middle, reach = -a * inverse, inverse.abs()
        spans.append((middle - reach, middle + reach))
    enter = torch.maximum(torch.maximum(spans[0][0], spans[1][0]), spans[2][0])
    leave = torch.minimum(torch.minimum(spans[0][1], spans[1][1]), spans[2][1])
    return enter, leave


def ball_span(o: Vector, d: Vector) -> tuple[Tensor, Tensor]:
    """Entry and exit of rays through the unit ball, from the closest point (no cancellation of large squares)."""
    square = (d[0] * d[0] + d[1] * d[1] + d[2] * d[2]).clamp_min(1e-12)
    middle = -(o[0] * d[0] + o[1] * d[1] + o[2] * d[2]) / square
    q = [a + middle * b for a, b in zip(o, d, strict=True)]
    inside = 1.0 - (q[0] * q[0] + q[1] * q[1] + q[2] * q[2])
    reach = torch.sqrt(inside.clamp_min(0.0) / square)
    miss = torch.where(inside > 0, 0.0, FAR)
    return middle - reach + miss, middle + reach - miss


def cylinder_span(o: Vector, d: Vector) -> tuple[Tensor, Tensor]:
    """Entry and exit of rays through the unit cylinder along y."""
    square = (d[0] * d[0] + d[2] * d[2]).clamp_min(1e-12)
    middle = -(o[0] * d[0] + o[2] * d[2]) / square
    qx, qz = o[0] + middle * d[0], o[2] + middle * d[2]
    inside = 1.0 - (qx * qx + qz * qz)
    reach = torch.sqrt(inside.clamp_min(0.0) / square)
    miss = torch.where(inside > 0, 0.0, FAR)
    inverse = 1.0 / solid(d[1])
    cap, slab = -o[1] * inverse, inverse.abs()
    return torch.maximum(middle - reach + miss, cap - slab), torch.minimum(middle + reach - miss, cap + slab)


def key_of(enter: Tensor, leave: Tensor, first: int) -> Tensor:
    """Sortable int32 keys of the hits in front of the camera; the last axis runs over primitives `first`..."""
    hit = (enter < leave) & (enter > NEAR)
    t = torch.where(hit, enter, FAR)
    number = torch.arange(first, first + t.shape[-1], device=t.device, dtype=torch.int32)
    return (t.view(torch.int32) & -(1 << INDEX_BITS)) | number


@dataclass(frozen=True, slots=True)
class Rays:
    """Pixel rays of N frames against the primitives of their rooms."""

    origin: Tensor  # (3, N, P) camera centre in each unit space
    basis: Tensor  # (9, N, P) d0, d1, d2 in each unit space, component i of column j at 3 j + i
    matrix: Tensor  # (N, P, 3, 3) local_from_room at the time of the frame
    centre: Tensor  # (N, P, 3) room frame, likewise
    x: Tensor  # (N, R) where the pixel's ray meets z = 1 in the camera
    y: Tensor  # (N, R)
    room: Tensor  # (N,) int64, the room that a frame belongs to


def placed(scenes: Scenes, frames: int) -> tuple[Tensor, Tensor]:
    """Where every primitive is in each frame: centre (B, T, P, 3) and local_from_room (B, T, P, 3, 3)."""
    centre = scenes.centre[:, None].expand(-1, frames, -1, -1)
    matrix = scenes.local_from_room[:, None].expand(-1, frames, -1, -1, -1)
    if scenes.moving is None:
        return centre, matrix
    own, turn = scenes.moving[..., :3], scenes.moving[..., 3:].unflatten(-1, (3, 3))
    after = MOVER + own.shape[2]
    return (
        torch.cat([centre[:, :, :MOVER], own, centre[:, :, after:]], 2),
        torch.cat([matrix[:, :, :MOVER], turn, matrix[:, :, after:]], 2),
    )


def bend(x: Tensor, y: Tensor, row: Tensor, warp: Tensor) -> tuple[Tensor, Tensor]:
    """Where rays of pixels meet z = 1 behind a real lens and shutter, for pinhole places x, y (N, R).

    `warp` (N, 5): radial distortion k1, k2 (Brown), then the camera's turn in radians while one frame is read out,
    about its x, y and z axes. `row` (R,) is the line's time in that span, from -0.5 to 0.5.
    """
    w = [warp[:, i, None] for i in range(5)]
    square = x * x + y * y
    grow = 1.0 + square * (w[0] + w[1] * square)
    x, y = x * grow, y * grow
    z = 1.0 + row * (w[2] * y - w[3] * x)
    return (x + row * (w[3] - w[4] * y)) / z, (y + row * (w[4] * x - w[2])) / z


def pixel_rays(
    scenes: Scenes, room_from_cam: Tensor, intrinsics: Tensor, height: int, width: int, warp: Tensor | None = None
) -> Rays:
    """Bring the cameras (B, T, 4, 4) into every primitive's unit space. `intrinsics` (B, 3, 3), integer centres.

    `warp` (B, T, 5) as in `bend`; None is a pinhole.
    """
    b, t = room_from_cam.shape[:2]
    centre, matrix = placed(scenes, t)
    offset = room_from_cam[:, :, None, :3, 3] - centre  # (B, T, P, 3)
    origin = (matrix * offset[..., None, :]).sum(-1)
    basis = (matrix[..., :, :, None] * room_from_cam[:, :, None, None, :3, :3]).sum(-2)  # (B, T, P, 3 row, 3 column)
    v, u = torch.meshgrid(
        torch.arange(height, device=matrix.device, dtype=torch.float32),
        torch.arange(width, device=matrix.device, dtype=torch.float32),
        indexing="ij",
    )
    fx, fy = intrinsics[:, 0, 0, None], intrinsics[:, 1, 1, None]
    x = (u.flatten()[None] - intrinsics[:, 0, 2, None]) / fx
    y = (v.flatten()[None] - intrinsics[:, 1, 2, None]) / fy
    p, r = matrix.shape[2], height * width
    x, y = (c[:, None].expand(b, t, r).reshape(b * t, r) for c in (x, y))
    if warp is not None:
        x, y = bend(x, y, (v.flatten() + 0.5) / height - 0.5, warp.flatten(0, 1))
    return Rays(
        origin=origin.permute(3, 0, 1, 2).reshape(3, b * t, p).contiguous(),
        basis=basis.permute(4, 3, 0, 1, 2).reshape(9, b * t, p).contiguous(),
        matrix=matrix.flatten(0, 1),
        centre=centre.flatten(0, 1),
        x=x,
        y=y,
        room=torch.arange(b, device=matrix.device).repeat_interleave(t),
    )


def nearest(rays: Rays) -> Tensor:
    """Return the number of the nearest primitive for each ray, (N, R) int32; the room where no body is nearer.

    Meshes are not among them: `meshcast.closer` looks at those.
    """
    x, y = rays.x[..., None], rays.y[..., None]

    def span(low: int, high: int) -> tuple[Vector, Vector]:
        o = tuple(rays.origin[i, :, None, low:high] for i in range(3))
        k = [rays.basis[i, :, None, low:high] for i in range(9)]
        d = tuple(k[i] * x + k[3 + i] * y + k[6 + i] for i in range(3))
        return o, d  # pyright: ignore[reportReturnType]

    ball, cylinder = BOXES, BOXES + ELLIPSOIDS
    key = key_of(*box_span(*span(0, BOXES)), 0).amin(-1)
    key = torch.minimum(key, key_of(*ball_span(*span(ball, cylinder)), ball).amin(-1))
    key = torch.minimum(key, key_of(*cylinder_span(*span(cylinder, PRIMITIVES)), cylinder).amin(-1))
    o, d = span(ROOM, ROOM + 1)
    wall = box_span(tuple(c[..., 0] for c in o), tuple(c[..., 0] for c in d))[1].clamp(NEAR, FAR)  # pyright: ignore[reportArgumentType]
    key = torch.minimum(key, (wall.view(torch.int32) & -(1 << INDEX_BITS)) | ROOM)
    return key & ((1 << INDEX_BITS) - 1)


@dataclass(frozen=True, slots=True)
class Hits:
    """The surface each ray meets, component tensors of shape (N, R)."""

    index: Tensor  # int64, primitive
    depth: Tensor  # z, metres
    local: Vector  # point in the primitive's unit space
    normal: Vector  # unit normal in the room frame, towards the camera
    axis: Tensor  # int64 in 0..2, the face's axis
    row: Tensor  # int64, room * P + primitive: row of the scene's tables
    tone: Vector  # a mesh's own colour in display space; 0.5 elsewhere, which changes nothing
    sky: Tensor  # share of the ambient light that a mesh's own shape lets through; 1 elsewhere


def hits(scenes: Scenes, rays: Rays, index: Tensor) -> Hits:
    """Compute the winner's exact depth, point and normal."""
    n, p = rays.origin.shape[1:]
    index = index.long()
    frame = torch.arange(n, device=index.device)[:, None]
    place = frame * p + index
    o = tuple(rays.origin[i].flatten()[place] for i in range(3))
    k = [rays.basis[i].flatten()[place] for i in range(9)]
    d = tuple(k[i] * rays.x + k[3 + i] * rays.y + k[6 + i] for i in range(3))
    is_room, is_box = index == ROOM, index < BOXES
    is_ball = (index >= BOXES) & (index < BOXES + ELLIPSOIDS)
    enter, leave = box_span(o, d)  # pyright: ignore[reportArgumentType]
    ball, _ = ball_span(o, d)  # pyright: ignore[reportArgumentType]
    cylinder, _ = cylinder_span(o, d)  # pyright: ignore[reportArgumentType]
    t = torch.where(is_room, leave, torch.where(is_box, enter, torch.where(is_ball, ball, cylinder)))
    t = t.clamp(NEAR, FAR)
    q = tuple(a + t * b for a, b in zip(o, d, strict=True))
    ax, ay, az = q[0].abs(), q[1].abs(), q[2].abs()
    axis = torch.where((ax >= ay) & (ax >= az), 0, torch.where(ay >= az, 1, 2))
    # a cylinder's cap is where |y| leads the radius; its side counts as axis 0
    cap = ay * ay > q[0] * q[0] + q[2] * q[2]
    is_cylinder = ~(is_room | is_box | is_ball)
    axis = torch.where(is_cylinder, torch.where(cap, 1, 0), axis)
    flat = is_room | is_box
    sides = (
        torch.where(flat, (axis == 0).float() * q[0].sign(), torch.where(is_cylinder & cap, 0.0, q[0])),
        torch.where(flat, (axis == 1).float() * q[1].sign(), torch.where(is_cylinder & ~cap, 0.0, q[1])),
        torch.where(flat, (axis == 2).float() * q[2].sign(), torch.where(is_cylinder & cap, 0.0, q[2])),
    )
    row = rays.room[:, None] * p + index
    matrix = rays.matrix.flatten(0, 1).flatten(1)
    m = [matrix[:, i].contiguous()[place] for i in range(9)]
    normal = [m[i] * sides[0] + m[3 + i] * sides[1] + m[6 + i] * sides[2] for i in range(3)]  # inverse transpose
    scale = torch.rsqrt((normal[0] ** 2 + normal[1] ** 2 + normal[2] ** 2).clamp_min(1e-12))
    scale = torch.where(is_room, -scale, scale)
    unit = (normal[0] * scale, normal[1] * scale, normal[2] * scale)
    half = torch.full_like(t, 0.5)
    return Hits(index, t, q, unit, axis, row, (half, half, half), torch.ones_like(t))  # pyright: ignore[reportArgumentType]
