# SPDX-License-Identifier: Apache-2.0
"""How far two clouds are from each other: accuracy, completeness, normal consistency, F-score."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longtake.evaluation.metrics.trees import make_tree

F_DISTANCE = 0.05  # metres


@dataclass(frozen=True, slots=True)
class CloudErrors:
    """In the unit of the points. No distance is capped and no point is left out."""

    acc: float  # mean distance of predicted points to the nearest true one
    acc_med: float
    comp: float  # mean distance of true points to the nearest predicted one
    comp_med: float
    nc1: float  # mean |n . n'| over predicted points and their nearest true ones
    nc1_med: float
    nc2: float  # the same over true points
    nc2_med: float
    f_score: float  # harmonic mean of the shares of distances below `f_distance`, both ways
    f_distance: float

    @property
    def nc(self) -> float:
        """Normal consistency: the mean of both directions."""
        return (self.nc1 + self.nc2) / 2

    @property
    def nc_med(self) -> float:
        """The mean of both medians."""
        return (self.nc1_med + self.nc2_med) / 2

    @property
    def chamfer(self) -> float:
        """The mean of accuracy and completeness."""
        return (self.acc + self.comp) / 2


def cloud_errors(
    predicted: np.ndarray,
    true: np.ndarray,
    predicted_normals: np.ndarray,
    true_normals: np.ndarray,
    f_distance: float = F_DISTANCE,
) -> CloudErrors:
    """Compare clouds (n, 3) and (m, 3), both finite and not empty, with unit normals of any sign."""
    to_true, there = make_tree(true).query(predicted)
    to_predicted, back = make_tree(predicted).query(true)
    n1 = np.abs((predicted_normals * np.asarray(true_normals)[there]).sum(-1))
    n2 = np.abs((true_normals * np.asarray(predicted_normals)[back]).sum(-1))
    precision, recall = float((to_true < f_distance).mean()), float((to_predicted < f_distance).mean())
    return CloudErrors(
        acc=float(to_true.mean()),
        acc_med=float(np.median(to_true)),
        comp=float(to_predicted.mean()),
        comp_med=float(np.median(to_predicted)),
        nc1=float(n1.mean()),
        nc1_med=float(np.median(n1)),
        nc2=float(n2.mean()),
        nc2_med=float(np.median(n2)),
        f_score=2 * precision * recall / (precision + recall) if precision + recall else 0.0,
        f_distance=f_distance,
    )


def voxel_means(points: np.ndarray, side: float) -> np.ndarray:
    """Return the mean of the points (n, 3) in each cubic cell, (k, 3); the grid begins half a side below the least."""
    points = np.asarray(points, np.float64)
    if not len(points):
        return points
    cells = np.floor((points - (points.min(0) - side / 2)) / side).astype(np.int64)
    _, member, count = np.unique(cells, axis=0, return_inverse=True, return_counts=True)
    sums = np.stack([np.bincount(member.ravel(), points[:, axis], len(count)) for axis in range(3)], -1)
    return sums / count[:, None]
