# SPDX-License-Identifier: Apache-2.0
"""VGGT and StreamVGGT pass the full attention kit, and what is wrong does not."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
import run
import torch
from safetensors.torch import load_file, save_file

from longtake.detokenize import dpt_uv, track_head
from longtake.memory import alternating

KIT = Path(__file__).resolve().parents[3] / "shared" / "kit" / "fullattn"
CASES = ("vggt_a", "vggt_b", "vggt_eps", "streamvggt_a", "streamvggt_b")
pytestmark = pytest.mark.skipif(not KIT.is_dir(), reason=f"no conformance kit at {KIT}: nothing was compared")


@pytest.mark.parametrize("case", CASES)
def test_every_case_passes_in_both_precisions(case: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([str(KIT / "cases" / case), "--strict"]) == 0
    table = capsys.readouterr().out
    passed = int(re.findall(r"(\d+) passed, 0 failed", table)[0])
    files = (KIT / "cases" / case).glob("*.outputs.safetensors")
    assert passed == 2 * sum(len(load_file(path)) for path in files)


@pytest.mark.parametrize("part", ["keys", "postproc"])
def test_keys_and_functions(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([str(KIT / part)]) == 0
    table = capsys.readouterr().out
    assert "FAIL" not in table
    wanted = {"keys": 2 * 5, "postproc": 2 * 10 + 3}
    assert len(re.findall(r"PASS", table)) >= wanted[part]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A case that may be spoilt, under a name that nothing expects, cut down to one input."""
    folder = tmp_path / "anything" / "some case"
    shutil.copytree(KIT / "cases" / "vggt_a", folder)
    about = json.loads((folder / "case.json").read_text())
    about["inputs"] = [entry for entry in about["inputs"] if entry["name"] == "in1"]
    (folder / "case.json").chmod(0o644)
    (folder / "case.json").write_text(json.dumps(about))
    return folder


def failures(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    capsys.readouterr()
    status = run.main([str(folder), "--dtype", "float64"])
    lines = [line for line in capsys.readouterr().out.splitlines() if " FAIL" in line]
    assert status == (1 if lines else 0)
    return lines


@pytest.mark.parametrize(("name", "off"), [("depth", 3e-6), ("pose_enc_list", 3e-6), ("track", 3e-5), ("vis", 3e-5)])
def test_a_golden_that_is_off_fails(copy: Path, name: str, off: float, capsys: pytest.CaptureFixture[str]) -> None:
    assert not failures(copy, capsys)
    path = copy / "in1.outputs.safetensors"
    tensors = load_file(path)
    tensors[name] = tensors[name] + off * (1 + tensors[name].abs())
    path.unlink()
    save_file(tensors, path)
    (line,) = failures(copy, capsys)
    assert f" {name} " in line


def test_a_golden_that_nobody_computes_fails(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = copy / "in1.outputs.safetensors"
    tensors = load_file(path) | {"invented": torch.zeros(1)}
    path.unlink()
    save_file(tensors, path)
    (line,) = failures(copy, capsys)
    assert "does not compute" in line


# A few plausible mistakes: each must fail, and only where it is.


def test_mistakes_fail(copy: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def from_zero(height: int, width: int, device: torch.device | str = "cpu") -> torch.Tensor:
        return real(height, width, device) - 1

    real = alternating.grid_positions
    with monkeypatch.context() as patch:
        patch.setattr(alternating, "grid_positions", from_zero)
        assert failures(copy, capsys)
    with monkeypatch.context() as patch:
        patch.setattr(dpt_uv, "add_uv", lambda x, size: x)
        assert failures(copy, capsys)
    with monkeypatch.context() as patch:
        patch.setattr(dpt_uv.ReluUnit, "forward", dpt_uv.ResidualUnit.forward)
        assert failures(copy, capsys)
    with monkeypatch.context() as patch:
        waves = track_head.Tracker._flow_waves
        patch.setattr(track_head.Tracker, "_flow_waves", lambda self, flow: waves(self, flow.flip(-1)))
        lines = failures(copy, capsys)
        assert lines
        assert all(re.search(r" (track|track_list|vis|track_conf) ", line) for line in lines)
