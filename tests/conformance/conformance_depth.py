# SPDX-License-Identifier: Apache-2.0
"""Goldens of video depth in the metrics kit (its section 2), in the layers that its text names."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from conformance_metrics import check
from conformance_report import FAIL, Report

from longtake.evaluation.metrics import depth_exact, depth_published
from longtake.evaluation.metrics.cubic import resize_cubic
from longtake.evaluation.metrics.depth_errors import DepthErrors, depth_errors, pooled, valid_pixels

FIGURES = [name for name in DepthErrors.__slots__ if name != "valid_pixels"]
LOOSE = {"scale", "sq_rel", "delta1"}  # 1.5 % in the chaotic fit, all others 1 %
WRITTEN = ("valid_pixels", "scale", "shift", "scale_init")


def check_metrics_depth(report: Report, folder: Path) -> None:
    """Check every sequence of a folder with a depth_metrics.json."""
    listing = json.loads((folder / "depth_metrics.json").read_text())
    for name, row in listing["sequences"].items():
        _Sequence(report, folder, name, row, listing).check()
    for convention, row in listing.get("dataset_average", {}).items():
        members = [each for each in listing["sequences"].values() if each["convention"] == convention]
        for alignment, golden in row.items():
            made = pooled([DepthErrors(**{k: each[alignment][k] for k in DepthErrors.__slots__}) for each in members])
            for key, value in golden.items():
                where = (f"metrics/{folder.name}", f"{convention} mean", f"{alignment} {key}")
                check(report, where, made[key], value, 1e-6 * abs(value))
    for alignment, golden in listing.get("no_valid_pixels", {}).items():
        if isinstance(golden, Mapping):
            made = asdict(depth_errors(np.ones(0), np.ones(0)))
            for key, value in golden.items():
                check(report, (f"metrics/{folder.name}", "no valid pixels", f"{alignment} {key}"), made[key], value, 0)


class _Sequence:
    """One sequence: its valid pixels, once from the kit's resized prediction and once from our own resize."""

    def __init__(self, report: Report, folder: Path, name: str, row: Mapping[str, Any], listing: Mapping[str, Any]):
        self.report, self.case, self.name, self.row, self.listing = report, f"metrics/{folder.name}", name, row, listing
        about = listing["conventions"][row["convention"]]
        self.clip = about["clip_aligned_prediction_at"]
        with np.load(folder / f"{name}.npz") as arrays:
            self.resized, predicted = arrays["pred_resized"].astype(np.float64), arrays["pred"]
            if "gt" in arrays:
                true = arrays["gt"].astype(np.float64)
            else:
                divisor = re.search(r"/ *(\d+)", about["gt"])
                assert divisor is not None
                true = arrays["gt_raw"] / float(divisor[1])
        self.own = resize_cubic(predicted, true.shape[1:])
        mask = valid_pixels(true, about["max_depth"])
        self.g, self.p, self.p_own = true[mask], self.resized[mask], self.own[mask]

    def check(self) -> None:
        most = float(np.abs(self.resized).max())
        self.compare("resize", self.own, self.resized, max(1e-4, 1e-5 * most))
        for alignment in ("metric", "scale", "scale&shift"):
            golden = self.row[alignment]
            self.errors(f"{alignment}, given fit", self.p, (golden["scale"], golden["shift"]), golden, 1e-6)
            self.compare(f"{alignment} valid_pixels", len(self.g), golden["valid_pixels"], 0)
        self.errors("metric", self.p_own, (1.0, 0.0), self.row["metric"], 1e-6)
        self.published_scale()
        golden = self.row["scale&shift"]
        s, t = depth_published.scale_shift_adam(self.p_own, self.g)
        self.compare("scale&shift scale", s, golden["scale"], 1e-5 * abs(golden["scale"]))
        self.compare("scale&shift shift", t, golden["shift"], 5e-5)
        start = depth_published.scale_median(self.p_own, self.g)
        self.compare("scale&shift start", start, golden["scale_init"], 1e-6 * golden["scale_init"])
        self.errors("scale&shift", self.p_own, (s, t), golden, 2e-5)
        for alignment, golden in self.listing.get("float64", {}).get(self.name, {}).items():
            if alignment != "scale":  # chaotic: its layers are above
                fit = (1.0, 0.0) if alignment == "metric" else (s, t)
                self.errors(f"{alignment}, float64", self.p, fit, golden, 1e-6 if alignment == "metric" else 2e-5)
        self.extras()

    def published_scale(self) -> None:
        golden, steps = self.row["scale"], depth_published.scale_iterates(self.p, self.g)
        iterates = self.listing.get("scale_iterates", {}).get(self.name)
        if iterates is not None:
            for i in range(4):
                self.compare(f"scale step {i}", steps[i], iterates["float64"][i], 1e-7 * iterates["float64"][i])
            own = depth_published.scale_iterates(self.p_own, self.g)
            for i, share in ((0, 1e-6), (1, 3e-4)):
                wanted = iterates["float64"][i]
                self.compare(f"scale step {i}, own resize", own[i], wanted, share * wanted)
        s = depth_published.scale_irls(self.p_own, self.g)
        self.compare("scale scale", s, golden["scale"], 0.015 * golden["scale"])
        made = asdict(depth_errors(s * self.p_own, self.g, self.clip))
        for key in FIGURES:
            self.compare(f"scale {key}", made[key], golden[key], (0.015 if key in LOOSE else 0.01) * golden[key])

    def extras(self) -> None:
        for key, golden in self.listing.get("extras", {}).get(self.name, {}).items():
            if key == "median_scaling":
                fit = depth_published.scale_median(self.p, self.g), 0.0
            elif key == "lstsq_scale_shift":
                fit = depth_published.scale_shift_least_squares(self.p, self.g)
            elif key == "exact_lad_scale":
                fit = depth_exact.exact_scale(self.p, self.g), 0.0
            elif key == "exact_lad_scale_shift":
                fit = depth_exact.exact_scale_shift(self.p, self.g)
            else:
                self.report.remark(self.case, self.name, key, FAIL, "a golden that this program does not compute")
                continue
            exact = key.startswith("exact")
            share = 1e-4 if exact else 1e-5
            self.compare(f"{key} scale", fit[0], golden["scale"], share * abs(golden["scale"]))
            self.compare(f"{key} shift", fit[1], golden.get("shift", 0.0), share * max(1, abs(golden.get("shift", 0))))
            if exact:
                wanted = golden["mean_abs_error"]
                error = np.abs(fit[0] * self.p + fit[1] - self.g).mean()
                self.compare(f"{key} error", error, wanted, 1e-6 * wanted)
            else:
                self.errors(key, self.p, fit, golden, 2e-5)

    def errors(
        self, name: str, p: np.ndarray, fit: tuple[float, float], golden: Mapping[str, float], share: float
    ) -> None:
        made = asdict(depth_errors(fit[0] * p + fit[1], self.g, self.clip))
        for key in FIGURES:
            one_pixel = 1 / max(len(self.g), 1) if key.startswith("delta") else 0.0
            self.compare(f"{name} {key}", made[key], golden[key], share * abs(golden[key]) + one_pixel)

    def compare(self, name: str, made: Any, golden: Any, allowed: float) -> None:
        check(self.report, (self.case, self.name, name), made, golden, allowed)
