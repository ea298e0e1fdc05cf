# SPDX-License-Identifier: Apache-2.0
"""The Fast3R cases against their goldens, random frame numbers included; its geometry and its image loader."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from conformance_report import DTYPES, FAIL, NOTE, PASS, Report
from conformance_vggt import compare_mixed
from safetensors.torch import load_file
from torch import Tensor

from longtake.checkpoints.strict import load_strict
from longtake.families.fast3r import Fast3r, Fast3rConfig
from longtake.families.fast3r_keys import translate
from longtake.frame import Views
from longtake.geometry.alignment import align_maps, surest
from longtake.geometry.focal import focal_median, focal_weiszfeld
from longtake.geometry.rotation import angle_between
from longtake.geometry.solve import solve_camera
from longtake.memory.joint import draw_seed, frame_numbers
from longtake.tokenize.images import prepare

ALLOWED = {"float64": 1e-6, "float32": 2e-4}  # of |made - golden| / (1 + |golden|): the full-attention kit's pass rule


def build(config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: str) -> Fast3r:
    """Make a model from the kit's configuration and an official state dict; loading is strict."""
    with torch.device("meta"):
        model = Fast3r(Fast3rConfig.from_official(config))
    load_strict(model, translate(weights), what="the case's weights into its configuration")
    return model.to(DTYPES[dtype]).eval()


class Fast3rCase:
    """One folder with a case.json, in one precision."""

    def __init__(self, folder: Path, report: Report, dtype: str) -> None:
        self.folder, self.report, self.dtype = folder, report, dtype
        self.about = json.loads((folder / "case.json").read_text())
        self.model = build(self.about["config"], load_file(folder / "weights.safetensors"), dtype)

    def check(self, only: str | None = None) -> None:
        """Check all inputs, or the one called `only`."""
        for row in self.about["inputs"]:
            if only in (None, row["name"]):
                self._check_input(row)

    def _check_input(self, row: dict[str, Any]) -> None:
        name, case = row["name"], self.folder.name
        given = load_file(self.folder / f"{name}.inputs.safetensors")
        golden = load_file(self.folder / f"{name}.outputs.safetensors")
        images = [given[f"view{i}.img"].to(DTYPES[self.dtype]) for i in range(len(row["sizes"]))]
        numbers = given["image_ids"]
        seed = row.get("rng_seed")
        if seed is not None:
            torch.manual_seed(seed)
        drawn = frame_numbers(row["B"], len(images), None if seed is None else draw_seed())
        self.report.compare(case, name, "image_ids", self.dtype, drawn, numbers, 0.0)
        made = self._play(images, numbers)
        for key, wanted in golden.items():
            if key not in made:
                self.report.remark(case, name, key, FAIL, "a golden that this program does not compute", self.dtype)
                continue
            compare_mixed(self.report, case, name, key, self.dtype, made[key], wanted, ALLOWED[self.dtype])

    @torch.no_grad()
    def _play(self, images: list[Tensor], numbers: Tensor) -> dict[str, Tensor]:
        trace: dict[str, Any] = {}
        tokens = [self.model.tokenize(Views(image=image)) for image in images]
        read = self.model.memory.read(tokens, numbers, trace=trace)
        made = {f"aux.decoder.{i}": tensor for i, tensor in enumerate(trace["layers"][1:])}
        made["aux.encoder_tokens"] = trace["layers"][0]
        heads = self.model.heads
        for i, (layers, each) in enumerate(zip(read, tokens, strict=True)):
            # Before the own points are scaled to the world's units.
            made[f"view{i}.pts3d_local"], made[f"view{i}.conf_local"] = heads.maps(heads.own, layers, each.size)
            both = heads(layers, layers, each.size)
            made[f"view{i}.pts3d_in_other_view"], made[f"view{i}.conf"] = both.points_world, both.confidence_world
        return made


def check_fast3r_geometry(report: Report, path: Path, dtype: str) -> None:
    """Check focal length, solved poses, and own points laid over world points (section 6.4 of the kit)."""
    g = {name: tensor.to(DTYPES[dtype]) for name, tensor in load_file(path).items()}
    run, case = path.stem, path.parent.name

    def judge(name: str, made: Tensor, limit: float) -> None:
        compare_mixed(report, case, run, name, dtype, made, g[name], limit)

    first = g["view0.pts3d_in_other_view"]
    for percent in (10, 50):
        sure = surest(g["view0.conf"], 1 - percent / 100) > 0
        judge(f"estimate_focal_view0_pct{percent}", focal_weiszfeld(first, mask=sure, iterations=100), 1e-4)
    judge("focal_nomask_weiszfeld", focal_weiszfeld(first), 1e-4)
    judge("focal_nomask_median", focal_median(first), 1e-4)
    for i in range(4):
        own, world = g[f"view{i}.pts3d_local"], g[f"view{i}.pts3d_in_other_view"]
        scale, motion = align_maps(own, world, surest(g[f"view{i}.conf"]))
        judge(f"view{i}.align_s", scale, 1e-4)
        judge(f"view{i}.align_R", motion[0, :3, :3], 1e-4)
        judge(f"view{i}.align_t", motion[0, :3, 3], 1e-4)
        aligned = scale * own @ motion[0, :3, :3].T + motion[0, :3, 3]
        judge(f"view{i}.pts3d_local_aligned_to_global", aligned, 1e-4)
    local, sure = g["view0.pts3d_local_aligned_to_global"], surest(g["view0.conf_local"], 0.9) > 0
    _check_poses(report, case, run, dtype, g, "first_view_from_global_head", first, surest(g["view0.conf"], 0.9) > 0)
    _check_poses(report, case, run, dtype, g, "first_view_from_local_head", local, sure)
    report.remark(case, run, "individual", NOTE, "informative only: a coarse search for focal lengths; not compared")


def _check_poses(
    report: Report, case: str, run: str, dtype: str, g: dict[str, Tensor], kind: str, seen: Tensor, sure: Tensor
) -> None:
    """One focal length from the first view's points `seen`, then every view's pose: 0.05 degrees, 0.005 units."""
    f = focal_weiszfeld(seen, mask=sure, iterations=100)
    focals, poses = g[f"{kind}.focals"], g[f"{kind}.poses_c2w"]
    compare_mixed(report, case, run, f"{kind}.focals", dtype, f.expand_as(focals), focals, 1e-5)
    height, width = seen.shape[1:3]
    k = np.array([[float(f), 0, width / 2], [0, float(f), height / 2], [0, 0, 1]])
    for i, golden in enumerate(poses.double()):
        points, confidence = g[f"view{i}.pts3d_in_other_view"][0], g[f"view{i}.conf"][0]
        solved = solve_camera(points.numpy(), k, (confidence > 1).numpy())
        if solved.world_from_cam is None:
            report.remark(case, run, f"{kind}.poses_c2w.{i}", FAIL, solved.reason, dtype)
            continue
        made = torch.from_numpy(solved.world_from_cam)
        degrees = angle_between(made[:3, :3], golden[:3, :3])
        report.compare(case, run, f"{kind}.rotation.{i}", dtype, degrees, torch.zeros_like(degrees), 0.05)
        report.compare(case, run, f"{kind}.position.{i}", dtype, made[:3, 3], golden[:3, 3], 0.005)


def check_fast3r_images(report: Report, path: Path) -> None:
    """Check the image loader by whose rule streams prepare frames: SHA-256 of the result."""
    listing = json.loads(path.with_name("postproc.json").read_text())["preprocess"]
    with np.load(path) as stored:
        for row in listing:
            if not row["function"].startswith("fast3r"):
                continue
            name = f"{row['name']}.{row['index']}"
            if {"crop_to_landscape", "rotate_clockwise_90"} & set(row["kwargs"]):
                report.remark("postproc", "preprocess", name, NOTE, "a mode that streams do not use; not compared")
                continue
            size = row["kwargs"]["size"]
            made, _ = prepare(stored[f"{row['name']}.in{row['index']}"], size, short_side_crop=size == 224)
            planes = np.ascontiguousarray(made.transpose(2, 0, 1)[None])
            same = hashlib.sha256(planes.tobytes()).hexdigest() == row["sha256_u8"]
            text = "the SHA-256 is the kit's" if same else f"another SHA-256, shape {planes.shape}"
            report.remark("postproc", "preprocess", name, PASS if same else FAIL, text, "uint8")
