# SPDX-License-Identifier: Apache-2.0
"""The Point3R cases: every run of a case.json against its goldens, counts of pointers and thresholds included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from conformance_half_rope import check_half_rope
from conformance_play import DENSE, HEAD_FIELDS
from conformance_report import DTYPES, FAIL, Report
from safetensors.torch import load_file
from torch import Tensor

from longtake.checkpoints.strict import load_strict
from longtake.families.point3r import Point3r, Point3rConfig
from longtake.families.point3r_keys import translate
from longtake.frame import Views
from longtake.memory.pointers import Memory, merge_distance

Run = dict[str, Any]  # an entry of case.json
Tensors = dict[str, Tensor]


def build(
    config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: str, *, merge: bool = True, half_rope: bool = False
) -> Point3r:
    """Make a model from the published constructor's values and an official state dict; loading is strict."""
    ours = replace(Point3rConfig.from_official(config), rounded_rope=half_rope)
    with torch.device("meta"):
        model = Point3r(ours if merge else replace(ours, merge_steps=None))
    load_strict(model, translate(weights), what="the case's weights into its configuration")
    return model.to(DTYPES[dtype]).eval()


@torch.no_grad()
def walk(model: Point3r, frames: Tensor, stride: int) -> tuple[Tensors, Tensors]:
    """Feed frames (V, 3, H, W) to one stream; return what has goldens, and what the debug files hold."""
    memory: Memory = {}
    views: dict[str, list[Tensor]] = {}
    made: Tensors = {"mem_init": model.memory.pose_memory.start[0]}
    debug: Tensors = {}
    counts, thresholds, fresh = [], [], []

    def keep(name: str, tensor: Tensor) -> None:
        views.setdefault(name, []).append(tensor[0])

    for i, frame in enumerate(frames):
        trace: dict[str, Any] = {}
        tokens = model.tokenize(Views(image=frame[None]))
        exchange = model.exchange(memory, tokens, trace=trace)
        heads = model.detokenize(exchange)
        after = model.commit(memory, exchange, heads)
        for name, ours in HEAD_FIELDS.items():
            value = getattr(heads, ours)
            if value is not None:
                keep(name, value[:, ::stride, ::stride] if name in DENSE else value)
        keep("pose_token_in", exchange.pose_token_in)
        keep("pose_token_out", exchange.layers[-1][:, 0])
        keep("global_img_feat", tokens.features.mean(1))
        keep("mem_after", after["pose_memory"])
        keep("patch_pos", after["patches"])
        if i == 0:
            made["pointer_init_feat"] = trace["memory"][0][0]
        else:
            thresholds.append(
                merge_distance(memory["positions"][0], after["patches"][0], model.config.merge_steps or 20)
            )
        made |= {f"pointer_pos.{i}": after["positions"][0], f"pointer_feat.{i}": after["tokens"][0]}
        debug |= {f"frame{i}.dec_mem.{layer}": tensor[0] for layer, tensor in enumerate(trace["memory"])}
        debug |= {f"frame{i}.dec_img.{layer}": tensor[0] for layer, tensor in enumerate(trace["image"])}
        debug |= {f"frame{i}.enc_feat": tokens.features[0]}
        debug |= {f"frame{i}.pos_img": trace["image_positions"][0], f"frame{i}.pos_mem": trace["memory_positions"][0]}
        counts.append(after["tokens"].shape[1])
        fresh.append(tokens.features.shape[1])
        memory = after
    added = [after - before for before, after in zip(counts, counts[1:], strict=False)]
    made |= {"count": torch.tensor(counts), "added": torch.tensor(added)}
    made["merged"] = torch.tensor([n - new for n, new in zip(fresh[1:], added, strict=True)])
    made["threshold"] = torch.stack(thresholds) if thresholds else torch.zeros(0)
    return made | {name: torch.stack(each) for name, each in views.items()}, debug


def numbers(about: Mapping[str, Any]) -> Tensors:
    """Return the goldens that the JSON keeps; counts are integers and must be equal."""
    named = {name: about[name] for name in ("count", "added", "merged", "threshold") if about.get(name)}
    kinds = {name: torch.float64 if name == "threshold" else torch.int64 for name in named}
    return {name: torch.tensor(value, dtype=kinds[name]) for name, value in named.items()}


class Point3rCase:
    """One folder with a case.json, in one precision."""

    def __init__(self, folder: Path, report: Report, dtype: str) -> None:
        self.folder, self.report, self.dtype = folder, report, dtype
        self.about = json.loads((folder / "case.json").read_text())
        self.weights = load_file(folder / "weights.safetensors")
        self.inputs = load_file(folder / "inputs.safetensors")

    def check(self, only: str | None = None) -> None:
        """Check all runs, or the one called `only`."""
        for run in self.about["runs"]:
            if only not in (None, run["name"]):
                continue
            if run["frames"] not in self.inputs:
                self.report.remark(self.folder.name, run["name"], "frames", FAIL, "no such input", self.dtype)
                continue
            made, debug = self._play(run, self.dtype, False, self.weights, run.get("pixel_stride", 1))
            golden = load_file(self.folder / run["file"]) | numbers(run)
            self.report.compare_all(self.folder.name, run["name"], self.dtype, made, golden, run.get("fp32_dev"))
            if run.get("debug_file"):
                golden = load_file(self.folder / run["debug_file"])
                self.report.compare_all(self.folder.name, f"{run['name']} debug", self.dtype, debug, golden)
            if run.get("half_rope_file"):
                self._check_half_rope(run)

    def _play(
        self, run: Run, dtype: str, rounded: bool, weights: Mapping[str, Tensor], stride: int
    ) -> tuple[Tensors, Tensors]:
        model = build(self.about["config"], weights, dtype, merge=run.get("merge", True), half_rope=rounded)
        return walk(model, self.inputs[run["frames"]][: run["n_views"]].to(DTYPES[dtype]), stride)

    def _check_half_rope(self, run: Run) -> None:
        stride = run.get("half_rope_pixel_stride", run.get("pixel_stride", 1))
        golden = load_file(self.folder / run["half_rope_file"])
        if run.get("half_rope_counts_equal"):
            golden |= {"count": numbers(run)["count"]}
        check_half_rope(
            self.report,
            self.folder.name,
            f"{run['name']} half rope",
            self.dtype,
            golden,
            run.get("half_rope_dev", {}),
            self.weights,
            lambda dtype, rounded, weights: self._play(run, dtype, rounded, weights, stride)[0],
        )
