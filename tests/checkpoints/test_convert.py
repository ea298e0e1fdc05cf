# SPDX-License-Identifier: Apache-2.0
"""Official files become our own: where they go, what is kept and noted, and what is refused before it is written."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

import pytest
import torch
from model_files import OFFICIAL, TEXT, module, official_file, official_weights, our_file
from safetensors.torch import save_file

from longtake import cli
from longtake.checkpoints import convert, read_any, read_metadata, read_safetensors, write_safetensors
from longtake.errors import CapabilityError, CheckpointError
from longtake.families.cut3r import Cut3rConfig

HEADS = {f"{part}_num_heads": 2 for part in ("enc", "dec", "state_dec", "ray_enc")}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return official_file(tmp_path / "w.pth")


def test_weights_and_configuration_arrive_bit_for_bit(file: Path) -> None:
    report = convert(file)
    assert report.out == file.with_suffix(".safetensors")
    tensors, metadata = read_safetensors(report.out, family="cut3r")
    expected = module(OFFICIAL).state_dict()
    assert tensors.keys() == expected.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.items())
    assert Cut3rConfig.from_dict(metadata["config"]) == OFFICIAL
    assert metadata["source"] == "w.pth"
    assert report.parameters == sum(tensor.numel() for tensor in expected.values())
    assert report.bytes == report.out.stat().st_size
    assert any("terms of their authors" in note for note in report.notes)


def test_where_the_new_file_goes(file: Path, tmp_path: Path) -> None:
    assert convert(file, tmp_path / "deep" / "x.safetensors").out == tmp_path / "deep" / "x.safetensors"
    assert convert(file, tmp_path / "deep").out == tmp_path / "deep" / "w.safetensors"
    plain = tmp_path / "plain.safetensors"
    save_file(official_weights(), plain)
    before = plain.read_bytes()
    assert convert(plain, overrides=HEADS).out == tmp_path / "plain.longtake.safetensors"
    assert plain.read_bytes() == before


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_precision_of_the_new_file(file: Path, dtype: torch.dtype) -> None:
    tensors, _ = read_safetensors(convert(file, dtype=dtype).out)
    assert {tensor.dtype for tensor in tensors.values()} == {dtype}
    assert {tensor.dtype for tensor in read_any(file.with_suffix(".safetensors")).tensors.values()} == {torch.float32}


def test_shapes_win_over_arguments_that_do_not_fit(tmp_path: Path) -> None:
    text = TEXT.replace("state_size=6", "state_size=768")
    report = convert(official_file(tmp_path / "w.pth", args=Namespace(model=text)))
    assert report.config["state_size"] == 6
    assert any("state_size: the arguments say 768, the shapes 6" in note for note in report.notes)


def test_weights_convert_where_the_arguments_are_lost(tmp_path: Path) -> None:
    path = official_file(tmp_path / "w.pth", args=7)
    with pytest.raises(CheckpointError, match="Say how many heads there are"):
        convert(path)
    report = convert(path, overrides=HEADS)
    assert Cut3rConfig.from_dict(report.config) == Cut3rConfig.from_dict(
        OFFICIAL.to_dict() | {"image_size": 224, "square_crop": True}  # the published model with this head
    )
    assert any("assumed the published values" in note for note in report.notes)


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("depth_mode=('exp', -inf, inf)", "depth_mode=('square', -inf, inf)", "depth_mode=.*is not supported"),
        ("img_size=(64, 64)", "img_size='large'", "do not describe a cut3r model"),
        ("img_size=(64, 64)", "img_size=()", "do not describe a cut3r model"),
        ("enc_num_heads=2", "enc_num_heads=2.5", "does not split 32 channels into heads"),
        ("enc_num_heads=2", "enc_num_heads=3", "does not split 32 channels into heads"),
    ],
)
def test_arguments_that_describe_no_model(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TEXT
    path = official_file(tmp_path / "w.pth", args=Namespace(model=TEXT.replace(old, new)))
    with pytest.raises(CheckpointError, match=said) as caught:
        convert(path)
    assert str(path) in str(caught.value)
    assert list(tmp_path.iterdir()) == [path]


def test_our_own_file_is_left_as_it_is(tmp_path: Path) -> None:
    path = our_file(tmp_path / "w.safetensors")
    with pytest.raises(CheckpointError, match="is a Longtake file already.*load it as it is"):
        convert(path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_family_of_a_later_version(tmp_path: Path) -> None:
    write_safetensors(tmp_path / "w.safetensors", {"a": torch.zeros(2)}, {}, "later")
    with pytest.raises(CapabilityError, match=r"holds later weights; this version of Longtake can run cut3r, dust3r"):
        read_any(tmp_path / "w.safetensors")


def test_the_verb(file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words: list[Any] = ["convert", str(file), str(tmp_path / "new.safetensors"), "--dtype", "bfloat16"]
    assert cli.main(words) == 0
    captured = capsys.readouterr()
    assert f"{tmp_path}/new.safetensors: cut3r, " in captured.out
    assert "note: the weights keep the terms of their authors" in captured.out
    assert read_metadata(tmp_path / "new.safetensors")["family"] == "cut3r"
    assert cli.main(["convert", str(tmp_path / "new.safetensors")]) == 2
    assert "is a Longtake file already" in capsys.readouterr().err
