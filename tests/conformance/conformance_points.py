# SPDX-License-Identifier: Apache-2.0
"""Goldens of point clouds in the metrics kit (its section 3)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conformance_metrics import check
from conformance_report import Report

from longtake.evaluation.metrics.cloud_alignment import central_crop, fit_clouds
from longtake.evaluation.metrics.cloud_errors import cloud_errors, voxel_means
from longtake.evaluation.metrics.icp import REACH, icp
from longtake.evaluation.metrics.normals import estimate_normals
from longtake.geometry.pose import world_from_cam

MEANS = {"acc", "comp", "chamfer"}


def check_metrics_points(report: Report, folder: Path, only: str | None = None) -> None:
    """Check every case of a folder with a points_metrics.json."""
    listing = json.loads((folder / "points_metrics.json").read_text())
    for name, row in listing["cases"].items():
        if only in (None, folder.name, name):
            with np.load(folder / f"{name}.npz") as arrays, np.load(folder / f"{name}_check.npz") as golden:
                _Case(report, folder.name, name, row, listing).check(dict(arrays), dict(golden))


class _Case:
    """One pair of clouds."""

    def __init__(self, report: Report, folder: str, name: str, row: Mapping[str, Any], listing: Mapping[str, Any]):
        self.report, self.where, self.row, self.listing = report, (f"metrics/{folder}", name), row, listing

    def check(self, arrays: Mapping[str, np.ndarray], golden: Mapping[str, np.ndarray]) -> None:
        predicted, true, valid = clouds(arrays)
        world_from_first = arrays["gt_c2w"][0].astype(np.float64)
        fit = fit_clouds(predicted[valid], true[valid])
        for key, value in (
            ("gt_shift_z", fit.gt_shift),
            ("pred_shift_z", fit.pred_shift),
            ("gt_scale", fit.gt_scale),
            ("pred_scale", fit.pred_scale),
            ("applied_pred_multiplier", fit.multiplier),
        ):
            self.relative(key, value, self.row[key], 1e-6)
        rows, columns = central_crop(*valid.shape[1:])
        self.absolute("crop_rows", _ends(rows, valid.shape[1]), self.row["crop_rows"], 0)
        self.absolute("crop_cols", _ends(columns, valid.shape[2]), self.row["crop_cols"], 0)
        self.absolute("valid_pixels_full", valid.sum((1, 2)), self.row["valid_pixels_full"], 0)
        kept = np.zeros_like(valid)
        kept[:, rows, columns] = valid[:, rows, columns]
        p, g = (_moved(points[kept], world_from_first) for points in (fit.predicted(predicted), true))
        self.absolute("n_points_in_crop", len(p), self.row["n_points_in_crop"], 0)
        for side, cloud in (("pred", p), ("gt", g)):
            for key, how in (("mean", np.mean), ("std", np.std)):
                self.absolute(f"{side}_{key}", how(cloud, 0), self.row["cloud_before_icp"][f"{side}_{key}"], 1e-5)
        index = golden["index"]
        self.absolute("pred_before_icp", p[index], golden["pred_before_icp"], 1e-5)
        self.absolute("gt", g[index], golden["gt"], 1e-5)
        self.result("without_icp", p, g, self.row["without_icp"], (5e-5, 1e-4, 3e-4))
        moved = self.icp(p, g)
        self.absolute("pred_after_icp", moved[index], golden["pred_after_icp"], 2e-4)
        normals = self.result("result", moved, g, self.row["result"], (5e-4, 1e-3, 3e-4))
        for side, made in zip(("pred_normals", "gt_normals"), normals, strict=True):
            off = 1 - np.abs((made[index] * golden[side]).sum(-1))
            self.absolute(f"{side}, mean of 1 - |n n'|", off.mean(), 0, 3e-4)
        for key, wanted in self.row.items():
            if key.startswith("result_voxel_"):
                side = float(key.removeprefix("result_voxel_"))
                few, many = voxel_means(p, side), voxel_means(g, side)
                found = icp(few, many, self.listing["icp_threshold"]).target_from_source
                self.result(key, _moved(few, found), many, wanted, (1e-2, 1e-2, 1e-2))

    def icp(self, p: np.ndarray, g: np.ndarray) -> np.ndarray:
        found, golden = icp(p, g, self.listing.get("icp_threshold", REACH)), self.row["icp"]
        self.absolute("icp_transformation", found.target_from_source, golden["icp_transformation"], 2e-4)
        self.relative("icp_fitness", found.fitness, golden["icp_fitness"], 1e-5)
        self.relative("icp_inlier_rmse", found.rmse, golden["icp_inlier_rmse"], 2e-5)
        self.relative("icp_correspondences", found.correspondences, golden["icp_correspondences"], 1e-5)
        return _moved(p, found.target_from_source)

    def result(
        self, name: str, p: np.ndarray, g: np.ndarray, golden: Mapping[str, float], shares: tuple[float, float, float]
    ) -> tuple[np.ndarray, np.ndarray]:
        normals = estimate_normals(p), estimate_normals(g)
        errors = cloud_errors(p, g, *normals)
        made = asdict(errors) | {"nc": errors.nc, "nc_med": errors.nc_med, "chamfer": errors.chamfer}
        for key, wanted in golden.items():
            share = shares[2] if key.startswith("nc") else shares[0] if key in MEANS else shares[1]
            self.relative(f"{name} {key}", made[key], wanted, share)
        return normals

    def relative(self, name: str, made: Any, golden: Any, share: float) -> None:
        self.absolute(name, made, golden, share * abs(golden))

    def absolute(self, name: str, made: Any, golden: Any, allowed: float) -> None:
        check(self.report, (*self.where, name), made, golden, allowed)


def clouds(arrays: Mapping[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return predicted and true points (T, H, W, 3) in the first camera's frame, and the mask of true ones."""
    z = arrays["gt_depth_mm"].astype(np.float32) / 1000
    z = np.where((z > 10) | (z < 0.001), 0, z).astype(np.float64)
    k, v_u = arrays["intrinsics"].astype(np.float64), np.indices(z.shape[1:]).astype(np.float64)
    x, y = (v_u[1] - k[0, 2]) * z / k[0, 0], (v_u[0] - k[1, 2]) * z / k[1, 1]
    true = arrays["gt_c2w"].astype(np.float64)
    first_from_cam = np.linalg.inv(true[0]) @ true
    predicted = world_from_cam(torch.from_numpy(arrays["pred_pose"]).double()).numpy()
    own = arrays["pred_pts_self"].astype(np.float32).astype(np.float64)
    return _frames(own, predicted), _frames(np.stack([x, y, z], -1), first_from_cam), z > 0


def _frames(points: np.ndarray, motions: np.ndarray) -> np.ndarray:
    """Move maps (T, H, W, 3), each by its own motion (T, 4, 4)."""
    return np.stack([_moved(each, motion) for each, motion in zip(points, motions, strict=True)])


def _moved(points: np.ndarray, motion: np.ndarray) -> np.ndarray:
    return points @ motion[:3, :3].T + motion[:3, 3]


def _ends(part: slice, length: int) -> list[int]:
    chosen = range(length)[part]
    return [chosen[0], chosen[-1]]
