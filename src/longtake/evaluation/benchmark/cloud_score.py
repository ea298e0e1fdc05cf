# SPDX-License-Identifier: Apache-2.0
"""Figures of the point cloud, by the published alignment and crop; and both clouds, for pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from longtake.evaluation.benchmark.gathered import FrameResult, thinned
from longtake.evaluation.benchmark.path_score import Scored
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.evaluation.metrics.cloud_alignment import fit_clouds
from longtake.evaluation.metrics.cloud_errors import cloud_errors
from longtake.evaluation.metrics.icp import icp
from longtake.evaluation.metrics.normals import estimate_normals

NAMES = ("acc", "acc_med", "comp", "comp_med", "nc", "nc_med", "chamfer", "f_score")
FEWEST = 30  # points: a normal needs so many neighbours


@dataclass(frozen=True, slots=True)
class Clouds:
    """Predicted and true points in the true world, point by point of the same pixels."""

    predicted: np.ndarray  # (n, 3) after the alignment, not cropped
    true: np.ndarray  # (n, 3)
    colors: np.ndarray  # (n, 3) uint8
    seen_from: np.ndarray  # (n, 3) true camera centres
    poses: np.ndarray  # (t, 4, 4) true cameras
    path: np.ndarray  # (t, 3) predicted camera centres, moved as the points


def score_cloud(frames: Sequence[FrameResult], protocol: Protocol) -> tuple[Scored, Clouds | None]:
    """Return ((figures, reasons), clouds) of the frames with a true pose, a camera and a true depth."""
    used = [frame for frame in frames if frame.true_pose is not None and len(frame.cloud["true"])]
    nothing = dict.fromkeys(NAMES)

    def without(why: str) -> tuple[Scored, None]:
        return (nothing | {"cloud_points": 0}, dict.fromkeys(NAMES, why)), None

    if not used:
        return without("no frame has a true pose, a true depth and a camera matrix together")
    first = next(frame for frame in frames if frame.true_pose is not None)
    true_world_from_first = first.true_pose
    assert true_world_from_first is not None
    first_from_world = np.linalg.inv(true_world_from_first)
    # The predicted world is the first frame's camera; where that has no true pose, both sides start at the next one.
    restart = np.eye(4) if first is frames[0] else _inverse(first.pose)
    predicted = np.concatenate([_moved(frame.cloud["points"], restart @ frame.pose) for frame in used])
    places = [(frame.cloud["true"], frame.true_pose) for frame in used if frame.true_pose is not None]
    true = np.concatenate([_moved(points, first_from_world @ pose) for points, pose in places])
    centres = [np.tile(pose[:3, 3], (len(points), 1)) for points, pose in places]
    colors, central = (np.concatenate([frame.cloud[name] for frame in used]) for name in ("colors", "central"))
    usable = np.isfinite(predicted).all(-1)
    lost = int((~usable).sum())
    predicted, true, colors, central, seen_from = (
        values[usable] for values in (predicted, true, colors, central, np.concatenate(centres))
    )
    if central.sum() < FEWEST:
        return without(f"{int(central.sum())} points with a finite prediction; at least {FEWEST} are needed")
    fit = fit_clouds(predicted, true)
    if not fit.gt_scale > 0:
        return without("the true points lie in one place")
    p, g = (_moved(points, true_world_from_first) for points in (fit.predicted(predicted), true))
    few, few_true = thinned((p[central], g[central]), protocol.cloud_points)
    found = icp(few, few_true)
    moved = _moved(few, found.target_from_source)
    errors = cloud_errors(moved, few_true, estimate_normals(moved), estimate_normals(few_true))
    figures = {name: getattr(errors, name) for name in NAMES}
    figures |= {"cloud_points": len(moved), "cloud_points_lost": lost, "cloud_scale": fit.multiplier}
    figures |= {"icp_fitness": found.fitness, "icp_updates": found.updates}
    reasons = {"icp": found.reason} if found.reason else {}
    if lost:
        reasons["cloud_points_lost"] = f"{lost} points have no finite prediction and are left out of the cloud"
    poses = np.stack([frame.true_pose for frame in used if frame.true_pose is not None])
    aligned = found.target_from_source @ true_world_from_first
    path = _moved(fit.predicted(np.stack([(restart @ frame.pose)[:3, 3] for frame in used])), aligned)
    return (figures, reasons), Clouds(_moved(p, found.target_from_source), g, colors, seen_from, poses, path)


def _inverse(pose: np.ndarray) -> np.ndarray:
    """Return the inverse of a rigid motion; NaN stays NaN."""
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = pose[:3, :3].T, -pose[:3, :3].T @ pose[:3, 3]
    return out


def _moved(points: np.ndarray, motion: np.ndarray) -> np.ndarray:
    return np.asarray(points, np.float64) @ motion[:3, :3].T + motion[:3, 3]
