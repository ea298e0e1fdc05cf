# SPDX-License-Identifier: Apache-2.0
"""The speed program runs, says what ran, and compares with another run of itself."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

PROGRAM = Path(__file__).parents[2] / "benchmarks" / "speed.py"


def test_one_configuration_against_another() -> None:
    few = [sys.executable, str(PROGRAM), "--frames", "4", "--device", "cpu", "--size", "64x48"]
    against = " ".join([*few, "--precision", "bf16"])
    said = subprocess.run([*few, "--streams", "2", "--against", against], capture_output=True, text=True, check=True)
    found = json.loads(said.stdout.strip().splitlines()[-1])
    assert (found["engine"], found["precision"], found["streams"], found["finite"]) == ("plain", "float32", 2, True)
    assert found["fps"] > 0 and found["latency_p95_ms"] >= found["latency_p50_ms"] > 0
    assert set(found["parts_ms"]) == {"encoder", "memory", "heads"}
    mean = sum(found["against_fps"]) / 2
    assert abs(found["ratio"] - found["fps"] / mean) < 2e-3
