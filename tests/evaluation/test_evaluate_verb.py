# SPDX-License-Identifier: Apache-2.0
"""`longtake evaluate` from the outside: one command, tables, files, and a run that goes on where it stopped."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from evaluation_oracle import write_take
from model_files import our_file
from PIL import Image

from longtake import cli


@pytest.fixture
def words(tmp_path: Path) -> list[str]:
    """The command for two tiny takes and a tiny model."""
    for name in ("a", "b"):
        write_take(tmp_path / "takes" / name, frames=4, seed=ord(name), depth_every=2)
    weights = our_file(tmp_path / "w.safetensors")
    return [
        "evaluate",
        str(tmp_path / "takes"),
        "--weights",
        str(weights),
        "--device",
        "cpu",
        "--cache",
        str(tmp_path / "c"),
    ]


def test_tables_json_markdown_and_pictures(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    files = ["--json", str(out / "r.json"), "--markdown", str(out / "r.md"), "--pictures", str(out / "p")]
    assert cli.main([*words, *files]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("takes: 2 takes, 8 frames, seen at 64x48")
    rows = [tuple(line.split()[:2]) for line in lines[2:5]]
    assert rows == [("longtake-small", "overwrite"), ("longtake-small", "ttt3r"), ("untrained", "overwrite")]
    report = json.loads((out / "r.json").read_text())
    assert [(row["net"], row["rule"]) for row in report["rows"]] == rows
    assert [take["take"] for take in report["rows"][0]["takes"]] == ["a", "b"]
    trained, untrained = report["settings"]["nets"]
    assert trained["weights_sha256"] != untrained["weights_sha256"]
    assert f"{report['rows'][0]['summary']['abs_rel']:.3f}" in (out / "r.md").read_text()
    with Image.open(out / "p" / "takes.png") as picture:
        assert picture.width > 400


def test_finished_takes_are_not_run_again(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    quick = [*words, "--rules", "ttt3r", "--no-untrained"]
    assert cli.main([*quick, "--takes", "1"]) == 0
    (first,) = (tmp_path / "c").iterdir()
    record = json.loads(first.read_text())
    record["figures"]["depth"]["abs_rel"] = 0.123456  # a mark: it comes from the file and not from the model
    first.write_text(json.dumps(record))
    capsys.readouterr()
    assert cli.main([*quick, "--takes", "1"]) == 0
    assert " 0.123 " in capsys.readouterr().out
    assert cli.main(quick) == 0
    assert len(list((tmp_path / "c").iterdir())) == 2
    assert cli.main([*quick, "--takes", "1", "--fresh"]) == 0
    assert json.loads(first.read_text())["figures"]["depth"]["abs_rel"] != 0.123456


def test_check_fails_where_a_goal_is_missed(
    words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    quick = [*words, "--rules", "overwrite", "--no-untrained"]
    assert cli.main([*quick, "--check"]) == 0
    assert "no goals are set for these takes" in capsys.readouterr().out
    (tmp_path / "takes" / "a").rename(tmp_path / "takes" / "short_00")  # the frozen set's name for its short takes
    (tmp_path / "takes" / "b").rename(tmp_path / "takes" / "short_01")
    assert cli.main(quick) == 0
    assert "missed" not in capsys.readouterr().out
    assert cli.main([*quick, "--check"]) == 1  # random weights
    assert "missed: short: rotation_ratio is" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (["--rules", "overwrite,tttr3r"], "no update rule is called 'tttr3r'. Did you mean 'ttt3r'?"),
        (["--rules", " , "], "give one rule or more"),
        (["--batch", "0"], "a batch of at least 1"),
        (["--takes", "0"], "takes 0, frames None, stride 1: each must be at least 1"),
        (["--frames", "-1"], "frames -1"),
        (["--stride", "0"], "stride 0"),
        (["--model", "longtake-big"], "no model is called 'longtake-big'"),
        (["--device", "tpu"], "device 'tpu' is not known"),
        (["--reset-every", "0"], "reset_every=0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use(
    words: list[str], more: list[str], said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([*words, *more]) == 2
    captured = capsys.readouterr()
    assert said in captured.err
    assert not captured.out
    assert not (tmp_path / "c").exists()


def test_a_folder_without_takes(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "empty").mkdir()
    for folder in ("empty", "absent"):
        words[1] = str(tmp_path / folder)
        assert cli.main(words) == 2
        assert "a take folder holds rgb/, depth/" in capsys.readouterr().err
