# SPDX-License-Identifier: Apache-2.0
"""The cases of tests/data/cut3r, as the twin and as the library's model."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from cut3r_twin import Twin
from safetensors.torch import load_file
from torch import Tensor

from longtake.checkpoints.strict import load_strict
from longtake.families.cut3r import Cut3r, Cut3rConfig
from longtake.families.cut3r_keys import translate

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "cut3r"
KIT = ROOT.parent / "shared" / "kit" / "recurrent"
NAMES = sorted(path.parent.name for path in DATA.glob("*/case.json"))


@dataclass(frozen=True)
class CaseFiles:
    """One folder in the kit's format."""

    folder: Path
    about: dict[str, Any]
    weights: dict[str, Tensor]
    inputs: dict[str, Tensor]

    def twin(self, *, half_rope: bool = False) -> Twin:
        """The plain twin, in float64."""
        return Twin(self.about["config"], self.weights, half_rope=half_rope)

    def model(self, dtype: torch.dtype = torch.float64, **changes: Any) -> Cut3r:
        """The library's model; changes: entries of its configuration."""
        config = Cut3rConfig.from_official(self.about["config"])
        with torch.device("meta"):
            model = Cut3r(replace(config, **({"rounded_rope": False} | changes)))
        load_strict(model, translate(self.weights), what=f"{self.folder.name} into its model")
        return model.to(dtype).eval().requires_grad_(False)


@cache
def read_case(folder: Path) -> CaseFiles:
    """Read a case's configuration, weights and inputs."""
    weights, inputs = (load_file(folder / f"{name}.safetensors") for name in ("weights", "inputs"))
    return CaseFiles(folder, json.loads((folder / "case.json").read_text()), weights, inputs)


def worst(actual: Tensor, expected: Tensor) -> float:
    """Largest deviation over the largest magnitude, after a check of the shapes."""
    assert actual.shape == expected.shape
    scale = float(expected.abs().max()) or 1.0
    return float((actual.double() - expected.double()).abs().max()) / scale
