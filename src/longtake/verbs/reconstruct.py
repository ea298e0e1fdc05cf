# SPDX-License-Identifier: Apache-2.0
"""`longtake reconstruct`: a source becomes a folder of results."""

from __future__ import annotations

import glob
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def main(  # noqa: PLR0913
    source: Annotated[Positional[str], arg(metavar="SOURCE")],
    *,
    out: Path | None = None,
    model: str = "longtake-small",
    weights: Path | None = None,
    rule: str | None = None,
    reset_every: int | Literal["auto"] | None = "auto",
    reset_when: str | None = None,
    join: Literal["exact", "scale", "sim3"] | None = None,
    loop_closure: bool = False,
    refine: bool = False,
    window: int | None = None,
    budget: int | None = None,
    camera: Literal["head", "solve"] = "head",
    intrinsics: tuple[float, float, float, float] | None = None,
    distortion: tuple[float, float, float, float, float] | None = None,
    lens: str | None = None,
    timestamps: Path | None = None,
    revise: bool = False,
    size: int | None = None,
    stride: int = 1,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    max_frames: int | None = None,
    device: str = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    seed: int = 0,
    state: Path | None = None,
    truth: Path | None = None,
    view: bool = False,
    port: int = 8080,
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
        reset_every: Start the memory over every so many frames; the poses are chained. auto is what is best for the
            model (16 frames for longtake-small), None is never.
        reset_when: Start the memory over by what is seen: spent:N (the rates have added up to N, 60 by default, and the
            confidence is down), cut, or spent:N+cut.
        join: How the chunks between resets meet: exact (as published), scale (same camera, its scale by depth) or sim3;
            by default scale for longtake-small, exact for the others.
        loop_closure: Recognise places that were seen before, and correct the poses by them at the end.
        refine: Let bundle adjustment follow: poses, depth and focal length are changed until the pictures of a window
            agree. Frames are written up to 20 later, and a frame takes some 0.2 s more of a processor.
        window: Full attention (vggt) reads at most so many frames at once, the first and the newest; by default all.
        budget: A cache (streamvggt) keeps the keys of so many frames at most; by default all.
        camera: Poses as the model says them (head), or solved from its points (solve, with the extra `solve`).
        intrinsics: Focal lengths and centre FX FY CX CY of the camera in pixels of the source, if they are known.
        distortion: With intrinsics: K1 K2 P1 P2 K3 of its lens as OpenCV has them, which is taken out of the frames
            first (with the extra `solve`). Give 0 for what is not known.
        lens: A file that holds all of this: COLMAP's cameras.txt or .bin, nerfstudio's transforms.json, ROS's
            camera_info or Kalibr's camchain as YAML, cameras.json of a take, or JSON with fx, fy, cx, cy, width,
            height, k1, ...; or exif: photos tell their focal length themselves.
        timestamps: A file with the frames' times, `TIME` or `TIME NAME` a line; by default the video's own.
        revise: Full attention (vggt, fast3r): write each frame as it was last said, which is later.
        size: Longer side of the image that the model sees, in pixels; by default the model's own.
        stride: Use every so many-th frame.
        fps: Use at most so many frames a second.
        start: Skip so many seconds.
        end: Stop at this second of the source.
        max_frames: Stop after so many frames.
        device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
        precision: Matrices are multiplied in float32, or in bf16, which is faster where the processor has it.
        seed: Seed of everything random.
        state: Save the memory here at the end, for `longtake localize` and for going on in Python.
        truth: A TUM file with the true camera path: the report then shows the error against time.
        view: Show the take in the browser while it grows, and stay until Ctrl-C. Only this machine can look.
        port: Port of the viewer; where it is taken, the next free one.
        json: Print one JSON object at the end, and nothing else, on stdout.
        quiet: Print errors and notes of damage only (with --json: and the object).
    """
    from longtake.verbs._camera import camera_options
    from longtake.verbs._take import Wishes, run_take

    return run_take(
        source,
        out or default_folder(source),
        Wishes(view=view, port=port, json=json, quiet=quiet),
        model=model,
        weights=weights,
        rule=rule,
        reset_every=reset_every,
        reset_when=reset_when,
        join=join,
        loop_closure=loop_closure,
        refine=refine,
        window=window,
        budget=budget,
        camera=camera,
        **camera_options(intrinsics, distortion, lens),
        timestamps=timestamps,
        revise=revise,
        size=size,
        stride=stride,
        fps=fps,
        start=start,
        end=end,
        max_frames=max_frames,
        device=device,
        precision=precision,
        seed=seed,
        state=state,
        truth=truth,
    )


def default_folder(source: str) -> Path:
    """Return out/NAME: of `walk.mp4`, `walk/` and `walk/*.png` alike, the name is walk."""
    path = Path(source)
    while glob.has_magic(path.name):
        path = path.parent
    return Path("out") / (path.resolve().stem or "take")
