# SPDX-License-Identifier: Apache-2.0
"""Rays against furniture meshes, plain: boxes of instances, then boxes of leaves, then triangles.

A mesh instance is a primitive whose unit space holds triangles. All pixels of a frame share one origin there, so a
triangle's test is three dot products with the direction (Moeller and Trumbore 1997, with the origin's part taken out).
Sizes here depend on what is hit: this is the twin, which no graph captures. `trace_triton_meshes` is the kernel.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from longtake.synthetic.config import MESH, MESHES
from longtake.synthetic.meshes import LEAF, Meshes
from longtake.synthetic.raycast import FAR, NEAR, Hits, Rays, Vector, solid
from longtake.synthetic.scenes import Scenes

EDGE = 1e-5  # triangles are this much wider, so that no ray slips between two of them
TIE = 0.99999  # of faces in one place the lower number wins, and rounding does not choose pixel by pixel
PAIRS = 1 << 18  # rays and boxes tested at once


def slabs(o: Tensor, d: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """Entry and exit of rays through boxes; the last axis is x, y, z."""
    inverse = 1.0 / solid(d)
    a, b = (low - o) * inverse, (high - o) * inverse
    return torch.minimum(a, b).amax(-1), torch.maximum(a, b).amin(-1)


def cross(a: Tensor, b: Tensor) -> Tensor:
    """Cross product of tensors whose last axis is x, y, z, with broadcasting."""
    return torch.linalg.cross(*torch.broadcast_tensors(a, b))


def triangle(o: Tensor, d: Tensor, table: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Depth (FAR where missed) and barycentric weights of the second and third corner."""
    s, first, second = o - table[..., :3], table[..., 3:6], table[..., 6:]
    q = cross(s, first)
    det = (d * cross(second, first)).sum(-1)
    inverse = 1.0 / torch.where(det.abs() < 1e-12, 1e-12, det)
    u, v = (d * cross(second, s)).sum(-1) * inverse, (d * q).sum(-1) * inverse
    t = (second * q).sum(-1) * inverse
    hit = (det.abs() > 1e-12) & (u >= -EDGE) & (v >= -EDGE) & (u + v <= 1 + EDGE) & (t > NEAR)
    return torch.where(hit, t, FAR), u, v


def cast(model: Tensor, o: Tensor, d: Tensor, limit: Tensor, meshes: Meshes) -> tuple[Tensor, Tensor]:
    """Nearest triangle of models (K,) for rays (K, 3) closer than `limit` (K,): depth (FAR if none) and its number."""
    depth, number = [], []
    for m, a, b, far in zip(*(x.split(PAIRS // meshes.leaves.shape[1]) for x in (model, o, d, limit)), strict=True):
        boxes = meshes.leaves[m]
        enter, leave = slabs(a[:, None], b[:, None], boxes[..., :3], boxes[..., 3:6])
        pair, leaf = ((leave >= enter.clamp_min(NEAR)) & (enter < far[:, None])).nonzero(as_tuple=True)
        each = boxes[pair, leaf, 6].long()[:, None] + torch.arange(LEAF, device=m.device)
        t, _, _ = triangle(a[pair, None], b[pair, None], meshes.triangles[each])
        nearest = torch.full_like(far, FAR).scatter_reduce(0, pair, t.amin(1), "amin")
        mine = torch.where(t * TIE <= nearest[pair, None], each, meshes.triangles.shape[0]).amin(1)
        best = torch.full_like(m, meshes.triangles.shape[0]).scatter_reduce(0, pair, mine, "amin")
        depth.append(nearest)
        number.append(best)
    if not depth:
        return torch.empty_like(limit), torch.empty_like(model)
    return torch.cat(depth), torch.cat(number)


def reached(o: Vector, d: Vector, limit: Tensor) -> Tensor:
    """Which rays pass the unit box in front of them and before `limit`."""
    enter, leave = slabs(torch.stack(o, -1), torch.stack(d, -1), torch.tensor(-1.0), torch.tensor(1.0))
    return (leave >= enter.clamp_min(NEAR)) & (enter < limit)


def closer(scenes: Scenes, rays: Rays, hit: Hits, meshes: Meshes) -> Hits:
    """Replace hits by those of meshes that are nearer."""
    depth, slot = hit.depth.clone(), torch.full_like(hit.index, -1)
    face = torch.full_like(hit.index, 0)
    model = scenes.model[rays.room]  # (N, MESHES)
    for m in range(MESHES):
        o = tuple(rays.origin[i, :, MESH + m, None] for i in range(3))
        k = [rays.basis[i, :, MESH + m, None] for i in range(9)]
        d = tuple(k[i] * rays.x + k[3 + i] * rays.y + k[6 + i] for i in range(3))
        frame, pixel = (reached(o, d, depth) & (model[:, m, None] >= 0)).nonzero(as_tuple=True)  # pyright: ignore[reportArgumentType]
        start = torch.stack([c[frame, 0] for c in o], -1)
        way = torch.stack([c[frame, pixel] for c in d], -1)
        limit = depth[frame, pixel]
        t, number = cast(model[frame, m].long(), start, way, limit, meshes)
        near = t < limit * TIE
        frame, pixel = frame[near], pixel[near]
        depth[frame, pixel], face[frame, pixel], slot[frame, pixel] = t[near], number[near], m
    return skin(scenes, rays, hit, depth, slot, face, meshes)


def skin(scenes: Scenes, rays: Rays, hit: Hits, depth: Tensor, slot: Tensor, face: Tensor, meshes: Meshes) -> Hits:
    """Put the meshes' normals, colours and occlusion into the hits where `slot` is not negative."""
    frame, pixel = (slot >= 0).nonzero(as_tuple=True)
    if not len(frame):
        return hit
    index = MESH + slot[frame, pixel]
    o = rays.origin[:, frame, index].T
    k = rays.basis[:, frame, index]  # (9, K)
    d = (k[:3] * rays.x[frame, pixel] + k[3:6] * rays.y[frame, pixel] + k[6:]).T
    number = face[frame, pixel]
    _, u, v = triangle(o, d, meshes.triangles[number])
    weights = torch.stack([1 - u - v, u, v], -1)
    packed = meshes.corners[number]
    parts = torch.stack([(packed >> shift) & 255 for shift in (0, 8, 16, 24)], -1).float()  # (K, 6, 4)
    color = (parts[:, :3] * weights[..., None]).sum(1) / 255.0  # r, g, b, sky
    local = ((parts[:, 3:, :3] - 128.0) * weights[..., None]).sum(1)
    row = rays.room[frame] * rays.matrix.shape[1] + index
    matrix, extent = rays.matrix[frame, index], scenes.extent.flatten(0, 1)[row]
    normal = ((local * extent)[..., None] * matrix).sum(-2)
    normal = normal * torch.rsqrt((normal * normal).sum(-1, keepdim=True).clamp_min(1e-12))
    facing = (local * extent * d).sum(-1, keepdim=True)
    normal = torch.where(facing > 0, -normal, normal)
    steep = local.abs()
    axis = torch.where(
        (steep[:, 0] >= steep[:, 1]) & (steep[:, 0] >= steep[:, 2]), 0, torch.where(steep[:, 1] >= steep[:, 2], 1, 2)
    )
    t = depth[frame, pixel]
    at = o + t[:, None] * d

    def put(old: Tensor, new: Tensor) -> Tensor:
        return old.index_put((frame, pixel), new.to(old.dtype))

    return replace(
        hit,
        index=put(hit.index, index),
        depth=depth,
        local=tuple(put(hit.local[i], at[:, i]) for i in range(3)),
        normal=tuple(put(hit.normal[i], normal[:, i]) for i in range(3)),
        axis=put(hit.axis, axis),
        row=put(hit.row, row),
        tone=tuple(put(hit.tone[i], color[:, i]) for i in range(3)),
        sky=put(hit.sky, color[:, 3]),
    )


def shaded(scenes: Scenes, rays: Rays, source: Tensor, way: Vector, length: Tensor, meshes: Meshes) -> Tensor:
    """Which points (N, R) have a mesh between them and the lamps at `source` (N, 3); `way` leads from lamp to point."""
    dark = torch.zeros_like(length, dtype=torch.bool)
    model = scenes.model[rays.room]
    limit = 1.0 - 0.02 / length
    for m in range(MESHES):
        matrix = rays.matrix[:, MESH + m]
        o = (matrix * (source - rays.centre[:, MESH + m])[:, None]).sum(-1)  # (N, 3)
        d = tuple(sum(matrix[:, i, j, None] * way[j] for j in range(3)) for i in range(3))
        open_ = (model[:, m, None] >= 0) & ~dark
        near = reached(tuple(o[:, i, None] for i in range(3)), d, limit) & open_  # pyright: ignore[reportArgumentType]
        frame, pixel = near.nonzero(as_tuple=True)
        to = torch.stack([c[frame, pixel] for c in d], -1)  # pyright: ignore[reportIndexIssue]
        t, _ = cast(model[frame, m].long(), o[frame], to, limit[frame, pixel], meshes)
        dark[frame, pixel] |= t < limit[frame, pixel]
    return dark
