# SPDX-License-Identifier: Apache-2.0
"""The VGGT and StreamVGGT cases of the full attention kit: batched passes, streams, tracks, and their key lists."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from conformance_report import DTYPES, FAIL, PASS, Report, Row, largest_error, scale_of
from safetensors.torch import load_file
from torch import Tensor

from longtake.checkpoints.strict import load_strict
from longtake.errors import CheckpointError
from longtake.families.streamvggt import StreamVggt
from longtake.families.vggt import Vggt, VggtOutputs
from longtake.families.vggt_config import VggtConfig
from longtake.families.vggt_keys import translate
from longtake.frame import Flags, Views
from longtake.geometry.pose_encoding import decode_camera

ARCHS: dict[str, type[Vggt]] = {"vggt": Vggt, "streamvggt": StreamVggt}
TRACKS = ("track", "track_list", "vis", "track_conf")  # these amplify rounding, says the kit


def build(arch: str, config: Mapping[str, Any], weights: Mapping[str, Tensor], dtype: str) -> Vggt:
    """Make a model from the kit's sizes and an official state dict; loading is strict."""
    with torch.device("meta"):
        model = ARCHS[arch](VggtConfig.from_official(config, causal=arch == "streamvggt"))
    load_strict(model, translate(weights), what="the case's weights into its configuration")
    return model.to(DTYPES[dtype]).eval()


class VggtCase:
    """One folder with a case.json, in one precision."""

    def __init__(self, folder: Path, report: Report, dtype: str) -> None:
        self.folder, self.report, self.dtype = folder, report, dtype
        self.about = json.loads((folder / "case.json").read_text())
        self.model = build(self.about["arch"], self.about["config"], load_file(folder / "weights.safetensors"), dtype)

    def check(self, only: str | None = None) -> None:
        """Check all inputs, or the one called `only`."""
        for entry in self.about["inputs"]:
            name = entry["name"]
            if only in (None, name):
                stored = load_file(self.folder / f"{name}.inputs.safetensors")
                golden = load_file(self.folder / f"{name}.outputs.safetensors")
                with torch.no_grad():
                    self._compare(name, self._run({k: t.to(DTYPES[self.dtype]) for k, t in stored.items()}), golden)

    def _run(self, inputs: Mapping[str, Tensor]) -> dict[str, Tensor]:
        images, points = inputs["images"], inputs.get("query_points")
        features = self.model.encode(images)
        said = self.model(images, all_layers=True)
        made = self._named(said, images, points)
        if self.about["arch"] == "vggt":
            made |= {f"aux.aggregated.{i}": layer for i, layer in said.layers.items()}
        else:
            made = {f"batch.{name}": tensor for name, tensor in made.items()}
            made |= {f"aux.batch.aggregated.{i}": layer for i, layer in said.layers.items()}
            if len(images) == 1:
                made |= self._streamed(images, points)
        return made | {"aux.dino_patchtokens": features.flatten(0, 1)}

    def _named(self, said: VggtOutputs, images: Tensor, points: Tensor | None) -> dict[str, Tensor]:
        """Give the outputs the kit's names."""
        size = (int(images.shape[-2]), int(images.shape[-1]))
        cam_from_world, intrinsics = decode_camera(said.pose_rounds[-1], *size)
        made = {
            "pose_enc": said.pose_rounds[-1],
            "pose_enc_list": said.pose_rounds,
            "extrinsics": cam_from_world[..., :3, :],
            "intrinsics": intrinsics,
            "depth": said.depth[..., None],
            "depth_conf": said.confidence,
            "world_points": said.points_world,
            "world_points_conf": said.confidence_world,
        }
        if points is not None:
            tracks, visible, sure = self.model.tracks(said.layers, size, points)
            made |= {"track": tracks[-1], "track_list": tracks, "vis": visible, "track_conf": sure}
        return made

    def _streamed(self, images: Tensor, points: Tensor | None) -> dict[str, Tensor]:
        """Frame by frame through the library's own exchange and commit."""
        model, size = self.model, (int(images.shape[-2]), int(images.shape[-1]))
        keep, state = model.writer(), model.begin(1)
        steps: list[dict[str, Tensor]] = []
        every = model.wanted
        for frame in images[0]:
            tokens = model.tokenize(Views(image=frame[None] * 2 - 1))
            reading = model.exchange(state, tokens, keep)
            said = model.outputs(reading.layers, size, reading.pose_rounds)
            steps.append(self._named(said, images, points))
            points = None if points is None else steps[-1]["track"][:, 0]  # as the official stream: what it said before
            steps[-1] |= {f"aux {i}": reading.layers[i] for i in every}
            state = model.commit(state, reading, keep, Flags.plain(1))
        axis = {"pose_enc_list": 2, "track_list": 2}
        made = {name: torch.cat([step[name] for step in steps], axis.get(name, 1)) for name in steps[0]}
        return {
            f"aux.stream.aggregated.{name[4:]}" if name.startswith("aux ") else f"stream.{name}": tensor
            for name, tensor in made.items()
        }

    def _compare(self, run: str, made: Mapping[str, Tensor], golden: Mapping[str, Tensor]) -> None:
        case = self.folder.name
        for name, wanted in golden.items():
            if name not in made:
                self.report.remark(case, run, name, FAIL, "a golden that this program does not compute", self.dtype)
            else:
                track = name.split(".")[-1] in TRACKS
                compare_mixed(self.report, case, run, name, self.dtype, made[name], wanted, allowed(self.dtype, track))


def allowed(dtype: str, track: bool) -> float:
    """The kit's pass rule for max |a - b| / (1 + |b|)."""
    if dtype == "float64":
        return 1e-5 if track else 1e-6
    return 5e-3 if track else 2e-4


def compare_mixed(
    report: Report, case: str, run: str, name: str, dtype: str, actual: Tensor, golden: Tensor, limit: float
) -> None:
    """Add the row of one tensor, judged by max |a - b| / (1 + |b|), which stands in the column of absolute errors."""
    if actual.shape != golden.shape:
        text = f"shape {tuple(actual.shape)}, the golden has {tuple(golden.shape)}"
        report.remark(case, run, name, FAIL, text, dtype)
        return
    a, b = actual.to(torch.float64), golden.to(torch.float64)
    mixed = torch.where((a == b) | (a.isnan() & b.isnan()), 0.0, (a - b).abs() / (1 + b.abs()))
    error = float(torch.where(mixed.isnan(), math.inf, mixed).max()) if mixed.numel() else 0.0
    status = PASS if error < limit else FAIL
    scale = scale_of(b)
    report.add(Row(case, run, name, dtype, status, error, largest_error(a, b) / scale if scale else error, limit))


def check_vggt_keys(report: Report, name: str, about: Mapping[str, Any], shapes: Mapping[str, list[int]]) -> None:
    """Load an official key list on the meta device, count its parameters, and see that misfits are refused."""
    arch = "streamvggt" if about["causal"] else "vggt"
    on_meta = {key: torch.empty(shape, device="meta") for key, shape in shapes.items()}
    model = build(arch, about["kit_config"], on_meta, "float32")
    report.remark("keys", name, "keys", PASS, f"{len(shapes)} keys load strictly", "meta")
    unread = sum(on_meta[key].numel() for key in shapes if not translate({key: on_meta[key]}))
    ours = sum(p.numel() for p in model.parameters()) + unread
    status = PASS if ours == about["parameters"] else FAIL
    text = f"{ours} parameters ({unread} that nothing reads included), the kit has {about['parameters']}"
    report.remark("keys", name, "count", status, text, "meta")
    key = "aggregator.frame_blocks.0.norm1.weight"
    misfits = {
        "missing key": {k: t for k, t in on_meta.items() if k != key},
        "left-over key": on_meta | {"aggregator.frame_blocks.999.norm1.weight": on_meta[key]},
        "wrong shape": on_meta | {key: torch.empty(7, device="meta")},
    }
    for misfit, tensors in misfits.items():
        try:
            build(arch, about["kit_config"], tensors, "float32")
        except CheckpointError as error:
            told = "frame_blocks.999" in str(error) or "frame_blocks.0.norm1" in str(error)
            text = "refused, and the key is named" if told else f"refused without naming the key: {error}"
            report.remark("keys", name, misfit, PASS if told else FAIL, text, "meta")
        else:
            report.remark("keys", name, misfit, FAIL, "was loaded without complaint", "meta")
