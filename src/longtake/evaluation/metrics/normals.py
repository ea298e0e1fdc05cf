# SPDX-License-Identifier: Apache-2.0
"""Normals of a cloud from each point's nearest neighbours."""

from __future__ import annotations

import numpy as np

from longtake.evaluation.metrics.trees import make_tree

NEIGHBOURS = 30  # the point itself included
_CHUNK = 50_000  # points at a time: 30 neighbours of 3 doubles each


def estimate_normals(points: np.ndarray, neighbours: int = NEIGHBOURS) -> np.ndarray:
    """Return unit normals (n, 3) of points (n, 3), sign arbitrary.

    The direction in which the `neighbours` nearest points (all, if there are fewer) spread least: the eigenvector of
    the smallest eigenvalue of their covariance. Points that spread in no direction get (0, 0, 1).
    """
    points = np.asarray(points, np.float64)
    normals = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    count = min(neighbours, len(points))
    if count < 3:
        return normals
    tree = make_tree(points)
    for first in range(0, len(points), _CHUNK):
        part = slice(first, first + _CHUNK)
        near = points[tree.query(points[part], k=count)[1]]  # (m, k, 3)
        off = near - near.mean(1, keepdims=True)
        values, vectors = np.linalg.eigh(off.transpose(0, 2, 1) @ off)
        spreads = values[:, 2] > 0
        normals[part] = np.where(spreads[:, None], vectors[:, :, 0], normals[part])
    return normals
