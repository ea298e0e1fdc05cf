# SPDX-License-Identifier: Apache-2.0
"""The furniture meshes: about 700 models of known size, a few hundred triangles each, with a box tree over each.

A model fills its box [-1, 1]^3 (x right, y down, z to the back), so that an instance is placed like any primitive of
`scenes`. Triangles come in leaves of LEAF neighbours. The tree is threaded: nodes lie in depth-first order and each
knows the node that follows its whole branch, so a ray walks it with one number and no stack.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

LEAF = 8  # triangles a leaf
HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Meshes:
    """M models, F triangles (whole leaves: the last ones of a model may be empty), N tree nodes, on a device."""

    triangles: Tensor  # (F, 9) float32: a corner and the two edges that leave it
    corners: Tensor  # (F, 6) int32: r + 2^8 g + 2^16 b + 2^24 sky of the corners, then nx + 2^8 ny + 2^16 nz (+128)
    boxes: Tensor  # (N, 6) float32: low and high corner of each node
    links: Tensor  # (N, 2) int32: the node after the branch; first triangle of a leaf, or -1
    first: Tensor  # (M + 1,) int32: first node of each model
    leaves: Tensor  # (M, L, 7) float32: box and first triangle of each leaf, missing ones far away; the twin's tree
    extent: Tensor  # (M, 3) half sizes in metres
    elevation: Tensor  # (M,) height of the underside over the floor
    top: Tensor  # (M,) height of the surface that carries things
    ranges: dict[str, tuple[int, int]]  # the half-open span of models of each kind


def credits() -> list[dict[str, str]]:
    """One row a model, in their order: kind, name, original, author, library, licence."""
    with (HERE / "FURNITURE.tsv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE))


@lru_cache(maxsize=256)
def tree(leaves: int) -> tuple[tuple[int, int, int], ...]:
    """Nodes (first leaf, leaf after the last, node after the branch) over this many leaves, depth first."""
    nodes: list[tuple[int, int, int]] = []

    def grow(low: int, high: int) -> None:
        here = len(nodes)
        nodes.append((low, high, 0))
        if high - low > 1:
            middle = low + (high - low + 1) // 2
            grow(low, middle)
            grow(middle, high)
        nodes[here] = (low, high, len(nodes))

    grow(0, leaves)
    return tuple(nodes)


def load_meshes(device: torch.device | str = "cpu") -> Meshes:
    """Load the shipped models onto a device, once per device."""
    return _load(str(torch.device(device)))


def fit(points: np.ndarray, count: np.ndarray, extent: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Stretch each model's points to its box again, which it lost a little of with its triangles.

    points (P, 3), count (M,) a model, extent (M, 3). Returns points, extents, and how far each underside (M,) rose.
    """
    first = np.cumsum(count) - count
    low, high = np.minimum.reduceat(points, first), np.maximum.reduceat(points, first)
    half = np.maximum((high - low) / 2, 1e-4)
    middle = (high + low) / 2
    points = (points - np.repeat(middle, count, 0)) / np.repeat(half, count, 0)
    return points.astype(np.float32), (extent * half).astype(np.float32), ((1 - high[:, 1]) * extent[:, 1])


@lru_cache(maxsize=16)
def _load(device: str) -> Meshes:
    kinds = [row["kind"] for row in credits()]
    ranges = {kind: (kinds.index(kind), kinds.index(kind) + kinds.count(kind)) for kind in dict.fromkeys(kinds)}
    with np.load(HERE / "furniture.npz", allow_pickle=False) as file:
        f = dict(file)
    points = ((f["points"][0] + 256.0 * f["points"][1]) / 32767.5 - 1).astype(np.float32)
    points, extent, gap = fit(points, f["point_count"], f["extent"])
    index = f["index"][0].astype(np.int64) + 256 * f["index"][1].astype(np.int64)
    start = np.repeat(np.cumsum(f["point_count"]) - f["point_count"], f["face_count"])
    corners = points[index + start[:, None]]  # (F, 3, 3)
    # sheets that collapsed onto themselves are drawn once: which of two equal depths wins is nobody's choice
    alone = np.zeros(len(index), bool)
    alone[np.unique(np.sort(index + start[:, None], 1), axis=0, return_index=True)[1]] = True
    # pad each model to whole leaves
    count = f["face_count"].astype(np.int64)
    leaves = -(-count // LEAF)
    first_leaf = np.cumsum(leaves) - leaves
    within = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count)
    place = np.repeat(first_leaf * LEAF, count) + within
    total = int(leaves.sum()) * LEAF
    triangles = np.zeros((total, 9), np.float32)
    triangles[place, :3] = corners[:, 0]
    triangles[place, 3:6] = (corners[:, 1] - corners[:, 0]) * alone[:, None]
    triangles[place, 6:] = (corners[:, 2] - corners[:, 0]) * alone[:, None]
    color = f["colors"].astype(np.uint32)  # (F, 3, 3)
    normal = (f["normals"].astype(np.int32) + 128).astype(np.uint32)
    packed = np.zeros((total, 6), np.uint32)
    packed[place, :3] = color[..., 0] + (color[..., 1] << 8) + (color[..., 2] << 16)
    packed[place, :3] += f["sky"].astype(np.uint32) << 24
    packed[place, 3:] = normal[..., 0] + (normal[..., 1] << 8) + (normal[..., 2] << 16)
    low, high = np.full((total, 3), 4.0, np.float32), np.full((total, 3), -4.0, np.float32)
    low[place], high[place] = corners.min(1), corners.max(1)
    low, high = low.reshape(-1, LEAF, 3).min(1), high.reshape(-1, LEAF, 3).max(1)
    boxes, links, first = [], [], [0]
    table = np.full((len(count), int(leaves.max()), 7), 1e3, np.float32)
    table[..., 6] = 0
    for model, (begin, n) in enumerate(zip(first_leaf, leaves, strict=True)):
        for a, b, after in tree(int(n)):
            span = slice(begin + a, begin + b)
            boxes.append(np.concatenate([low[span].min(0), high[span].max(0)]))
            links.append((first[-1] + after, (begin + a) * LEAF if b - a == 1 else -1))
        first.append(len(boxes))
        table[model, :n, :3], table[model, :n, 3:6] = low[begin : begin + n], high[begin : begin + n]
        table[model, :n, 6] = (begin + np.arange(n)) * LEAF

    def put(x: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(x)).to(device)

    return Meshes(
        triangles=put(triangles),
        corners=put(packed.view(np.int32)),
        # a hair wider, so that a triangle that lies in its box's face is not missed
        boxes=put(np.array(boxes, np.float32) + np.array([-1e-4] * 3 + [1e-4] * 3, np.float32)),
        links=put(np.array(links, np.int32)),
        first=put(np.array(first, np.int32)),
        leaves=put(table + np.array([-1e-4] * 3 + [1e-4] * 3 + [0], np.float32)),
        extent=put(extent),
        elevation=put(f["place"][:, 0] + gap),
        top=put(f["place"][:, 1] - gap),
        ranges=ranges,
    )
