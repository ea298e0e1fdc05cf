# SPDX-License-Identifier: Apache-2.0
"""`longtake reconstruct`: a source becomes a folder of results."""

from __future__ import annotations

import glob
import sys
from contextlib import nullcontext
from json import dumps
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

from longtake.errors import LongtakeError

if TYPE_CHECKING:
    from longtake.scene import Scene

CONTENTS = {
    "cloud.ply": "points with colour and confidence",
    "trajectory.txt": "camera path, TUM format",
    "cameras.json": "pose and intrinsics of every frame",
    "cameras.jsonl.part": "pose and intrinsics of every frame, one a line",
    "depth": "depth map of every frame, 16-bit PNG",
    "report.html": "open this first",
    "report.png": "the same as one picture",
    "manifest.json": "model, versions, seed, command, hashes",
}


def main(  # noqa: PLR0913
    source: Annotated[Positional[str], arg(metavar="SOURCE")],
    *,
    out: Path | None = None,
    model: str = "longtake-small",
    weights: Path | None = None,
    rule: str | None = None,
    reset_every: int | None = None,
    window: int | None = None,
    budget: int | None = None,
    camera: Literal["head", "solve"] = "head",
    intrinsics: tuple[float, float, float, float] | None = None,
    size: int | None = None,
    stride: int = 1,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    max_frames: int | None = None,
    device: str = "auto",
    seed: int = 0,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Reconstruct a video or a folder of images, frame by frame, in constant memory.

    Results are written as they come. Ctrl-C keeps what is done.

    Args:
        source: A video file, a folder of images, an image, or a glob in quotes.
        out: Folder for the results; by default out/NAME OF THE SOURCE.
        model: A name that `longtake models` lists.
        weights: Weight file, for models whose weights are not in the package; `hub` downloads the official one.
        rule: Update rule of a recurrent memory, by default ttt3r; `longtake rules` lists them.
        reset_every: Start the memory over every so many frames; the poses are chained.
        window: Full attention (vggt) reads at most so many frames at once, the first and the newest; by default all.
        budget: A cache (streamvggt) keeps the keys of so many frames at most; by default all.
        camera: Poses as the model says them (head), or solved from its points (solve, with the extra `solve`).
        intrinsics: Focal lengths and centre FX FY CX CY of the camera in pixels of the source, if they are known.
        size: Longer side of the image that the model sees, in pixels; by default the model's own.
        stride: Use every so many-th frame.
        fps: Use at most so many frames a second.
        start: Skip so many seconds.
        end: Stop at this second of the source.
        max_frames: Stop after so many frames.
        device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
        seed: Seed of everything random.
        json: Print one JSON object at the end, and nothing else, on stdout.
        quiet: Print errors and notes of damage only (with --json: and the object).
    """
    from longtake.geometry.camera import camera_matrix
    from longtake.scene import Interrupted, reconstruct
    from longtake.verbs._live import LiveLine

    folder = out or default_folder(source)
    stopped = False
    try:
        with nullcontext() if quiet else LiveLine() as line:
            scene = reconstruct(
                source,
                model=model,
                weights=weights,
                rule=rule,
                reset_every=reset_every,
                window=window,
                budget=budget,
                camera=camera,
                intrinsics=camera_matrix(*intrinsics) if intrinsics else None,
                out=folder,
                size=size,
                stride=stride,
                fps=fps,
                start=start,
                end=end,
                max_frames=max_frames,
                device=device,
                seed=seed,
                on_frame=line,
            )
    except Interrupted as interrupted:
        scene, stopped = interrupted.scene, True
        print(f"longtake: {interrupted}", file=sys.stderr)
    except LongtakeError as error:
        if json:
            print(dumps({"status": "failed", "error": str(error)}))
        raise
    if json:
        print(dumps(figures(scene)))
    elif not quiet:
        encoding = sys.stdout.encoding or "utf-8"  # which may not have every letter of a file's name
        print(account(scene).encode(encoding, "backslashreplace").decode(encoding))
    elif scene.notes:  # what is missing is never kept quiet
        print(*(f"longtake: note: {note}" for note in scene.notes), sep="\n", file=sys.stderr)
    return 130 if stopped else 0


def default_folder(source: str) -> Path:
    """Return out/NAME: of `walk.mp4`, `walk/` and `walk/*.png` alike, the name is walk."""
    path = Path(source)
    while glob.has_magic(path.name):
        path = path.parent
    return Path("out") / (path.resolve().stem or "take")


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
        "state_bytes": told["state_bytes"],
        "peak_bytes": told["peak_bytes"],
        "model": told["model"],
        "rule": told["rule"],
        "device": told["device"],
        "status": told["status"],
        "notes": list(scene.notes),
        "outputs": [str(scene.folder / name) for name in _names(scene)],
    }


def account(scene: Scene) -> str:
    """Return what people read at the end: figures, notes, and every file with its size."""
    from longtake.verbs._live import amount

    told = figures(scene)
    median = f", median {told['latency_p50_ms']:.0f} ms in the model" if told["frames"] else ""
    lines = [
        f"{told['frames']} frames in {told['seconds']:.1f} s: {told['fps']:.1f} frames/s{median} "
        f"({told['model']}, {told['rule']}, {told['device']})",
        f"{told['points']:,} points; {amount(told['state_bytes'])} kept between frames",
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
