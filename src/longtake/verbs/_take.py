# SPDX-License-Identifier: Apache-2.0
"""What every verb that runs a take does around it: the line of progress, the viewer, the account at the end."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from dataclasses import dataclass
from json import dumps
from pathlib import Path
from typing import Any

from longtake.errors import LongtakeError
from longtake.outputs.size import HOW_SURE, in_metres
from longtake.scene import Interrupted, Scene, reconstruct
from longtake.sources import Source
from longtake.verbs._live import LiveLine, amount
from longtake.verbs._watch import Watch

CONTENTS = {
    "cloud.ply": "points with colour and confidence",
    "trajectory.txt": "camera path, TUM format",
    "trajectory_uncorrected.txt": "the same before loops were closed",
    "cameras.json": "pose and intrinsics of every frame",
    "cameras.jsonl.part": "pose and intrinsics of every frame, one a line",
    "depth": "depth map of every frame, 16-bit PNG",
    "confidence": "how sure the model is of every pixel, 16-bit PNG",
    "images": "what the model saw, JPEG",
    "report.html": "open this first",
    "report.png": "the same as one picture",
    "manifest.json": "model, versions, seed, command, hashes",
}


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the user wants to see of a running take."""

    view: bool
    port: int
    json: bool
    quiet: bool


def run_take(source: str | Source, folder: Path, wishes: Wishes, **options: Any) -> int:
    """Reconstruct into a folder, tell how it goes and what it left; return the exit code. Raises LongtakeError."""
    stopped = False
    with ExitStack() as stack:
        try:
            line = None if wishes.quiet else stack.enter_context(LiveLine())
            watch = stack.enter_context(Watch(folder, wishes.port, line)) if wishes.view else None
            scene = reconstruct(source, out=folder, on_frame=watch or line, **options)
        except Interrupted as interrupted:
            scene, stopped = interrupted.scene, True
            print(f"longtake: {interrupted}", file=sys.stderr)
        except LongtakeError as error:
            if wishes.json:
                print(dumps({"status": "failed", "error": str(error)}))
            raise
        if line is not None:
            line.stop()
        _tell(scene, wishes)
        if watch is not None and not stopped:
            watch.stay()
    return 130 if stopped else 0


def _tell(scene: Scene, wishes: Wishes) -> None:
    if wishes.json:
        print(dumps(figures(scene)), flush=True)
    elif not wishes.quiet:
        encoding = sys.stdout.encoding or "utf-8"  # which may not have every letter of a file's name
        print(account(scene).encode(encoding, "backslashreplace").decode(encoding), flush=True)
    elif scene.notes:  # what is missing is never kept quiet
        print(*(f"longtake: note: {note}" for note in scene.notes), sep="\n", file=sys.stderr)


def figures(scene: Scene) -> dict[str, Any]:
    """Return what --json prints. Bytes are bytes; peak_bytes is the device's on CUDA, else the process's."""
    told = scene.summary

    def milliseconds(seconds: float | None) -> float | None:
        return None if seconds is None else round(1000 * seconds, 2)

    return {
        "frames": told["frames"],
        "seconds": told["seconds"],
        "fps": told["fps"],
        "latency_p50_ms": milliseconds(told["latency_p50"]),
        "latency_p95_ms": milliseconds(told["latency_p95"]),
        "points": told["points"],
        "path_length": told["path_length"],
        "metres_per_unit": told["metres_per_unit"],
        "state_bytes": told["state_bytes"],
        "peak_bytes": told["peak_bytes"],
        "model": told["model"],
        "rule": told["rule"],
        "tracking": told["tracking"],
        "loop_closures": told.get("loop_closures"),
        "device": told["device"],
        "precision": told["precision"],
        "threads": told["threads"],
        "status": told["status"],
        "notes": list(scene.notes),
        "outputs": [str(scene.folder / name) for name in _names(scene)],
    }


def account(scene: Scene) -> str:
    """Return what people read at the end: figures, notes, and every file with its size."""
    told = figures(scene)
    median = f", median {told['latency_p50_ms']:.0f} ms in the model" if told["frames"] else ""
    closed = told.get("loop_closures")
    loops = "" if closed is None else f"; {closed} loop closures, poses {'corrected' if closed else 'as they were'}"
    threads = f", {told['threads']} threads" if told["threads"] else ""
    metres = told["metres_per_unit"]
    size = f", {in_metres(told['path_length'], metres)} ({HOW_SURE})" if metres else ""
    lines = [
        f"{told['frames']} frames in {told['seconds']:.1f} s: {told['fps']:.1f} frames/s{median} "
        f"({told['model']}, {told['rule']}, {told['device']}{threads}, {told['precision']})",
        f"{told['points']:,} points; {amount(told['state_bytes'])} kept between frames{loops}",
        *([f"path {told['path_length']:.3g} units{size}"] if size else []),
        *(f"note: {note}" for note in scene.notes),
        f"{scene.folder}/",
    ]
    for name in _names(scene):
        path = scene.folder / name
        files = list(path.iterdir()) if path.is_dir() else [path]
        size = amount(sum(file.stat().st_size for file in files))
        lines.append(f"  {name + '/' * path.is_dir():<18} {size:>9}  {CONTENTS.get(name, '')}".rstrip())
    return "\n".join(lines)


def _names(scene: Scene) -> list[str]:
    """Files and folders at the top of the take's folder, in the order they were written."""
    return list(dict.fromkeys(name.split("/")[0] for name in scene.summary["outputs"]))
