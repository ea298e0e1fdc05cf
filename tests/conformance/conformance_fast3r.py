# SPDX-License-Identifier: Apache-2.0
"""The Fast3R cases: every input of a case.json against its goldens, random frame numbers included."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from conformance_report import DTYPES, FAIL, Report
from safetensors.torch import load_file
from torch import Tensor

from longtake.checkpoints.strict import load_strict
from longtake.families.fast3r import Fast3r, Fast3rConfig
from longtake.families.fast3r_keys import translate
from longtake.frame import Views
from longtake.memory.joint import draw_seed, frame_numbers

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
            wide = wanted.double()
            if made[key].shape == wide.shape:
                error = (made[key].double() - wide) / (1 + wide.abs())
                self.report.compare(case, name, key, self.dtype, error, torch.zeros_like(error), ALLOWED[self.dtype])
            else:
                self.report.compare(case, name, key, self.dtype, made[key], wanted, 0.0)  # says which shapes

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
