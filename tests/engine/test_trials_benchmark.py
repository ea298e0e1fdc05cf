# SPDX-License-Identifier: Apache-2.0
"""The trials of the engine run through, keep what they found, and outlive a trial that fails."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "engine_trials.py"
sys.path.insert(0, str(PROGRAM.parent))
import engine_trials  # noqa: E402
import engine_trials_run  # noqa: E402

TINY = ["--tiny", "--device", "cpu"]


def run(out: Path, *words: str) -> tuple[dict[str, dict[str, object]], str]:
    command = [sys.executable, str(PROGRAM), *TINY, "--out", str(out), *words]
    said = subprocess.run(command, capture_output=True, text=True, check=False)
    assert said.returncode in (0, 1), said.stderr
    return {each["name"]: each for each in json.loads((out / "trials.json").read_text())["trials"]}, said.stdout


def test_trials_are_measured_and_printed(tmp_path: Path) -> None:
    found, words = run(tmp_path, "--only", "uncompiled,fp8", "--seconds", "900", "--frames", "200")
    first = found["uncompiled"]
    assert first["fps"] > 0 and first["latency_p95_ms"] >= first["latency_p50_ms"] > 0  # type: ignore[operator]
    assert set(first["parts_ms"]) == {"encoder", "memory", "heads"}  # type: ignore[call-overload]
    assert 0 < first["error_points"] < 0.05 and "lanes" in str(first["tuning"])  # type: ignore[operator]
    assert first["long"]["early"] == 100 < first["long"]["late"]  # type: ignore[index]
    assert found["fp8"]["precision"] == "fp8" and found["fp8"]["error_pose"] > 0  # type: ignore[operator]
    assert words.count("uncompiled") >= 2, "as it comes, and in the table"


def test_without_time_nothing_is_begun(tmp_path: Path) -> None:
    found, _ = run(tmp_path, "--only", "uncompiled,all", "--seconds", "0.2")
    assert all(set(each) <= {"name", "skipped", "failed"} for each in found.values()) and len(found) == 2


def test_a_trial_that_fails_is_said_and_the_next_one_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    wrong = engine_trials.Trial("wrong", {"attention": "none such"}, None)
    monkeypatch.setattr(engine_trials, "TRIALS", (wrong, engine_trials.Trial("right", {"ahead": True}, None)))
    until = time.time() + 900
    options = argparse.Namespace(only="wrong,right", until=until, device="cpu", tiny=True, frames=0)
    monkeypatch.setattr(engine_trials_run.Bench, "seconds", 0.1, raising=False)
    assert engine_trials.child(options) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "CapabilityError" in lines[1]["failed"] and lines[3]["name"] == "right" and lines[3]["fps"] > 0
    assert lines[3]["tuning"] == "ahead" and lines[3]["error_points"] < 0.05 and lines[3]["latency_p95_ms"] > 0
