# SPDX-License-Identifier: Apache-2.0
"""Figures of a camera path. What has no answer is None with a reason; what has one only by convention says so."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from longtake.errors import InputError
from longtake.evaluation.benchmark.gathered import FrameResult
from longtake.evaluation.figures import align_similarity, pose_figures
from longtake.evaluation.metrics.trajectory import absolute_errors, relative_errors, rmse
from longtake.geometry.similarity import Similarity, align

NAMES = ("ate_sim3", "ate_se3", "ate_origin", "spread", "ate_over_spread", "rpe_trans", "rpe_rot_deg", "rot_deg",
         "rot_deg_identity", "translation_direction_deg")  # fmt: skip
Scored = tuple[dict[str, Any], dict[str, str]]


def score_path(frames: Sequence[FrameResult]) -> Scored:
    """Return (figures, reasons) of the frames that have a true pose; both name the same things."""
    truth = [frame for frame in frames if frame.true_pose is not None]
    figures: dict[str, Any] = dict.fromkeys(NAMES)
    figures |= {"poses_compared": len(truth), "poses_without_truth": len(frames) - len(truth)}
    if not truth:
        return figures, dict.fromkeys(NAMES, "no frame has a true pose that is finite")
    g = np.stack([frame.true_pose for frame in truth if frame.true_pose is not None])
    p = np.stack([frame.pose for frame in truth])
    reasons: dict[str, str] = {}
    base = pose_figures(p, g)
    figures |= {"spread": base.spread, "rot_deg": base.rotation, "rot_deg_identity": base.identity}
    figures |= {"translation_direction_deg": base.direction, "poses_lost": base.unusable}
    if len(truth) == 1:
        reasons |= dict.fromkeys(NAMES, "one pose: there is nothing to align and no motion")
        return figures | dict.fromkeys(NAMES) | {"spread": 0.0}, reasons
    if base.unusable:
        why = f"{base.unusable} predicted poses are not finite"
        figures |= dict.fromkeys(("ate_sim3", "ate_se3", "ate_origin"), base.spread)
        reasons |= dict.fromkeys(("ate_sim3", "ate_se3", "ate_origin"), f"{why}: scored as a camera that stands still")
        reasons |= dict.fromkeys(("rpe_trans", "rpe_rot_deg"), why)
    else:
        _aligned(p, g, figures, reasons)
    if base.spread:
        figures["ate_over_spread"] = figures["ate_sim3"] / base.spread
    else:
        still = "the true camera stands still"
        figures |= {"translation_direction_deg": None}
        reasons |= {"ate_over_spread": still, "translation_direction_deg": still}
    return {name: _number(value) for name, value in figures.items()}, reasons


def _aligned(p: np.ndarray, g: np.ndarray, figures: dict[str, Any], reasons: dict[str, str]) -> None:
    try:
        motion, rigid = (align(p[:, :3, 3], g[:, :3, 3], with_scale=scaled) for scaled in (True, False))
    except InputError as error:  # the published program stops here; the least squares still have a smallest error
        scale, turn, shift = align_similarity(p[:, :3, 3], g[:, :3, 3])
        motion = Similarity(scale, turn, shift)
        rigid = Similarity(1.0, turn, g[:, :3, 3].mean(0) - turn @ p[:, :3, 3].mean(0))
        why = f"{error}; the least error over all similarities is given, the published program refuses"
        reasons |= dict.fromkeys(("ate_sim3", "ate_se3", "rpe_trans", "rpe_rot_deg"), why)
    moved = motion.poses(p)
    trans, turns = relative_errors(moved, g, "none")
    figures |= {
        "ate_sim3": rmse(absolute_errors(moved, g, "none")),
        "ate_se3": rmse(absolute_errors(rigid.poses(p), g, "none")),
        "ate_origin": rmse(absolute_errors(p, g, "origin")),
        "rpe_trans": rmse(trans),
        "rpe_rot_deg": rmse(turns),
        "path_scale": motion.scale,
    }


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not np.isfinite(value) else value
