# SPDX-License-Identifier: Apache-2.0
"""Run every verb of an installed Longtake once and print, as JSON, how each ended. Run as a program, not imported.

    python wheel_verbs.py WORK_FOLDER VIDEO MODULE,MODULE,... RUN,RUN,...

The modules are not found, as if they were not installed; the runs are left out. Both may be empty.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any


class Hiding:
    """A finder of modules that does not find some: then nobody does, as where they are not installed."""

    def __init__(self, finder: Any, names: Sequence[str]) -> None:
        self.finder, self.names = finder, frozenset(names)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return None if name.partition(".")[0] in self.names else self.finder.find_spec(name, path, target)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.finder, name)


def runs(work: Path, video: str) -> list[tuple[str, list[str]]]:
    """What is run, in this order: a name, and the words of the command line. Later ones use what earlier ones left."""
    out, few = str(work / "out"), ["--max-frames", "2", "--quiet", "--device", "cpu"]
    take = ["reconstruct", video, *few]
    world, once = str(work / "world"), ["--max-steps", "1", "--held-out", "1"]
    little = ["--steps", "1", "--takes", "1", "--frames", "2", "--size", "64", "--max-stride", "1", "--hold-out", "0"]
    every = "ply,colmap,colmap-bin,nerfstudio,glb,splat,tum,kitti,euroc,png16,npz"
    return [
        ("reconstruct", [*take, "--out", out, "--state", str(work / "state.safetensors")]),
        ("export", ["export", out, "--format", every, "--quiet"]),
        ("export mesh", ["export", out, "--format", "mesh", "--quiet"]),
        ("export rrd", ["export", out, "--format", "rrd", "--quiet"]),
        ("replay", ["replay", out, "--source", video, "--quiet"]),
        ("reconstruct --camera solve", [*take, "--out", str(work / "solved"), "--camera", "solve"]),
        (
            "reconstruct --distortion",
            [*take, "--out", str(work / "straight"), "--intrinsics", "400", "400", "270", "180"]
            + ["--distortion", "-0.1", "0", "0", "0", "0"],
        ),
        ("reconstruct --lens YAML", [*take, "--out", str(work / "robot"), "--lens", str(work / "camera.yaml")]),
        ("reconstruct --loop-closure", [*take, "--out", str(work / "closed"), "--loop-closure"]),
        ("reconstruct --weights hub", [*take, "--out", str(work / "hub"), "--model", "vggt", "--weights", "hub"]),
        ("localize", ["localize", str(work / "state.safetensors"), str(work / "photo.png")]),
        ("live", ["live", "tcp://127.0.0.1:9", "--out", str(work / "live"), "--patience", "0", "--quiet"]),
        (
            "data synthesize",
            ["data", "synthesize", str(work / "world"), "--takes", "1", "--frames", "3", "--size", "64", "48"],
        ),
        ("data check", ["data", "check", f"{world}/take_00"]),
        ("compare", ["compare", video, "--max-frames", "2", "--size", "64", "--out", str(work / "compare")]),
        ("evaluate", ["evaluate", "rgbd", world, "--size", "64"]),
        (
            "train",
            ["train", "--out", str(work / "train"), "--curriculum", "toy", *once],
        ),
        ("finetune", ["finetune", f"{world}/take_00", "--out", str(work / "finetune"), *little]),
        ("convert", ["convert", str(work / "none.pth")]),
        ("models", ["models"]),
        ("rules", ["rules"]),
        ("completion", ["completion", "bash"]),
        ("doctor", ["doctor"]),
        # Where viser is there, `view` stays until Ctrl-C: then what it says of a take that is not.
        ("view", ["view", str(work / "none") if find_spec("viser") else out]),
        ("serve", ["serve", "--token", "short"]),
    ]


def main() -> None:
    work, video = Path(sys.argv[1]), sys.argv[2]
    absent, left_out = (words.split(",") for words in sys.argv[3:5])
    sys.meta_path[:] = [Hiding(finder, absent) for finder in sys.meta_path]
    from PIL import Image

    from longtake import cli

    Image.new("RGB", (96, 64), (90, 120, 150)).save(work / "photo.png")
    k = "camera_matrix: {data: [400, 0, 270, 0, 400, 180, 0, 0, 1]}"
    (work / "camera.yaml").write_text(f"{k}\ndistortion_coefficients: {{data: [-0.1, 0, 0, 0, 0]}}\n")
    ended = {"where": str(Path(cli.__file__).parent)}
    for name, words in runs(work, video):
        if name in left_out:
            continue
        out, err, begin = io.StringIO(), io.StringIO(), time.perf_counter()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            try:
                code: object = cli.main(words)
            except SystemExit as leaving:
                code = leaving.code
            except BaseException as error:  # what a user would see as a traceback
                code = f"{type(error).__name__}: {error}"
        ended[name] = [code, out.getvalue()[-3000:], err.getvalue()[-3000:], time.perf_counter() - begin]
    print(json.dumps(ended))


if __name__ == "__main__":
    main()
