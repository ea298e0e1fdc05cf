# SPDX-License-Identifier: Apache-2.0
"""Which points of a take are exported: the surest, one a voxel, at most so many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longtake.errors import InputError
from longtake.outputs.ply import read_ply
from longtake.outputs.take import Take
from longtake.outputs.takefiles import CLOUD


@dataclass(frozen=True, slots=True)
class Points:
    """Points in world coordinates, in the order of the take."""

    places: np.ndarray  # (n, 3) float32
    colors: np.ndarray  # (n, 3) uint8 RGB
    confidence: np.ndarray  # (n,) float32
    frame: np.ndarray  # (n,) int64 number of the frame that each came from

    def __len__(self) -> int:
        return len(self.places)

    def take(self, chosen: np.ndarray) -> Points:
        """Return the points that an index or a mask chooses."""
        return Points(self.places[chosen], self.colors[chosen], self.confidence[chosen], self.frame[chosen])


def surest(confidence: np.ndarray, percent: float) -> np.ndarray:
    """Return a mask of the surest so many percent of (n,) values, in (0, 100]; ties stay, so it is never empty."""
    if percent >= 100 or not len(confidence):
        return np.ones(len(confidence), bool)
    rank = min(int(len(confidence) * (1 - percent / 100)), len(confidence) - 1)
    return confidence >= float(np.sort(confidence).item(rank))


def one_per_voxel(places: np.ndarray, confidence: np.ndarray, side: float) -> np.ndarray:
    """Return the positions, ascending, of the surest point of each cube of a side. Raises InputError if too small.

    A point that the take really has, not the mean of several: it keeps its colour and the frame that saw it.
    """
    if not len(places):
        return np.zeros(0, np.int64)
    cells = np.floor((places.astype(np.float64) - places.min(0)) / side)
    shape = cells.max(0) + 1
    if np.prod(shape) >= 2**62:
        raise InputError(f"voxels of {side:g} are too small for a cloud that is {shape.max() * side:g} wide.")
    keys = np.asarray(np.ravel_multi_index(tuple(cells.astype(np.int64).T), tuple(shape.astype(np.int64))))
    order = np.lexsort((-confidence, keys))
    first = np.ones(len(order), bool)
    first[1:] = keys[order][1:] != keys[order][:-1]
    return np.sort(order[first])


def select_points(
    take: Take, *, keep_percentile: float = 100.0, voxel: float | None = None, max_points: int | None = None
) -> Points:
    """Read the cloud of a take and choose from it.

    keep_percentile: the surest so many percent, in (0, 100]. voxel: side of a cube, in units of the take, of which only
    the surest point stays. max_points: of what is left, at most so many, evenly spread over the take.
    Only finite points of frames with a pose are chosen. Raises InputError.
    """
    if not 0 < keep_percentile <= 100:
        raise InputError(f"keep percentile {keep_percentile:g}: give more than 0 and at most 100 (all points).")
    if voxel is not None and not (np.isfinite(voxel) and voxel > 0):
        raise InputError(f"voxel {voxel:g}: give a length above 0, in {take.unit}.")
    if max_points is not None and max_points < 1:
        raise InputError(f"max points {max_points}: give a number of at least 1.")
    cloud = read_ply(take.folder / CLOUD)
    firsts = np.array([frame.points[0] for frame in take.frames] or [0])
    seen_by = np.clip(np.searchsorted(firsts, cloud.rows, side="right") - 1, 0, None)
    posed = np.zeros(max(len(take.frames), 1), bool)
    posed[[frame.number for frame in take.posed]] = True
    good = posed[seen_by] & np.isfinite(cloud.points).all(-1) & np.isfinite(cloud.confidence)
    places = cloud.points if take.similarity is None else take.similarity.points(cloud.points).astype(np.float32)
    points = Points(places, cloud.colors, cloud.confidence, seen_by).take(good)
    points = points.take(surest(points.confidence, keep_percentile))
    if voxel is not None:
        points = points.take(one_per_voxel(points.places, points.confidence, voxel))
    if max_points is not None and len(points) > max_points:
        points = points.take(np.linspace(0, len(points) - 1, max_points).astype(np.int64))
    return points
