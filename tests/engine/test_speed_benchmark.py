# SPDX-License-Identifier: Apache-2.0
"""The speed program runs, says what ran, and compares with another run of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "benchmarks" / "speed.py"
sys.path.insert(0, str(PROGRAM.parent))
import speed  # noqa: E402


def test_covered_time_counts_what_overlaps_once() -> None:
    assert speed.covered([(0, 1)]) == 1
    assert speed.covered([(2, 3), (0, 1), (0.5, 1)]) == 2 / 3
    assert speed.covered([(0, 4), (1, 2), (3, 6), (9, 10)]) == 0.7


def test_the_pipeline_is_measured_against_its_model() -> None:
    words = ["--frames", "6", "--device", "cpu", "--size", "64x48", "--rounds", "2"]
    clip = str(ROOT / "examples" / "office_walk.mp4")
    said = subprocess.run(
        [sys.executable, str(PROGRAM), *words, "--video", clip], capture_output=True, text=True, check=True
    )
    found = json.loads(said.stdout.strip().splitlines()[-1])
    assert found["video"] == "office_walk.mp4" and found["busy_share"] is None
    assert found["alone_fps"] > 0 and found["pipeline_fps"] > 0 and found["pipeline_share"] > 0.1


def speed_engine() -> str:
    from longtake.engine.packed import can_pack

    return "plain, packed" if can_pack() else "plain"


def test_one_configuration_against_another() -> None:
    few = [sys.executable, str(PROGRAM), "--frames", "4", "--device", "cpu", "--size", "64x48"]
    against = " ".join([*few, "--precision", "bf16"])
    said = subprocess.run([*few, "--streams", "2", "--against", against], capture_output=True, text=True, check=True)
    found = json.loads(said.stdout.strip().splitlines()[-1])
    assert (found["engine"], found["precision"], found["streams"], found["finite"]) == (
        speed_engine(),
        "float32",
        2,
        True,
    )
    assert found["fps"] > 0 and found["latency_p95_ms"] >= found["latency_p50_ms"] > 0
    assert set(found["parts_ms"]) == {"encoder", "memory", "heads"}
    mean = sum(found["against_fps"]) / 2
    assert found["ratio"] == pytest.approx(found["fps"] / mean, abs=1e-3, rel=0.01 / mean + 0.01 / found["fps"])
