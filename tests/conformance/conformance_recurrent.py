# SPDX-License-Identifier: Apache-2.0
"""The CUT3R and TTT3R cases: every run of a case.json against its goldens."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from conformance_half_rope import check_half_rope
from conformance_play import Recording, build, rule_named, step, stream
from conformance_postproc import post_process
from conformance_report import DTYPES, FAIL, Report
from safetensors.torch import load_file
from torch import Tensor

from longtake.families.cut3r import Cut3r
from longtake.frame import Flags, Policy, Views
from longtake.geometry.pose import chain_poses
from longtake.memory.recurrent import state_positions

Run = dict[str, Any]  # an entry of case.json
PLAIN_FORWARD = Policy(restart_after_reset=False)


class Case:
    """One folder with a case.json, in one precision."""

    def __init__(self, folder: Path, report: Report, dtype: str) -> None:
        self.folder, self.report, self.dtype = folder, report, dtype
        self.about = json.loads((folder / "case.json").read_text())
        self.weights = load_file(folder / "weights.safetensors")
        self.inputs = load_file(folder / "inputs.safetensors")
        self.model = build(self.about["config"], self.weights, dtype)

    def check(self, only: str | None = None) -> None:
        """Check all runs, or the one called `only`."""
        entries = {"recurrent": self._recurrent, "ray_query": self._ray_query, "forward": self._forward}
        for run in self.about["runs"]:
            if only not in (None, run["name"]):
                continue
            entry = run.get("entry", "recurrent")
            if entry not in entries:
                text = f"{entry!r}; known are {', '.join(entries)}"
                self.report.remark(self.folder.name, run["name"], "entry", FAIL, text, self.dtype)
                continue
            golden = load_file(self.folder / run["file"])
            made = entries[entry](run, golden)
            fits = {name: _fit(made[name], golden[name]) for name in golden if name in made}
            self.report.compare_all(self.folder.name, run["name"], self.dtype, fits, golden, run.get("fp32_dev"))

    # --- what goes in ---

    def _frame(self, run: Run, view: Run, dtype: str) -> Tensor | None:
        """Return the view's image (1, 3, H, W), or None."""
        if view.get("frame") is None:
            return None
        return self.inputs[view.get("seq") or run["frames"]][view["frame"]][None].to(DTYPES[dtype])

    def _rays(self, run: Run, view: Run, dtype: str) -> Tensor | None:
        """Return the view's ray map (1, 6, H, W), or None."""
        if view.get("ray") is None:
            return None
        name = run.get("raymaps") or (view.get("seq") or run["frames"]).replace("frames", "raymaps")
        return self.inputs[name][view["ray"]][None].movedim(-1, 1).to(DTYPES[dtype])

    def _views(self, run: Run, dtype: str) -> Iterator[tuple[Views, bool, bool]]:
        for view in run["views"]:
            views = Views(image=self._frame(run, view, dtype), rays=self._rays(run, view, dtype))
            yield views, view.get("update", True), view.get("reset", False)

    # --- the three entries ---

    def _recurrent(self, run: Run, golden: Mapping[str, Tensor]) -> dict[str, Tensor]:
        record, _ = stream(self.model, self._views(run, self.dtype), rule_named(run["update_type"]))
        if run.get("debug_file"):
            self._check_debug(run, record)
        if run.get("post_file"):
            self._check_post(run, record)
        if run.get("half_rope_file"):
            self._check_half_rope(run)
        return record.stacked(run.get("pixel_stride", 1)) | _start(self.model)

    def _ray_query(self, run: Run, golden: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Ask a state about unseen views. Query Xi reads ray map i of `raymaps_X`; the state must not move."""
        rule = rule_named(run.get("update_type", "cut3r"))
        _, state = stream(self.model, self._views(run, self.dtype), rule)
        made = _start(self.model) | {"state_feat": state.tokens[0], "mem": state.pose_memory[0]}
        for query in sorted({name.split(".")[0] for name in golden if "." in name}):
            group, index = re.fullmatch(r"(.*?)(\d+)", query).groups()  # type: ignore[union-attr]
            rays = self.inputs[f"raymaps_{group}"][int(index)][None].movedim(-1, 1).to(DTYPES[self.dtype])
            record = Recording()
            with torch.no_grad():
                tokens = self.model.tokenize(Views(rays=rays))
                exchange = self.model.exchange(state, tokens, rule, recall=torch.ones(1, dtype=torch.bool))
                record.heads(self.model.detokenize(exchange))
            stored = record.stacked(run.get("pixel_stride", 1))
            made |= {f"{query}.{name}": tensor[0] for name, tensor in stored.items()}
        return made

    def _forward(self, run: Run, golden: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The published plain forward: the same loop under another policy (section 7.1)."""
        samples = run.get("batch_views") or [run["views"]]
        any_rays = any(view.get("ray") is not None for views in samples for view in views)
        policy = replace(PLAIN_FORWARD, fill_missing=any_rays)
        rule = rule_named(run["update_type"])
        record = Recording()
        with torch.no_grad():
            state = self.model.begin(len(samples), rule)
            for views in zip(*samples, strict=True):
                flags = Flags(
                    active=torch.ones(len(views), dtype=torch.bool),
                    update=torch.tensor([view.get("update", True) for view in views]),
                    reset=torch.tensor([view.get("reset", False) for view in views]),
                )
                image, has_image = _batch([self._frame(run, view, self.dtype) for view in views])
                rays, has_rays = _batch([self._rays(run, view, self.dtype) for view in views])
                given = Views(image, rays, has_image, has_rays)
                state = step(self.model, state, given, rule, flags, record, policy)
        return record.stacked(run.get("pixel_stride", 1), batch=True) | _start(self.model)

    # --- what belongs to a recurrent run beside its goldens ---

    def _check_debug(self, run: Run, record: Recording) -> None:
        made: dict[str, Tensor] = {}
        for i, trace in enumerate(record.traces):
            made |= {f"frame{i}.enc_feat": trace["image"][0][0], f"frame{i}.enc_pos": trace["positions"]}
            for kind, key in [("dec_state", "state"), ("dec_img", "image"), ("state_cross_logits_mean", "logits")]:
                made |= {f"frame{i}.{kind}.{layer}": tensor[0] for layer, tensor in enumerate(trace[key])}
        golden = load_file(self.folder / run["debug_file"])
        self.report.compare_all(self.folder.name, f"{run['name']} debug", self.dtype, made, golden)

    def _check_post(self, run: Run, record: Recording) -> None:
        fields, stride = record.stacked(1), run.get("pixel_stride", 1)
        reset = torch.tensor([view.get("reset", False) for view in run["views"]])
        world_from_cam, kept = chain_poses(fields["camera_pose"], reset)
        made = post_process(world_from_cam, fields["pts3d_in_self_view"][kept], fields["conf_self"][kept])
        made |= {name: made[name][:, ::stride, ::stride] for name in ("pts3d_world", "conf")}
        golden, name = load_file(self.folder / run["post_file"]), f"{run['name']} post"
        for key in [key for key in golden if key in ("focal", "intrinsics")]:  # ill-conditioned: section 13.5
            accept = 1e-11 if self.dtype == "float64" else 1e-3
            self.report.compare(self.folder.name, name, key, self.dtype, made[key], golden.pop(key), accept)
        self.report.compare_all(self.folder.name, name, self.dtype, made, golden)

    def _check_half_rope(self, run: Run) -> None:
        stride = run.get("half_rope_pixel_stride", run.get("pixel_stride", 1))

        def play(dtype: str, rounded: bool, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
            model = build(self.about["config"], weights, dtype, half_rope=rounded)
            record, _ = stream(model, self._views(run, dtype), rule_named(run["update_type"]))
            return record.stacked(stride) | _start(model)

        golden = load_file(self.folder / run["half_rope_file"])
        name, deviations = f"{run['name']} half rope", run.get("half_rope_dev", {})
        check_half_rope(self.report, self.folder.name, name, self.dtype, golden, deviations, self.weights, play)


def _start(model: Cut3r) -> dict[str, Tensor]:
    """What is there before the first view."""
    with torch.no_grad():
        state = model.begin(1, rule_named("cut3r"))
    positions = state_positions(model.config.state_size, model.config.state_layout)
    return {"state_init": state.tokens[0], "mem_init": state.pose_memory[0], "state_pos": positions}


def _fit(made: Tensor, golden: Tensor) -> Tensor:
    """Drop the batch axis of a batch of one where the golden has none."""
    return made[:, 0] if made.ndim == golden.ndim + 1 and made.shape[1] == 1 else made


def _batch(parts: list[Tensor | None]) -> tuple[Tensor | None, Tensor]:
    """Stack the samples' inputs; absent ones become zeros that the mask covers. All absent: None."""
    present = torch.tensor([part is not None for part in parts])
    some = next((part for part in parts if part is not None), None)
    if some is None:
        return None, present
    return torch.cat([torch.zeros_like(some) if part is None else part for part in parts]), present
