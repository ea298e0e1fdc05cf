# SPDX-License-Identifier: Apache-2.0
"""VGGT's and StreamVGGT's weights: official files are read strictly, converted, and loaded by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from vggt_files import CONFIG, SIZES, module, official_file, official_weights

import longtake
from longtake.checkpoints import convert, read_metadata, write_safetensors
from longtake.checkpoints.infer_vggt import vggt_config
from longtake.errors import CapabilityError, CheckpointError
from longtake.families.streamvggt import StreamVggt
from longtake.families.vggt import Vggt
from longtake.families.vggt_config import VggtConfig
from longtake.families.vggt_keys import ours
from longtake.registry import MODELS

KEYS = Path(__file__).resolve().parents[3] / "shared" / "kit" / "fullattn" / "keys"


def test_names_lead_back_to_ours() -> None:
    expected = set(module().state_dict())
    found = {ours(name) for name in official_weights()}
    assert found == expected | {None}
    assert ours("something.else") == "something.else"


def test_the_tiny_files_names_are_official_ones() -> None:
    """The kit lists the official names: those of a tiny file are among them."""
    if not KEYS.is_dir():
        pytest.skip(f"no conformance kit at {KEYS}: the official names were not compared")
    official = set(json.loads((KEYS / "vggt_1b.keys.json").read_text()))
    assert set(official_weights()) <= official


@pytest.mark.parametrize("ending", [".pt", ".safetensors"])
def test_official_files_become_ours(tmp_path: Path, ending: str) -> None:
    path = tmp_path / f"model{ending}"
    if ending == ".pt":
        official_file(path)
    else:
        save_file(official_weights(), path)
    report = convert(path, tmp_path / "new.safetensors", overrides=SIZES)
    assert report.family == "vggt"
    assert VggtConfig.from_dict(report.config) == CONFIG
    assert any("look alike" in note for note in report.notes)
    assert read_metadata(report.out)["family"] == "vggt"
    for name, kind in (("vggt", Vggt), ("streamvggt", StreamVggt)):
        model = longtake.load(name, report.out, device="cpu")
        assert type(model.module) is kind
        assert model.config == replace(CONFIG, causal=kind is StreamVggt)
        for key, tensor in module().state_dict().items():
            assert torch.equal(model.module.state_dict()[key], tensor)


def test_without_sizes_the_published_ones_are_assumed_and_told(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"dpt_read=\(4, 11, 17, 23\)"):
        convert(official_file(tmp_path / "w.pt"))
    shapes = {name: tuple(tensor.shape) for name, tensor in official_weights().items()}
    config, notes = vggt_config(shapes, {"aggregator": {"depth": 9}} | SIZES)
    assert config["aggregator"] == {"depth": 4, "num_heads": 2}
    assert any("dino.num_heads=16" in note for note in vggt_config(shapes)[1])
    assert not any("dino.num_heads=16" in note for note in notes)


def test_the_official_shapes_are_the_official_configuration() -> None:
    if not KEYS.is_dir():
        pytest.skip(f"no conformance kit at {KEYS}: the official shapes were not read")
    for file in ("vggt_1b", "streamvggt"):
        config, _ = vggt_config(json.loads((KEYS / f"{file}.keys.json").read_text()))
        assert VggtConfig.from_official(config) == VggtConfig()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"camera_head.trunk.1.norm2.bias": None}, "1 missing in the file:\n  camera_head.trunk.1.norm2.bias"),
        ({"track_head.tracker.extra": torch.zeros(2)}, "1 left over.*\n  track_head.tracker.extra"),
        ({"point_head.norm.weight": torch.zeros(3)}, "point_head.pyramid.norm.weight: file .3., model .64."),
        ({"aggregator.camera_token": None}, "aggregator.camera_token is missing"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path: Path, change: dict, words: str) -> None:
    weights = {name: tensor for name, tensor in (official_weights() | change).items() if tensor is not None}
    with pytest.raises(CheckpointError, match=words):
        convert(official_file(tmp_path / "w.pt", weights), overrides=SIZES)


def test_a_file_that_says_it_is_causal_is_not_loaded_as_vggt(tmp_path: Path) -> None:
    config = replace(CONFIG, causal=True)
    write_safetensors(tmp_path / "w.safetensors", module().state_dict(), config.to_dict(), "vggt")
    with pytest.raises(CheckpointError, match="causal=True; vggt has causal=False"):
        longtake.load("vggt", tmp_path / "w.safetensors", device="cpu")
    assert longtake.load("streamvggt", tmp_path / "w.safetensors", device="cpu").config == config


def test_sizes_are_whole_patches_of_14(tmp_path: Path) -> None:
    path = convert(official_file(tmp_path / "w.pt"), overrides=SIZES).out
    with pytest.raises(CapabilityError, match="size 48: .* multiple of 14 pixels, such as 42"):
        longtake.load("vggt", path, size=48, device="cpu")
    model = longtake.load("vggt", path, size=28, device="cpu")
    assert model.config.image_size == 56  # of the stored positions
    assert model.stream().step(torch.zeros(40, 60, 3, dtype=torch.uint8).numpy()).depth.shape == (14, 28)
    with pytest.raises(CapabilityError, match="rounded_rope"):
        longtake.load("vggt", path, rounded_rope=True, device="cpu")


@pytest.mark.parametrize("name", ["vggt", "streamvggt"])
def test_the_table_has_the_published_sizes(name: str) -> None:
    assert MODELS[name].parameters == 1_256_537_516 - 1024  # the mask token, which nothing reads, is left out
