# SPDX-License-Identifier: Apache-2.0
"""Adapter files: what they say of themselves is data from anywhere, and is checked before it is used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from longtake.checkpoints import read_any, write_safetensors
from longtake.checkpoints.adapters import fold_adapters, tensors_hash
from longtake.errors import CheckpointError
from longtake.registry import SMALL


@pytest.mark.parametrize(
    ("about", "said"),
    [
        ("yes", "damaged"),
        ({"base": "longtake-small", "scale": 1.0}, "other weights"),
        ({"base": "../../../other"}, "damaged"),
        ({"base": ["longtake-small"]}, "damaged"),
    ],
    ids=["no object", "no hash", "a path", "a list"],
)
def test_what_a_file_says_of_itself_is_checked(about: Any, said: str, tmp_path: Path) -> None:
    write_safetensors(tmp_path / "a.safetensors", {"x": torch.zeros(1)}, SMALL.to_dict(), "cut3r", adapter=about)
    with pytest.raises(CheckpointError, match=said):
        read_any(tmp_path / "a.safetensors")


@pytest.mark.parametrize("scale", [None, "much", float("nan")])
def test_a_scale_that_is_no_number_is_refused(scale: Any) -> None:
    with pytest.raises(CheckpointError, match="damaged"):
        fold_adapters({}, {}, {"scale": scale, "base_sha256": tensors_hash({})}, "x")


def test_damaged_adapters_are_refused() -> None:
    base = {"a.weight": torch.zeros(3, 2)}
    about = {"scale": 2.0, "base_sha256": tensors_hash(base)}
    whole = {"a.lora_down": torch.ones(1, 2), "a.lora_up": torch.ones(3, 1)}
    assert torch.equal(fold_adapters(base, whole, about, "x")["a.weight"], torch.full((3, 2), 2.0))
    for name in whole:
        with pytest.raises(CheckpointError, match="damaged"):
            fold_adapters(base, {k: v for k, v in whole.items() if k != name}, about, "x")
