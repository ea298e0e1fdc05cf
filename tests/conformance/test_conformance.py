# SPDX-License-Identifier: Apache-2.0
"""The conformance runner: our own cases and the whole kit pass, and what is wrong does not."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import run
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from longtake.nn import attention
from longtake.nn.rope import RopeTable, rotate, rotate_rounded

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests" / "data" / "cut3r"
KITS = ROOT.parent / "shared" / "kit"
OFFICIAL = ("cut3r_512_dpt_4_64", "cut3r_224_linear_4", "point3r_512")
CASES = sorted(path.parent.name for path in DATA.glob("*/case.json"))


def kit(name: str) -> Path:
    folder = KITS / name
    if not folder.is_dir():
        pytest.skip(f"no conformance kit at {folder}: only the cases under tests/data are checked")
    return folder


@pytest.mark.parametrize("name", [*CASES, "postproc"])
def test_our_own_cases(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([str(DATA / name), "--strict"]) == 0
    table = capsys.readouterr().out
    assert " PASS" in table
    assert "FAIL" not in table


@pytest.mark.parametrize("part", ["postproc", "official", "cut3r_dpt_a", "cut3r_linear_a", "point3r_a"])
def test_the_recurrent_kit(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([str(kit("recurrent") / part)]) == 0
    table = capsys.readouterr().out
    assert "FAIL" not in table
    if part == "official":  # on the meta device
        found = dict(re.findall(r"official +(\w+) +keys +meta +PASS: (\d+) keys load strictly", table))
        lists = {name: json.loads((kit("recurrent") / part / f"{name}.keys.json").read_text()) for name in OFFICIAL}
        assert found == {name: str(len(keys)) for name, keys in lists.items()}


@pytest.mark.parametrize("part", ["postproc", "keys", "cases/fast3r_a", "cases/fast3r_b", "cases/fast3r_attnbias"])
def test_the_full_attention_kit(part: str) -> None:
    assert run.main([str(kit("fullattn") / part), "--strict"]) == 0


@pytest.mark.slow
def test_the_official_sizes() -> None:
    assert run.main([str(kit("recurrent") / "fullsize"), "--full"]) == 0


def test_folders_that_hold_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run.main([str(tmp_path)]) == 2
    assert "nothing in a kit's format" in capsys.readouterr().out
    assert run.main([str(DATA), "--only", "no such run"]) == 2
    assert "no such run" in capsys.readouterr().out


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A case that may be spoilt, under a name that nothing expects, cut down to one run."""
    folder = tmp_path / "anything" / "some case"
    shutil.copytree(DATA / CASES[0], folder)
    about = json.loads((folder / "case.json").read_text())
    about["runs"] = [entry for entry in about["runs"] if entry["name"] == "ttt3r_edges_L"]
    (folder / "case.json").write_text(json.dumps(about))
    return folder


def spoil(path: Path, change: Callable[[dict[str, Tensor]], object]) -> None:
    tensors = load_file(path)
    change(tensors)
    save_file(tensors, path)


def failures(folder: Path, capsys: pytest.CaptureFixture[str]) -> list[str]:
    """What fails in float64, which must be something."""
    capsys.readouterr()
    status = run.main([str(folder.parent), "--dtype", "float64"])
    lines = [line for line in capsys.readouterr().out.splitlines() if " FAIL" in line]
    assert status == (1 if lines else 0)
    return lines


def test_any_folder_under_any_name(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert not failures(copy, capsys)


@pytest.mark.parametrize("name", ["camera_pose", "pts3d_in_self_view", "state_after", "beta_applied", "mem_init"])
def test_a_golden_that_is_off_fails(copy: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    def off(tensors: dict[str, Tensor]) -> None:
        factor = 3e-6 if tensors[name].dtype == torch.float32 else 3e-9
        tensors[name] += factor * max(1.0, float(tensors[name].abs().max()))

    spoil(copy / "run_ttt3r_edges_L.safetensors", off)
    (line,) = failures(copy, capsys)
    assert name in line


def test_a_golden_that_is_not_computed_fails(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(copy / "run_ttt3r_edges_L.safetensors", lambda t: t.update(invented=torch.zeros(1)))
    (line,) = failures(copy, capsys)
    assert "does not compute" in line


def test_a_golden_of_another_shape_or_not_finite_fails(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def change(tensors: dict[str, Tensor]) -> None:
        tensors["conf"] = tensors["conf"][:, :1].clone()
        tensors["rgb"][0, 0, 0, 0] = torch.nan

    spoil(copy / "run_ttt3r_edges_L.safetensors", change)
    lines = failures(copy, capsys)
    assert ["conf" in lines[0], "rgb" in lines[1], len(lines)] == [True, True, 2]


def test_a_missing_weight_fails_and_is_named(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spoil(copy / "weights.safetensors", lambda t: t.pop("dec_norm.weight"))
    (line,) = failures(copy, capsys)
    assert "image_norm.weight" in line


@pytest.mark.parametrize("arch", ["to come", "unheard of"])
def test_families(copy: Path, arch: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(run, "FAMILIES_TO_COME", {"to come"})
    about = json.loads((copy / "case.json").read_text()) | {"arch": arch}
    (copy / "case.json").write_text(json.dumps(about))
    assert run.main([str(copy)]) == (0 if arch == "to come" else 1)
    assert run.main([str(copy), "--strict"]) == 1
    assert ("NOT BUILT" if arch == "to come" else "FAIL") in capsys.readouterr().out


# --- goldens with the half-precision rotation: any other rounding must fail, and never pass as noise ---


def half(x: Tensor) -> Tensor:
    return x.to(torch.float16)


def every_second_time() -> Callable[[Tensor, RopeTable], Tensor]:
    calls = iter(range(10**9))  # queries come first, keys second
    return lambda x, table: rotate_rounded(x, table) if next(calls) % 2 == 0 else rotate(x, table)


WRONG: dict[str, Callable[[Tensor, RopeTable], Tensor]] = {
    "no rounding": rotate,
    "rounded before only": lambda x, table: rotate(half(x).float(), table).to(x.dtype),
    "rounded after only": lambda x, table: half(rotate(x.float(), table)).to(x.dtype),
    "rotated in half": lambda x, table: rotate(half(x), table).to(x.dtype),
    "bfloat16": lambda x, table: rotate(x.bfloat16().float(), table).bfloat16().to(x.dtype),
    "queries only": every_second_time(),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("wrong", WRONG)
def test_other_roundings_fail(
    wrong: str, name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(attention, "rotate_rounded", WRONG[wrong])
    assert run.main([str(DATA / name), "--only", "cut3r_L"]) == 1
    lines = [line for line in capsys.readouterr().out.splitlines() if " half rope " in line]
    for dtype in ("float64", "float32"):
        assert any(f" {dtype}  " in line and " FAIL" in line for line in lines)
    # Which lines of float32 drown in its own noise depends on the processor; those of float64 never do.
    assert not [line for line in lines if " NOISE" in line and " float64  " in line]


@pytest.mark.parametrize("name", CASES)
def test_rounding_in_the_decoders_too_fails(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(attention, "rotate", rotate_rounded)
    assert run.main([str(DATA / name), "--only", "cut3r_L"]) == 1
    assert " half rope " in "".join(line for line in capsys.readouterr().out.splitlines() if " FAIL" in line)
