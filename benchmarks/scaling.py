# SPDX-License-Identifier: Apache-2.0
"""How cost scales: a frame against the frames before it, against the size of its picture, and against other streams.

    python benchmarks/scaling.py --out out/scaling                                   # the embedded model, every rule
    python benchmarks/scaling.py --models all --precision bf16 --graphs --streams 1,2,4,8,16 --out out/scaling
    python benchmarks/scaling.py --tiny --frames 20 --out out/scaling                # anywhere, a minute

Models have their official sizes and random weights. A curve is NAME or NAME:option=value, such as vggt:window=16 or
cut3r-512:rule=filt3r. Sizes are grids of patches, so that families with patches of 16 and of 14 pixels stand side by
side. Against size and streams the same frame is looked at, after two others, without writing it: what grows with frames
does not grow meanwhile. Times are medians, each frame waited for; peaks are the device's where it is a CUDA device,
weights included, else the process's. OUT gets scaling.json and scaling.png; the table is printed as it comes.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import growth
import torch
from scaling_plot import draw_scaling

from longtake.device import pick_device
from longtake.engine import CapturedEngine, choose_engine, pack
from longtake.frame import Flags
from longtake.meter import finish_work, peak_bytes, start_counting
from longtake.registry import Model
from longtake.rules import rule_names

FRAMES, SIZE, STREAMS = "frames", "patches", "streams"
LOOKS, ENOUGH = 15, 3.0  # looks at a frame, fewer where they take more than so many seconds
SEEN = 2  # frames before the one that is looked at


@dataclass(frozen=True, slots=True)
class Row:
    """What one step costs."""

    axis: str  # FRAMES, SIZE or STREAMS
    x: int  # frames so far, patches of a picture, or streams stepped together
    seconds: float  # of a step: one frame of each stream
    peak_bytes: int
    state_bytes: int  # of all streams


def parse(label: str) -> tuple[str, dict[str, int | str]]:
    """NAME:option=value:option=value -> name and options."""
    name, *options = label.split(":")
    pairs = (option.partition("=")[::2] for option in options)
    return name, {key: int(value) if value.isdigit() else value for key, value in pairs}


def labels_of(models: str, rules: str) -> list[str]:
    """Every curve: each recurrent model under each rule, unless it names one; the others as they are."""
    every = list(rule_names()) if rules == "all" else [rule.strip() for rule in rules.split(",")]
    found = []
    for label in (growth.ALL if models == "all" else models).split(","):
        name, options = parse(label.strip())
        ruled = growth.find(name).build().capabilities.rules and "rule" not in options
        found += [f"{label.strip()}:rule={rule}" for rule in every] if ruled else [label.strip()]
    return found


def build(name: str, *, tiny: bool, device: torch.device, precision: str) -> Model:
    """A model with random weights, as `longtake.load` would leave it on the device."""
    model = growth.build(name, tiny=tiny, device=device, precision=precision)
    return Model(name, pack(model.module) if device.type == "cpu" else model.module)


def clock(step: Callable[[], Any], device: torch.device) -> tuple[float, int]:
    """Median seconds and peak bytes of a step, the first one left out."""
    step()
    finish_work(device)
    start_counting(device)
    times: list[float] = []
    while len(times) < LOOKS and sum(times) < ENOUGH:
        begin = time.perf_counter()
        step()
        finish_work(device)
        times.append(time.perf_counter() - begin)
    return median(times), peak_bytes(device) or 0


def step_cost(
    model: Model, options: dict[str, Any], n: int, grid: tuple[int, int], graphs: bool
) -> tuple[float, int, int]:
    """Seconds, peak bytes and state bytes of one step of n streams, pictures of `grid` (columns, rows) patches."""
    patch, device = getattr(model.config, "patch", 16), model.device
    choice = dict(options)
    writer = model.module.writer(choice.pop("rule", None), **choice)
    captured = graphs and not CapturedEngine.refusal(model.module)
    engine = choose_engine(model.module, writer, n, graphs=captured)
    pictures = torch.rand(n, 3, grid[1] * patch, grid[0] * patch, device=device) * 2 - 1
    groups = [list(range(n))] if model.capabilities.batch else [[i] for i in range(n)]

    def step(update: bool) -> None:
        for members in groups:
            engine.see(pictures[members], Flags.plain(len(members), device, update=update), members)

    for _ in range(SEEN):
        step(update=True)
    seconds, peak = clock(lambda: step(update=False), device)
    return seconds, peak, engine.state.nbytes


def measure(model: Model, options: dict[str, Any], given: argparse.Namespace) -> Iterator[Row]:
    """All rows of a curve; an axis ends where memory does."""
    for row in growth.measure(model, options, given.frames, given.seconds):
        if isinstance(row, growth.Row):
            yield Row(FRAMES, row.t, row.seconds, row.peak_bytes, row.state_bytes)
    grids = [(int(w), int(h)) for w, h in (word.split("x") for word in given.grids.split(","))]
    tries = [(SIZE, w * h, 1, (w, h)) for w, h in grids]
    tries += [(STREAMS, n, n, grids[0]) for n in map(int, given.streams.split(","))]
    full: set[str] = set()
    for axis, x, n, grid in tries:
        if axis in full:
            continue
        try:
            yield Row(axis, x, *step_cost(model, options, n, grid, given.graphs))
        except torch.cuda.OutOfMemoryError:
            torch.cuda.empty_cache()
            full.add(axis)


def line(label: str, row: Row) -> str:
    """A row for people."""
    rate = f"{row.x / row.seconds:8.1f} frames/s in total" if row.axis == STREAMS else ""
    size = f"{row.peak_bytes / 2**20:9.0f} MiB peak  {row.state_bytes:12,} bytes kept"
    return f"{label:<28} {row.x:>6,} {row.axis:<8} {1e3 * row.seconds:10.2f} ms  {size}  {rate}".rstrip()


def main() -> None:
    """Measure every curve, print, write, draw."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--models", default="longtake-small", help="names separated by commas, or all")
    parser.add_argument("--rules", default="all", help="update rules of recurrent models, or all")
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument(
        "--grids", default="10x7,14x10,20x14,28x20", help="columns x rows of patches; streams: the first"
    )
    parser.add_argument("--streams", default="1,2,4,8")
    parser.add_argument("--seconds", type=float, default=60.0, help="time against frames at most, for each curve")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--graphs", action="store_true", help="one captured graph a frame where the memory allows it")
    parser.add_argument("--tiny", action="store_true", help="the smallest models of their kind")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    device = pick_device(given.device)
    curves = []
    for label in labels_of(given.models, given.rules):
        name, options = parse(label)
        model = build(name, tiny=given.tiny, device=device, precision=given.precision)
        rows = []
        for row in measure(model, options, given):
            print(line(label, row), flush=True)
            rows.append(asdict(row))
        curves.append({"label": label, "memory": model.capabilities.memory, "rows": rows})
    about = {
        "sizes": "smallest models" if given.tiny else "official sizes",
        "precision": given.precision,
        "graphs": given.graphs,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else str(device),
        "threads": torch.get_num_threads() if device.type == "cpu" else None,
        "grids": given.grids,
        "torch": torch.__version__,
    }
    given.out.mkdir(parents=True, exist_ok=True)
    document = json.dumps({"about": about, "curves": curves}, indent=1)
    (given.out / "scaling.json").write_text(document + "\n", encoding="utf-8")
    draw_scaling(about, curves).save(given.out / "scaling.png")
    print(f"wrote {given.out / 'scaling.json'} and scaling.png")


if __name__ == "__main__":
    main()
