# SPDX-License-Identifier: Apache-2.0
"""Rigid ICP, point to point (Besl and McKay 1992), with the stopping rule of the published programs."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longtake.errors import InputError
from longtake.evaluation.metrics.trees import make_tree
from longtake.geometry.similarity import Similarity, align

REACH = 0.1  # metres: farther true points are no partners
UPDATES = 30  # reached by about half of real clouds, so it matters
STEADY = 1e-6  # change of fitness and of rmse below which it stops


@dataclass(frozen=True, slots=True)
class IcpResult:
    """The motion target_from_source and how well it fits."""

    target_from_source: np.ndarray  # (4, 4) rigid
    fitness: float  # share of source points that have a partner
    rmse: float  # over those, in the unit of the points; 0 if there are none
    correspondences: int
    updates: int
    reason: str = ""  # why it stopped early, where the points did not allow more


def icp(source: np.ndarray, target: np.ndarray, reach: float = REACH, updates: int = UPDATES) -> IcpResult:
    """Move source (n, 3) onto target (m, 3), starting from where they are; both finite.

    Round by round: each source point's partner is the nearest target point within `reach`; the rigid least squares of
    the pairs moves the source. It stops where fitness and rmse both change by less than 1e-6, or after `updates`
    motions.
    """
    source, target = np.asarray(source, np.float64), np.asarray(target, np.float64)
    if not len(source) or not len(target):
        return IcpResult(np.eye(4), 0.0, 0.0, 0, 0, "a cloud is empty")
    tree, total = make_tree(target), np.eye(4)
    moved, before, reason, done = source, None, "", 0
    while True:
        distance, partner = (np.asarray(each) for each in tree.query(moved, distance_upper_bound=reach))
        paired = np.isfinite(distance)
        fitness = float(paired.mean())
        rmse = float(np.sqrt(np.square(distance[paired]).mean())) if paired.any() else 0.0
        if before is not None and abs(before[0] - fitness) < STEADY and abs(before[1] - rmse) < STEADY:
            break
        if done == updates:
            break
        if not paired.any():
            reason = f"no point has a partner within {reach:g}"
            break
        before = (fitness, rmse)
        try:
            step = align(moved[paired], target[partner[paired]], with_scale=False)
        except InputError as error:
            reason = str(error)
            break
        total = _matrix(step) @ total
        moved = source @ total[:3, :3].T + total[:3, 3]
        done += 1
    return IcpResult(total, fitness, rmse, int(paired.sum()), done, reason)


def _matrix(motion: Similarity) -> np.ndarray:
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = motion.rotation, motion.translation
    return matrix
