# SPDX-License-Identifier: Apache-2.0
"""Ten thousand frames: frame 10,000 runs the operators of frame 100, and needs no more memory than frame 1,000."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from model_files import our_file

# In a process of its own, so that the memory of other tests is not counted. Every output is written and on disk after
# each frame. A reset by trigger happens now and then, but not at the two frames whose operators are counted.
MEASURE = """
import json, os, sys
import numpy as np
import longtake
from longtake.outputs import Recorder
from torch.utils._python_dispatch import TorchDispatchMode
weights, out, frames, rule = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]

class Count(TorchDispatchMode):
    def __init__(self):
        super().__init__()
        self.seen = []
    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        shapes = [list(a.shape) for a in args if hasattr(a, "shape")]
        self.seen.append([str(func), shapes, list(getattr(result, "shape", []))])
        return result

wall = np.kron(np.random.default_rng(0).integers(0, 256, (8, 40, 3)), np.ones((8, 8, 1))).astype(np.uint8)
stream = longtake.load("longtake-small", weights, device="cpu").stream(rule, reset_when="spent:900:0.1", join="scale")
page, resident, counted, state = os.sysconf("SC_PAGE_SIZE"), [], {}, set()
with Recorder(out, report=False) as recorder:
    for t in range(1, frames + 1):
        at = int(120 * (1 + np.sin(t / 50)))
        picture = np.ascontiguousarray(wall[:, at : at + 64])
        if t in (100, frames):
            with Count() as count:
                recorder.add(stream.step(picture))
            counted[t] = count.seen
        else:
            recorder.add(stream.step(picture))
        with open("/proc/self/statm") as file:
            resident.append(int(file.read().split()[1]) * page)
        state.add(stream.state_bytes)
    print(json.dumps({"resident": resident, "state": sorted(state), "counted": list(counted.values())}))
"""


def measure(folder: Path, frames: int, rule: str) -> dict[str, list]:
    weights = our_file(folder / "tiny.safetensors")
    words = [sys.executable, "-c", MEASURE, str(weights), str(folder / "out"), str(frames), rule]
    env = os.environ | {"OMP_NUM_THREADS": "1"}
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True, env=env).stdout)


def check_operators(told: dict[str, list]) -> None:
    early, late = told["counted"]
    assert len(early) == len(late) > 200
    assert early == late, "names and shapes, in order"
    assert len(told["state"]) == 1


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
@pytest.mark.slow
def test_frame_ten_thousand_is_as_cheap_as_frame_one_thousand(tmp_path: Path) -> None:
    told = measure(tmp_path, 10_000, "filt3r")
    check_operators(told)
    early, late = (sum(told["resident"][b - n : b]) / n for b, n in ((1000, 100), (10_000, 1000)))
    print(f"resident {early / 1e6:.2f} MB, then {late / 1e6:.2f} MB; {len(told['counted'][0])} operators a frame")
    assert abs(late / early - 1) < 0.01


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="resident memory is read from /proc")
def test_frame_150_runs_the_operators_of_frame_100(tmp_path: Path) -> None:
    check_operators(measure(tmp_path, 150, "ttsa3r+memix+keyframe"))
