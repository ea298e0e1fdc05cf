# SPDX-License-Identifier: Apache-2.0
"""The metrics kit and our own cases in its format pass; a golden that is a little off does not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import run
from test_conformance import kit

OWN = Path(__file__).resolve().parents[1] / "data" / "metrics"


def failed(folder: Path, capsys: pytest.CaptureFixture[str], *options: str) -> list[str]:
    """The lines that fail; the exit status says the same."""
    capsys.readouterr()
    status = run.main([str(folder), *options])
    lines = [line for line in capsys.readouterr().out.splitlines() if " FAIL" in line]
    assert status == (1 if lines else 0)
    return lines


@pytest.mark.parametrize("part", ["pose", "depth", "points"])
def test_our_own_cases(part: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not failed(OWN / part, capsys, "--strict")


@pytest.mark.parametrize(("part", "only"), [("pose", ""), ("depth", ""), ("focal", ""), ("points", "small")])
def test_the_kit(part: str, only: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert not failed(kit("metrics") / part, capsys, "--strict", *(("--only", only) if only else ()))


@pytest.mark.slow
def test_the_whole_kit(capsys: pytest.CaptureFixture[str]) -> None:
    assert not failed(kit("metrics"), capsys, "--strict")


def off(value: Any, share: float) -> Any:
    """The same numbers, all a little larger."""
    if isinstance(value, dict):
        return {key: off(each, share) for key, each in value.items()}
    if isinstance(value, list):
        return [off(each, share) for each in value]
    return value * (1 + share) if isinstance(value, float) else value


@pytest.mark.parametrize(
    ("part", "where", "share", "lines"),
    [
        ("pose", ("cases", "turns", "ate"), 3e-8, 1),
        ("pose", ("cases", "longer", "rpe_rot_deg_stats"), 3e-8, 6),
        ("pose", ("cases", "three", "sim3"), 3e-8, 3),
        ("depth", ("sequences", "open_x", "metric", "abs_rel"), 1e-4, 3),  # given fit, own resize, mean
        ("depth", ("sequences", "capped_x", "scale&shift", "shift"), 0.01, 5),  # four figures of the given fit too
        ("depth", ("scale_iterates", "open_x", "float64"), 1e-5, 5),  # steps 0 to 3, and step 0 with our own resize
        ("depth", ("extras", "open_x", "exact_lad_scale_shift", "mean_abs_error"), 1e-5, 1),
        ("points", ("cases", "walls", "result", "acc"), 2e-3, 1),
        ("points", ("cases", "walls", "icp", "icp_fitness"), 1e-4, 1),
        ("points", ("cases", "other", "gt_shift_z"), 1e-5, 1),
    ],
)
def test_a_golden_that_is_off_fails(
    part: str, where: tuple[str, ...], share: float, lines: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "anything"
    shutil.copytree(OWN / part, folder)
    path = folder / f"{part}_metrics.json"
    listing = json.loads(path.read_text())
    inner = listing
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = off(inner[where[-1]], share)
    path.write_text(json.dumps(listing))
    found = failed(folder, capsys)
    assert len(found) == lines, found


def test_a_figure_that_nobody_computes_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(OWN / "pose", tmp_path / "pose")
    path = tmp_path / "pose" / "pose_metrics.json"
    listing = json.loads(path.read_text())
    listing["cases"]["three"]["ate_elsewhere"] = 1.0
    path.write_text(json.dumps(listing))
    (line,) = failed(tmp_path / "pose", capsys)
    assert "does not compute" in line
