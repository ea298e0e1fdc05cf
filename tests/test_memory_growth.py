# SPDX-License-Identifier: Apache-2.0
"""Constant memory: a take of any length needs no more than a short one, with video decoding and all outputs running."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from clips import write_clip
from model_files import our_file

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")

# In a process of its own, so that the memory of other tests is not counted.
MEASURE = """
import json, os, sys
import longtake
clip, weights, out = sys.argv[1:]
resident, state = [], set()
page = os.sysconf("SC_PAGE_SIZE")
def note(progress):
    with open("/proc/self/statm") as file:
        resident.append(int(file.read().split()[1]) * page)
    state.add(progress.state_bytes)
scene = longtake.reconstruct(clip, weights=weights, device="cpu", out=out, report=False, on_frame=note)
print(json.dumps({"resident": resident, "state": sorted(state), "peak": scene.summary["peak_bytes"]}))
"""


def _measure(folder: Path, frames: int) -> tuple[np.ndarray, list[int]]:
    """Return resident bytes after every frame, and the different sizes of the state."""
    clip = write_clip(folder / "long.mp4", frames, width=480, height=360)
    weights = our_file(folder / "tiny.safetensors")
    words = [sys.executable, "-c", MEASURE, str(clip), str(weights), str(folder / "out")]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    result = subprocess.run(words, capture_output=True, text=True, check=True, env=env)
    told = json.loads(result.stdout)
    assert len(told["resident"]) == frames
    assert told["peak"] > 0.95 * max(told["resident"])  # two counters of the kernel, neither exact
    return np.array(told["resident"], np.float64), told["state"]


def _growth(resident: np.ndarray, first: int, last: int) -> float:
    """Growth between two frames, each the median of the ten frames up to it: single pages come and go."""
    return float(np.median(resident[last - 10 : last]) / np.median(resident[first - 10 : first]) - 1)


def test_memory_stays_from_frame_50_to_250(tmp_path: Path) -> None:
    resident, state = _measure(tmp_path, 250)
    assert _growth(resident, 50, 250) < 0.01
    assert len(state) == 1


@pytest.mark.slow
def test_memory_stays_from_frame_200_to_1000(tmp_path: Path) -> None:
    resident, state = _measure(tmp_path, 1000)
    assert _growth(resident, 200, 1000) < 0.01
    assert resident[200:].max() < 1.02 * resident[199]
    assert len(state) == 1
