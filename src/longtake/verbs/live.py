# SPDX-License-Identifier: Apache-2.0
"""`longtake live`: a webcam, a stream, a pipe or the screen becomes a take while it runs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def main(  # noqa: PLR0913
    source: Annotated[Positional[str], arg(metavar="SOURCE")],
    *,
    out: Path | None = None,
    model: str = "longtake-small",
    weights: Path | None = None,
    rule: str = "ttt3r",
    reset_every: int | Literal["auto"] | None = "auto",
    reset_when: str | None = None,
    join: Literal["exact", "scale", "sim3"] | None = None,
    intrinsics: tuple[float, float, float, float] | None = None,
    distortion: tuple[float, float, float, float, float] | None = None,
    lens: Path | None = None,
    size: int | None = None,
    fps: float | None = None,
    seconds: float | None = None,
    max_frames: int | None = None,
    patience: float = 30.0,
    record: Path | None = None,
    device: str = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    seed: int = 0,
    view: bool = False,
    port: int = 8080,
    json: bool = False,
    quiet: bool = False,
) -> int:
    """Reconstruct a live source: always its newest frame, so that it never falls behind.

    Frames that the model has no time for are dropped. Ctrl-C ends the take and writes every output.

    Args:
        source: 0 (a webcam), /dev/video0, rtsp://..., http://..., tcp://..., udp://..., srt://..., - (standard input),
            screen, or screen:X,Y,WIDTHxHEIGHT.
        out: Folder for the results; by default out/live.
        model: A name that `longtake models` lists.
        weights: Weight file, for models whose weights are not in the package.
        rule: Update rule of the memory; `longtake rules` lists them.
        reset_every: Start the memory over every so many frames; the poses are chained. auto is what is best for the
            model (16 frames for longtake-small), None is never.
        reset_when: Start the memory over by what is seen: spent:N (the rates have added up to N, 60 by default, and the
            confidence is down), cut, or spent:N+cut.
        join: How the chunks between resets meet: exact (as published), scale (same camera, its scale by depth) or sim3;
            by default scale for longtake-small, exact for the others.
        intrinsics: Focal lengths and centre FX FY CX CY of the camera in pixels of the source, if they are known.
        distortion: With intrinsics: K1 K2 P1 P2 K3 of its lens as OpenCV has them, which is taken out of the frames
            first (with the extra `solve`). Give 0 for what is not known.
        lens: A file that holds all of this; see `longtake reconstruct --help`.
        size: Longer side of the image that the model sees, in pixels; by default the model's own.
        fps: Use at most so many frames a second.
        seconds: Stop so many seconds after the first frame.
        max_frames: Stop after so many frames.
        patience: Seconds to try to connect again where the stream breaks off; 0 ends the take at once.
        record: Keep the stream as it comes in this Matroska file (.mkv); each new connection begins another.
        device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
        precision: Matrices are multiplied in float32, or in bf16, which is faster where the processor has it.
        seed: Seed of everything random.
        view: Show the take in the browser while it grows, and stay until Ctrl-C. Only this machine can look.
        port: Port of the viewer; where it is taken, the next free one.
        json: Print one JSON object at the end, and nothing else, on stdout.
        quiet: Print errors and notes only (with --json: and the object).
    """
    from longtake.sources import LiveSource
    from longtake.sources.address import parse_address
    from longtake.sources.selection import Selection
    from longtake.verbs._camera import camera_options
    from longtake.verbs._take import Wishes, run_take

    selection = Selection(fps=fps, end=seconds, max_frames=max_frames)
    take = LiveSource(parse_address(source), selection=selection, patience=patience, record=record)
    return run_take(
        take,
        out or Path("out") / "live",
        Wishes(view=view, port=port, json=json, quiet=quiet),
        model=model,
        weights=weights,
        rule=rule,
        reset_every=reset_every,
        reset_when=reset_when,
        join=join,
        **camera_options(intrinsics, distortion, None if lens is None else str(lens)),
        size=size,
        device=device,
        precision=precision,
        seed=seed,
    )
