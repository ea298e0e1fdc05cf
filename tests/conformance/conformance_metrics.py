# SPDX-License-Identifier: Apache-2.0
"""Goldens of the metrics kit: camera paths, PnP, and what the three measures share."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conformance_report import FAIL, Report

from longtake.errors import InputError
from longtake.evaluation.metrics import trajectory
from longtake.evaluation.metrics.association import associate
from longtake.geometry.similarity import align
from longtake.geometry.solve import solve_camera
from longtake.outputs.trajectory import read_tum

F64 = "float64"
ATE = {
    "ate": "sim3",
    "ate_se3": "se3",
    "ate_scale_only": "scale",
    "ate_origin": "origin",
    "ate_origin_scaled": "origin_scaled",
    "ate_none": "none",
}


def check(report: Report, where: tuple[str, str, str], made: Any, golden: Any, allowed: float) -> None:
    """Compare numbers or arrays in float64; `allowed` is absolute."""
    case, run, name = where
    a, g = (torch.as_tensor(np.asarray(value, np.float64)) for value in (made, golden))
    report.compare(case, run, name, F64, a, g, allowed)


def allowed_in_a_path(golden: Any) -> float:
    """Return 1e-8 of the golden; 1e-8 itself where it is but the rounding of the printed files (section 1)."""
    largest = float(np.abs(np.asarray(golden, np.float64)).max())
    return 1e-8 * (largest if largest > 1e-6 else 1.0)


def check_metrics_pose(report: Report, folder: Path) -> None:
    """Check every case of a folder with a pose_metrics.json."""
    listing = json.loads((folder / "pose_metrics.json").read_text())
    printed: dict[str, list[float]] = {}
    for name, row in listing["cases"].items():
        true, predicted = (read_tum(folder / f"{name}_{side}.txt") for side in ("gt", "pred"))
        pairs = associate(predicted.times, true.times)
        p, g = predicted.world_from_cam[pairs[:, 0]], true.world_from_cam[pairs[:, 1]]
        made = _path_figures(p, g) | {"n_gt": len(true.times), "n_pred": len(predicted.times), "n_matched": len(pairs)}
        made |= {"matches_pred_gt": pairs.tolist()}
        for key, golden in _flat(row).items():
            where = (f"metrics/{folder.name}", name, key)
            if key in ("status", "error", "error_type") or key.endswith("_error") or golden is None:
                continue
            if key not in made:
                report.remark(*where, FAIL, "a golden that this program does not compute", F64)
            else:
                check(report, where, made[key], golden, allowed_in_a_path(golden))
        refused = sum(key.endswith("_error") for key in row) + (row["status"] == "error")
        if refused:  # what the published program refuses, this one refuses too
            check(report, (f"metrics/{folder.name}", name, "refused"), _refused(p, g, row), refused, 0.0)
        else:
            for key in ("ate", "rpe_trans", "rpe_rot_deg"):
                printed.setdefault(key, []).append(round(made[key], 6))
    for key, values in printed.items():
        golden = listing.get("dataset_mean_over_ok_cases", {}).get(key)
        if golden is not None:
            check(report, (f"metrics/{folder.name}", "mean", key), np.mean(values), golden, 1e-9)


def _path_figures(p: np.ndarray, g: np.ndarray) -> dict[str, Any]:
    """Return all figures that the alignments allow."""
    out: dict[str, Any] = {}

    def attempt(compute: Callable[[], Mapping[str, Any]]) -> None:
        try:
            out.update(compute())
        except InputError:
            return  # counted by _refused

    for key, how in ATE.items():
        attempt(lambda key=key, how=how: {key: trajectory.rmse(trajectory.absolute_errors(p, g, how))})  # type: ignore[misc]
    attempt(lambda: {"final_drift_origin": trajectory.absolute_errors(p, g, "origin")[-1]})
    attempt(lambda: {"rpe_trans_se3": trajectory.rmse(trajectory.relative_errors(p, g, "se3")[0])})

    def sim3() -> dict[str, Any]:
        errors, (moved, turned) = trajectory.absolute_errors(p, g), trajectory.relative_errors(p, g)
        found = align(p[:, :3, 3], g[:, :3, 3])
        values = {"ate_error_per_frame": errors, "rpe_trans": trajectory.rmse(moved)}
        values |= {"rpe_rot_deg": trajectory.rmse(turned), "sim3.scale": found.scale}
        values |= {"sim3.rotation": found.rotation, "sim3.translation": found.translation}
        for name, each in (("ate", errors), ("rpe_trans", moved), ("rpe_rot_deg", turned)):
            values |= {f"{name}_stats.{key}": number for key, number in trajectory.statistics(each).items()}
        return values

    attempt(sim3)
    return out


def _refused(p: np.ndarray, g: np.ndarray, row: Mapping[str, Any]) -> int:
    """Count the figures with an error in the kit that raise InputError here."""
    count = 0
    names = [key.removesuffix("_error") for key in row if key.endswith("_error")]
    for how in [ATE[name] for name in names] + (["sim3"] if row["status"] == "error" else []):
        try:
            trajectory.absolute_errors(p, g, how)  # type: ignore[arg-type]
        except InputError:
            count += 1
    return count


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    """Write {"a": {"b": 1}} as {"a.b": 1}."""
    out: dict[str, Any] = {}
    for key, value in row.items():
        if isinstance(value, Mapping):
            out |= {f"{key}.{inner}": each for inner, each in value.items()}
        else:
            out[key] = value
    return out


def check_metrics_pnp(report: Report, folder: Path, listing: Mapping[str, Any]) -> None:
    """Check the camera from a pointmap: 0.5 degrees and 0.04 m from the refined one, 1e-4 where nothing is noisy."""
    with np.load(folder / "pnp_pointmaps.npz") as maps:
        for name, row in listing["cases"].items():
            points, mask = maps[f"{name}_pts_world"], maps[f"{name}_mask"]
            k = np.array([[row["focal"], 0, row["pp"][0]], [0, row["focal"], row["pp"][1]], [0, 0, 1]], np.float64)
            solved = solve_camera(points, k, mask)
            if solved.world_from_cam is None:
                report.remark(f"metrics/{folder.name}", f"pnp {name}", "pose", FAIL, solved.reason)
                continue
            found = solved.world_from_cam
            golden = np.asarray(row["refined_c2w"])
            turn = trajectory.rotation_angle(found[:3, :3].T @ golden[:3, :3])
            clean = row["ransac_inliers_5px"] == row["n_points"] and row["refined_vs_true_deg_m"][0] < 1e-4
            where = (f"metrics/{folder.name}", f"pnp {name}")
            check(report, (*where, "degrees"), turn, 0.0, 1e-4 if clean else 0.5)
            shift = np.linalg.norm(found[:3, 3] - golden[:3, 3])
            check(report, (*where, "metres"), shift, 0.0, 1e-4 if clean else 0.04)
