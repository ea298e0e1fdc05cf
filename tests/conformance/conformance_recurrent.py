# SPDX-License-Identifier: Apache-2.0
"""The CUT3R and TTT3R cases: every run of a case.json, through the library's own loop body (`longtake.stream.absorb`)."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from conformance_postproc import post_process
from conformance_report import DTYPES, FAIL, Report, allowed_error, allowed_half_rope_error, scale_of
from safetensors.torch import load_file
from torch import Tensor

from longtake.checkpoints.strict import load_strict
from longtake.families.cut3r import STREAMING, Cut3r, Cut3rConfig
from longtake.families.cut3r_keys import translate
from longtake.frame import Exchange, Flags, Heads, Policy, State, Views
from longtake.geometry.pose import chain_poses
from longtake.memory.recurrent import state_positions
from longtake.rules import Overwrite, Rule, get_rule
from longtake.stream import absorb

PLAIN_FORWARD = Policy(restart_after_reset=False)
DENSE = {  # the kit's name -> ours
    "pts3d_in_self_view": "points_self",
    "conf_self": "confidence_self",
    "pts3d_in_other_view": "points_world",
    "conf": "confidence_world",
    "rgb": "color",
}
HEAD_FIELDS = DENSE | {"camera_pose": "pose"}


class WatchedOverwrite(Overwrite):
    """CUT3R's rule, with the statistic measured all the same: the kit reports beta_raw for every run."""

    wants_logit: ClassVar[bool] = True


def rule_named(update_type: str) -> Rule:
    """Return the rule for the kit's name of it."""
    return WatchedOverwrite() if update_type == "cut3r" else get_rule(update_type)


def build(config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: str, *, half_rope: bool = False) -> Cut3r:
    """Make a model from the published constructor's values and an official state dict; loading is strict."""
    with torch.device("meta"):
        model = Cut3r(replace(Cut3rConfig.from_official(config), rounded_rope=half_rope))
    load_strict(model, translate(weights), what="the case's weights into its configuration")
    return model.to(DTYPES[dtype]).eval()


@dataclass
class Recording:
    """What came out of each view, by the kit's names: one tensor per view, first axis the batch."""

    fields: dict[str, list[Tensor]] = field(default_factory=lambda: defaultdict(list))
    traces: list[dict[str, Any]] = field(default_factory=list)

    def heads(self, heads: Heads) -> None:
        for name, ours in HEAD_FIELDS.items():
            value = getattr(heads, ours)
            if value is not None:
                self.fields[name].append(value)

    def exchange(self, exchange: Exchange) -> None:
        self.fields["state_proposal"].append(exchange.proposal)
        self.fields["mem_proposal"].append(exchange.pose_memory)
        self.fields["pose_token_in"].append(exchange.pose_token_in)
        self.fields["pose_token_out"].append(exchange.layers[-1][:, 0])
        self.fields["global_img_feat"].append(exchange.layers[0].mean(1))
        assert exchange.stats.mean_logit is not None
        self.fields["beta_raw"].append(exchange.stats.mean_logit.sigmoid())

    def stacked(self, stride: int, *, batch: bool = False) -> dict[str, Tensor]:
        """Return the tensors as the kit stores them: views stacked, batch axis dropped, dense fields subsampled.

        Where view sizes differ, dense fields come as FIELD.i; both forms are given where both are possible.
        """
        out: dict[str, Tensor] = {}
        for name, views in self.fields.items():
            if name in DENSE:
                views = [view[:, ::stride, ::stride] for view in views]
            if not batch:
                views = [view[0] for view in views]
            if name in HEAD_FIELDS:
                out |= {f"{name}.{i}": view for i, view in enumerate(views)}
            if len({view.shape for view in views}) == 1:
                out[name] = torch.stack(views)
        return out


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
        for run in self.about["runs"]:
            if only in (None, run["name"]):
                self._check_run(run)

    def _check_run(self, run: dict[str, Any]) -> None:
        entry = run.get("entry", "recurrent")
        if entry == "forward":
            made = self._forward(run)
        elif entry == "recurrent":
            made = self._recurrent(run)
        elif entry == "ray_query":
            golden = load_file(self.folder / run["file"])
            made = self._ray_query(run, {name.split(".")[0] for name in golden if "." in name})
        else:
            return self._fail(run, "entry", f"{entry!r}; known are recurrent, ray_query and forward")
        golden = load_file(self.folder / run["file"])
        made = {name: self._fit(made[name], golden[name]) for name in golden if name in made}
        self.report.compare_all(self.folder.name, run["name"], self.dtype, made, golden, run.get("fp32_dev"))
        return None

    @staticmethod
    def _fit(made: Tensor, golden: Tensor) -> Tensor:
        """Drop the batch axis of a batch of one where the golden has none."""
        return made[:, 0] if made.ndim == golden.ndim + 1 and made.shape[1] == 1 else made

    def _fail(self, run: dict[str, Any], name: str, text: str) -> None:
        self.report.remark(self.folder.name, run["name"], name, FAIL, text, self.dtype)

    # --- what goes in ---

    def _frame(self, run: dict[str, Any], view: dict[str, Any]) -> Tensor | None:
        """Return the view's image (1, 3, H, W), or None."""
        if view.get("frame") is None:
            return None
        return self.inputs[view.get("seq") or run["frames"]][view["frame"]][None].to(DTYPES[self.dtype])

    def _rays(self, run: dict[str, Any], view: dict[str, Any]) -> Tensor | None:
        """Return the view's ray map (1, 6, H, W), or None."""
        if view.get("ray") is None:
            return None
        name = run.get("raymaps") or (view.get("seq") or run["frames"]).replace("frames", "raymaps")
        return self.inputs[name][view["ray"]][None].movedim(-1, 1).to(DTYPES[self.dtype])

    # --- the three entries ---

    def _recurrent(self, run: dict[str, Any]) -> dict[str, Tensor]:
        record, state = stream(self.model, self._views(run), rule_named(run["update_type"]))
        made = record.stacked(run.get("pixel_stride", 1)) | self._start(run["update_type"])
        if run.get("debug_file"):
            self._check_debug(run, record)
        if run.get("post_file"):
            self._check_post(run, record)
        if run.get("half_rope_file") and self.dtype == "float32":
            self._check_half_rope(run)
        return made

    def _views(self, run: dict[str, Any]) -> Iterable[tuple[Views, bool, bool]]:
        for view in run["views"]:
            views = Views(image=self._frame(run, view), rays=self._rays(run, view))
            yield views, view.get("update", True), view.get("reset", False)

    def _start(self, update_type: str) -> dict[str, Tensor]:
        with torch.no_grad():
            state = self.model.begin(1, rule_named(update_type))
        config = self.model.config
        positions = state_positions(config.state_size, config.state_layout)
        return {"state_init": state.tokens[0], "mem_init": state.pose_memory[0], "state_pos": positions}

    def _ray_query(self, run: dict[str, Any], queries: set[str]) -> dict[str, Tensor]:
        """Ask a state about unseen views. Query Xi reads ray map i of `raymaps_X`; the state must not move."""
        rule = rule_named(run.get("update_type", "cut3r"))
        _, state = stream(self.model, self._views(run), rule)
        stride = run.get("pixel_stride", 1)
        made = self._start("cut3r") | {"state_feat": state.tokens[0], "mem": state.pose_memory[0]}
        for query in sorted(queries):
            group, index = re.fullmatch(r"(.*?)(\d+)", query).groups()  # type: ignore[union-attr]
            rays = self.inputs[f"raymaps_{group}"][int(index)][None].movedim(-1, 1).to(DTYPES[self.dtype])
            record = Recording()
            with torch.no_grad():
                tokens = self.model.tokenize(Views(rays=rays))
                exchange = self.model.exchange(state, tokens, rule, recall=torch.ones(1, dtype=torch.bool))
                record.heads(self.model.detokenize(exchange))
            made |= {f"{query}.{name}": tensor[0] for name, tensor in record.stacked(stride).items()}
        return made

    def _forward(self, run: dict[str, Any]) -> dict[str, Tensor]:
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
                image, has_image = _batch([self._frame(run, view) for view in views])
                rays, has_rays = _batch([self._rays(run, view) for view in views])
                state = step(
                    self.model, state, Views(image, rays, has_image, has_rays), rule, flags, record, policy=policy
                )
        return record.stacked(run.get("pixel_stride", 1), batch=True) | self._start(run["update_type"])

    # --- what belongs to a recurrent run beside its goldens ---

    def _check_debug(self, run: dict[str, Any], record: Recording) -> None:
        made: dict[str, Tensor] = {}
        for i, trace in enumerate(record.traces):
            made |= {f"frame{i}.enc_feat": trace["image"][0][0], f"frame{i}.enc_pos": trace["positions"]}
            for kind, key in [("dec_state", "state"), ("dec_img", "image"), ("state_cross_logits_mean", "logits")]:
                made |= {f"frame{i}.{kind}.{layer}": tensor[0] for layer, tensor in enumerate(trace[key])}
        golden = load_file(self.folder / run["debug_file"])
        self.report.compare_all(self.folder.name, f"{run['name']} debug", self.dtype, made, golden)

    def _check_post(self, run: dict[str, Any], record: Recording) -> None:
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

    def _check_half_rope(self, run: dict[str, Any]) -> None:
        model = build(self.about["config"], self.weights, self.dtype, half_rope=True)
        record, _ = stream(model, self._views(run), rule_named(run["update_type"]))
        made = record.stacked(run.get("half_rope_pixel_stride", run.get("pixel_stride", 1)))
        made |= self._start(run["update_type"])
        for key, golden in load_file(self.folder / run["half_rope_file"]).items():
            if key not in made:
                self._fail(run, f"half rope {key}", "a golden that this program does not compute")
                continue
            accept = allowed_half_rope_error(golden, run.get("half_rope_dev", {}).get(key))
            name = f"{run['name']} half rope"
            self.report.compare(self.folder.name, name, key, self.dtype, made[key], golden, accept)


def stream(model: Cut3r, views: Iterable[tuple[Views, bool, bool]], rule: Rule) -> tuple[Recording, State]:
    """Feed (views, update, reset) one after the other to one stream; return what came out and the last state."""
    record = Recording()
    with torch.no_grad():
        state = model.begin(1, rule)
        for view, update, reset in views:
            state = step(model, state, view, rule, Flags.plain(1, update=update, reset=reset), record)
    return record, state


def step(
    model: Cut3r, state: State, views: Views, rule: Rule, flags: Flags, record: Recording, policy: Policy = STREAMING
) -> State:
    """Run the library's loop body once and record everything that the kit has goldens for."""
    tokens, trace = model.tokenize(views, policy), {}
    exchange, after = absorb(model, state, tokens, rule, flags, policy, trace=trace)
    record.exchange(exchange)
    record.heads(model.detokenize(exchange))
    record.traces.append(trace | {"positions": tokens.positions})
    kept = model.commit(state, exchange, rule, replace(flags, reset=torch.zeros_like(flags.reset)), policy)
    record.fields["beta_applied"].append(_measured_rate(state.tokens, kept.tokens, exchange.proposal))
    record.fields["state_after"].append(after.tokens)
    record.fields["mem_after"].append(after.pose_memory)
    return after


def _measured_rate(before: Tensor, after: Tensor, proposal: Tensor) -> Tensor:
    """Return how far along the way to the proposal each state token moved (n, S): measured, not asked of the rule."""
    before, after, direction = before.double(), after.double(), (proposal - before).double()
    length = direction.square().sum(-1)
    return ((after - before) * direction).sum(-1) / length.where(length > 0, torch.ones_like(length))


def _batch(parts: list[Tensor | None]) -> tuple[Tensor | None, Tensor]:
    """Stack the samples' inputs; absent ones become zeros that the mask covers. All absent: None."""
    present = torch.tensor([part is not None for part in parts])
    some = next((part for part in parts if part is not None), None)
    if some is None:
        return None, present
    return torch.cat([torch.zeros_like(some) if part is None else part for part in parts]), present


__all__ = ["Case", "allowed_error", "build", "rule_named", "scale_of", "stream"]
