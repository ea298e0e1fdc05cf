# SPDX-License-Identifier: Apache-2.0
"""Longtake's weight files: what goes in comes out, all or nothing, and other files are named for what they are."""

from __future__ import annotations

import json
import math
import resource
import struct
from pathlib import Path

import pytest
import torch
from checkpoint_files import official, weights
from safetensors.torch import save_file

from longtake.checkpoints import read_metadata, read_safetensors, write_safetensors
from longtake.errors import CheckpointError, OutputError

CONFIG = {
    "width": 8,
    "layers": [1, 2],
    "limits": ("exp", -math.inf, math.inf),
    "name": "x",
    "none": None,
    "nested": {"a": 1.5},
}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_safetensors(tmp_path / "w.safetensors", weights(), CONFIG, "cut3r", version="3", seed=7)
    return tmp_path / "w.safetensors"


def test_round_trip(file: Path) -> None:
    tensors, metadata = read_safetensors(file, family="cut3r")
    assert set(tensors) == set(weights())
    assert all(torch.equal(tensors[name], tensor) for name, tensor in weights().items())
    assert metadata == read_metadata(file)
    assert metadata["config"] == CONFIG | {"limits": ["exp", -math.inf, math.inf]}
    assert (metadata["family"], metadata["version"], metadata["seed"], metadata["format"]) == ("cut3r", "3", 7, 1)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int8, torch.bool])
def test_dtypes_views_and_odd_shapes(tmp_path: Path, dtype: torch.dtype) -> None:
    base = (torch.arange(24).reshape(4, 6) % 2).to(dtype)
    given = {
        "view": base[1:3, 2:],
        "turned": base.T,
        "whole": base,
        "scalar": base[0, 0],
        "empty": base[:0],
        "e2": base[:0],
    }
    write_safetensors(tmp_path / "f", given, {}, "cut3r")
    read, _ = read_safetensors(tmp_path / "f")
    assert all(read[name].dtype == dtype and torch.equal(read[name], tensor) for name, tensor in given.items())


def test_metadata_is_plain_json(file: Path) -> None:
    raw = file.read_bytes()
    (length,) = struct.unpack("<Q", raw[:8])
    text = json.loads(raw[8 : 8 + length])["__metadata__"]["longtake"]
    assert "Infinity" not in text
    assert json.loads(text)["config"]["limits"] == ["exp", "-inf", "inf"]


def test_replaces_all_or_nothing(file: Path) -> None:
    before = file.read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, limits[1]))  # stands in for a full disk
    try:
        with pytest.raises(OutputError, match="could not be written"):
            write_safetensors(file, {"big": torch.zeros(100_000)}, CONFIG, "cut3r")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert file.read_bytes() == before
    assert list(file.parent.iterdir()) == [file]
    write_safetensors(file, {"small": torch.zeros(1)}, CONFIG, "cut3r")
    assert list(read_safetensors(file)[0]) == ["small"]
    assert list(file.parent.iterdir()) == [file]


def test_others_may_read_it_as_any_new_file(file: Path) -> None:
    (file.parent / "plain").touch()
    assert file.stat().st_mode == (file.parent / "plain").stat().st_mode


def test_unwritable_place(file: Path) -> None:
    with pytest.raises(OutputError, match="could not be written"):
        write_safetensors(file / "below_a_file" / "w.safetensors", weights(), CONFIG, "cut3r")


def test_wrong_family_says_which_and_how(file: Path) -> None:
    with pytest.raises(CheckpointError, match=r"cut3r weights; vggt weights were wanted.*longtake models"):
        read_safetensors(file, family="vggt")


def test_missing_file_says_which_to_put_where(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"absent.safetensors: no such file. It should hold the small model"):
        read_safetensors(tmp_path / "absent.safetensors", wanted="the small model")


@pytest.mark.parametrize("kept", [1, 12, 100, -1])
def test_truncated(file: Path, kept: int) -> None:
    file.write_bytes(file.read_bytes()[:kept])
    with pytest.raises(CheckpointError, match="truncated|none of the formats"):
        read_safetensors(file)


def test_truncated_says_by_how_much(file: Path) -> None:
    whole = file.read_bytes()
    file.write_bytes(whole[:-10])
    with pytest.raises(CheckpointError, match=f"{len(whole) - 10} of {len(whole)} bytes"):
        read_safetensors(file)


def test_no_configuration(tmp_path: Path) -> None:
    save_file({"a": torch.zeros(1)}, tmp_path / "f.safetensors")
    with pytest.raises(CheckpointError, match=r"without Longtake's configuration.*longtake convert"):
        read_safetensors(tmp_path / "f.safetensors")
    save_file({"a": torch.zeros(1)}, tmp_path / "g.safetensors", metadata={"longtake": "{not json"})
    with pytest.raises(CheckpointError, match="without Longtake's configuration"):
        read_safetensors(tmp_path / "g.safetensors")


def test_newer_format(tmp_path: Path) -> None:
    text = json.dumps({"format": 99, "family": "cut3r", "config": {}})
    save_file({"a": torch.zeros(1)}, tmp_path / "f.safetensors", metadata={"longtake": text})
    with pytest.raises(CheckpointError, match="format 99.*Update Longtake"):
        read_safetensors(tmp_path / "f.safetensors")


def test_torch_file_points_to_convert(tmp_path: Path) -> None:
    torch.save(official(None), tmp_path / "f.pth")
    with pytest.raises(CheckpointError, match="longtake convert"):
        read_safetensors(tmp_path / "f.pth")


@pytest.mark.parametrize("header", [b"{", b"[1]", b'{"a": 3}', b'{"a": {"data_offsets": []}}', b"{" * 5000, b"\xff{"])
def test_damaged_header(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "f.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    with pytest.raises(CheckpointError, match="Download it again"):
        read_safetensors(tmp_path / "f.safetensors")
