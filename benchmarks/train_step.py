# SPDX-License-Identifier: Apache-2.0
"""How fast a training step is: one line a shape, with the time to compile and capture it.

    python benchmarks/train_step.py --shapes 512x2x128x160,64x16x128x160 --json step.json

A shape is takes x frames x height x width, and x window for gradients through so many frames at a time. `render` is the
drawing alone, `step` everything (drawing, forward, backward) without the optimiser. Times are medians over replays, by
device events on a GPU.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch

from longtake.families.cut3r import Cut3r
from longtake.registry import SMALL
from longtake.synthetic.config import WorldConfig
from longtake.training.flat import FlatParameters
from longtake.training.losses import LossWeights
from longtake.training.shapes import Shape
from longtake.training.step import Learner, Step
from longtake.training.windows import draw_takes

SHAPES = "512x2x128x160,128x8x128x160,64x16x128x160,16x32x192x240"


def milliseconds(work: Callable[[], object], repeats: int, device: torch.device) -> float:
    """Return the median time of `work`."""
    times = []
    for _ in range(repeats):
        if device.type == "cuda":
            begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            begin.record()
            work()
            end.record()
            torch.cuda.synchronize()
            times.append(begin.elapsed_time(end))
        else:
            start = time.perf_counter()
            work()
            times.append(1000 * (time.perf_counter() - start))
    return statistics.median(times)


def main() -> None:
    """Build, capture, time."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--shapes", default=SHAPES)
    parser.add_argument("--repeats", type=int, default=10)
    parser.add_argument("--compiled", action="store_true", help="torch.compile the blocks and the loss")
    parser.add_argument("--profile", action="store_true", help="also print the device time of the largest kernels")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    gpu = device.type == "cuda"
    torch.manual_seed(0)
    learner = Learner(Cut3r(SMALL)).to(device)
    flat = FlatParameters([learner])
    if options.compiled:
        learner.compile_parts()
    pool = torch.cuda.graph_pool_handle() if gpu else None
    rows = []
    print(
        f"{'takes x frames x size':>24} {'build s':>8} {'render ms':>10} {'step ms':>8} {'frames/s':>9} {'GiB':>6}",
        flush=True,
    )
    for text in options.shapes.split(","):
        shape = Shape(*map(int, text.split("x")))
        start = time.perf_counter()
        precision = torch.bfloat16 if gpu else None
        step = Step(
            learner,
            shape,
            WorldConfig(),
            LossWeights(),
            flat.gradients,
            0.5,
            precision=precision,
            compiled=options.compiled,
        )
        if gpu:
            step.draw_batch()
            torch.cuda.synchronize()
        drawn = time.perf_counter() - start
        if gpu:
            step.capture(pool)
        build = time.perf_counter() - start
        draw = partial(draw_takes, step.world, shape, device, fast=step.fast) if shape.windows > 1 else step.draw_batch
        render = milliseconds(draw, options.repeats, device)
        whole = milliseconds(step.run, options.repeats, device)
        frames = shape.takes * shape.frames
        memory = torch.cuda.max_memory_reserved() / 2**30 if gpu else float("nan")
        row = {"shape": text, "build": build, "build_render": drawn, "render": render, "step": whole}
        row |= {"frames_per_second": 1000 * frames / whole, "gib": memory, "loss": float(step.parts["loss"])}
        rows.append(row)
        print(
            f"{text:>24} {build:8.1f} {render:10.2f} {whole:8.1f} {row['frames_per_second']:9.0f} {memory:6.1f}"
            f"   (drawing built in {drawn:.1f} s, loss {row['loss']:.2f})",
            flush=True,
        )
        if options.profile and gpu:
            with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
                step.run()
                torch.cuda.synchronize()
            print(
                profile.key_averages().table(sort_by="cuda_time_total", row_limit=25, max_name_column_width=90),
                flush=True,
            )
    if options.json:
        about = {"device": torch.cuda.get_device_name() if gpu else "cpu", "torch": torch.__version__, "rows": rows}
        options.json.write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
