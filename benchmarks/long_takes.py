# SPDX-License-Identifier: Apache-2.0
"""What the update rules do over long takes: every rule on held-out synthetic walks with revisits, in one table.

    python benchmarks/long_takes.py --takes 20 --frames 1000 --device cuda --out long_takes
    python benchmarks/long_takes.py --takes 2 --frames 100 --device cpu --out small

Takes are drawn on the device, in memory, from seeds that training never uses, and stepped together as one batch of
streams. A run is a rule, or a rule with resets: RULE@RESETS@JOIN, RESETS a number of frames or a trigger. Each finished
run is a file in OUT, so that a stopped benchmark goes on; --seconds ends it after the run that is then under way.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

import longtake
from longtake.evaluation.nets import weights_hash
from longtake.evaluation.records import plain, read_record, write_json, write_text
from longtake.evaluation.tables import Grid, make_console, print_grid, to_markdown
from longtake.frame import Frame
from longtake.meter import finish_work
from longtake.registry import Model
from longtake.rules import rule_table
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import make_batch
from longtake.verbs._compare_pictures import save_comparison
from longtake.verbs._compare_run import LENGTHS, Entry, TakeLine, path_figures

SEED = 3_141_592_653  # of take 0, below 2**32, which is all that a CPU's generator reads; training starts near 0
WORLD = WorldConfig(revisit_share=1.0, loop_share=0.0, chunk=256)  # out and back along the path, once or twice
COMBINED = "filt3r@100@exact,filt3r@100@scale,filt3r@100@sim3,filt3r@spent:30+cut@scale,overwrite@50@scale"


def draw(takes: int, frames: int, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Pictures (takes, frames, 128, 160, 3) uint8 and world_from_cam (takes, frames, 4, 4) of the held-out walks."""
    pictures, poses = [], []
    for i in range(takes):
        generator = torch.Generator(device=device).manual_seed(SEED + i)
        batch = make_batch(WORLD, 1, frames, 128, 160, device, generator, fast=device.type == "cuda")
        pictures.append((batch.images[0] * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy())
        poses.append(batch.world_from_cam[0].double().cpu().numpy())
        print(f"drew take {i + 1} of {takes}", flush=True)
    return np.stack(pictures), np.stack(poses)


def options_of(run: str) -> tuple[str, dict[str, Any]]:
    """The rule of a run's name, and how its memories start over and its chunks meet."""
    rule, *more = run.split("@")
    options: dict[str, Any] = {"join": more[1]} if len(more) > 1 else {}
    if more:
        options |= {"reset_every": int(more[0])} if more[0].isdecimal() else {"reset_when": more[0]}
    return rule, options


def walk(model: Model, run: str, pictures: np.ndarray, true: np.ndarray) -> tuple[Entry, list[float]]:
    """Step all takes together through one run; also the mean rate at which each frame was written, but for resets."""
    rule, options = options_of(run)
    if not options:
        options["reset_when"] = "spent:1e9"  # never due, but it adds the rates up
    takes, frames = pictures.shape[:2]
    streams = model.streams(takes, rule=rule, **options)
    path = np.empty((takes, frames, 4, 4))
    said = [[0, 0] for _ in range(takes)]
    spent = [0.0]
    begin = time.perf_counter()
    for t in range(frames):
        predictions = streams.step([Frame(pictures[i, t], time=t / 30, index=t) for i in range(takes)])
        stacked = torch.stack([p.world_from_cam for p in predictions if p is not None])
        path[:, t] = stacked.double().cpu().numpy()
        if "spent" in streams.watch.memory:
            spent.append(float(streams.watch.memory["spent"].double().mean()))
        for i, prediction in enumerate(predictions):
            state = prediction.tracking if prediction is not None else "ok"
            said[i] = [said[i][0] + (state == "weak"), said[i][1] + (state == "lost")]
    finish_work(model.device)
    rate = takes * frames / (time.perf_counter() - begin)
    lines = []
    for i in range(takes):
        figures = path_figures(path[i], true[i])
        spread = float(np.sqrt(np.square(true[i, :, :3, 3] - true[i, :, :3, 3].mean(0)).sum(-1).mean()))
        lines.append(
            TakeLine(
                take=f"take_{i:02d}",
                ate=figures["by_length"][frames][0] * spread,
                spread=spread,
                abs_rel=float("nan"),
                frames_per_second=rate,
                path=path[i, :, :3, 3],
                true_path=true[i, :, :3, 3],
                tracking=(said[i][0], said[i][1]),
                **figures,
            )
        )
    return Entry(model.name, run, streams.state_bytes // takes, tuple(lines)), np.diff(spent).round(5).tolist()


def restore(record: dict[str, Any]) -> Entry:
    """Rebuild what a finished run left in its file."""
    lines = []
    for line in record["takes"]:
        numbers: dict[str, Any] = {name: float("nan") if value is None else value for name, value in line.items()}
        numbers["by_length"] = {int(n): tuple(pair) for n, pair in line["by_length"].items()}
        numbers["tracking"] = tuple(line["tracking"])
        numbers |= {name: np.array(line[name]) for name in ("path", "true_path")}
        lines.append(TakeLine(**numbers))
    return Entry(record["model"], record["rule"], record["state_bytes"], tuple(lines))


def table(entries: list[Entry], frames: int, rates: dict[str, list[float]]) -> Grid:
    """ATE in metres / RPE rotation in degrees of the first n frames, means over takes, and ATE/spread at the end."""
    reached = [n for n in LENGTHS if n <= frames]
    first = entries[0]
    rows = []
    for entry in sorted(entries, key=lambda e: float(np.median([line.ate / line.spread for line in e.takes]))):
        cells = []
        for n in reached:
            ate = np.mean([line.by_length[n][0] * line.spread for line in entry.takes])
            cells.append(f"{ate:.3f} / {np.mean([line.by_length[n][1] for line in entry.takes]):.2f}")
        over = [line.ate / line.spread for line in entry.takes]
        lost = sum(line.tracking[1] for line in entry.takes)
        rate = f"{entry.takes[0].frames_per_second:.0f}"
        written = rates[entry.rule][1:]
        cells.append(f"{np.mean(written):.2f}" if written and "@" not in entry.rule else "-")
        rows.append((entry.rule, *cells, f"{np.median(over):.3f}", f"{np.mean(over):.3f}", rate, str(lost)))
    head = ("run", *map(str, reached), "rate", "ATE/spread, median", "mean", "frames/s", "lost")
    return Grid(f"{first.model}, {len(first.takes)} takes of {frames} frames: ATE / RPE rotation", head, tuple(rows))


def main() -> None:
    """Draw, walk, print."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    parser.add_argument("--takes", type=int, default=20)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--rules", default=",".join([*rule_table(), "filt3r+memix"]), help="runs, separated by commas")
    parser.add_argument("--combined", default=COMBINED, help="runs with resets and joins; empty for none")
    parser.add_argument("--model", default="longtake-small")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--precision", default="float32", help="float32, bf16 or fp16, as longtake.load takes it")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="begin no run after so many")
    parser.add_argument("--out", type=Path, default=Path("long_takes"))
    options = parser.parse_args()
    begin = time.perf_counter()
    more = {} if options.precision == "float32" else {"precision": options.precision}
    model = longtake.load(options.model, options.weights, device=options.device, **more)
    runs = list(dict.fromkeys(run for run in f"{options.rules},{options.combined}".split(",") if run))
    for run in runs:  # a mistake is named before anything is drawn
        rule, how = options_of(run)
        model.streams(1, rule=rule, **how)
    settings = {
        "takes": options.takes,
        "frames": options.frames,
        "seed": SEED,
        "world": asdict(WORLD),
        "model": options.model,
        "weights_sha256": weights_hash(model.module),
        "precision": options.precision,
        "device": str(model.device),
        "longtake": longtake.__version__,
        "torch": torch.__version__,
    }
    settings = json.loads(json.dumps(plain(settings)))
    drawn, entries, left, rates = None, [], [], {}
    for run in runs:
        file = options.out / "runs" / f"{run.replace(':', '_')}.json"
        record = read_record(file)
        if record is not None and record["settings"] == settings:
            entries.append(restore(record))
            rates[run] = record.get("rates", [])
            continue
        if time.perf_counter() - begin > options.seconds:
            left.append(run)
            continue
        drawn = drawn or draw(options.takes, options.frames, model.device)
        entry, rates[run] = walk(model, run, *drawn)
        takes = [asdict(line) for line in entry.takes]
        about = {"settings": settings, "model": entry.model, "rule": run, "state_bytes": entry.state_bytes}
        write_json(file, about | {"rates": rates[run], "takes": takes})
        entries.append(entry)
        over = np.median([line.ate / line.spread for line in entry.takes])
        turn = np.mean([line.rpe_rotation for line in entry.takes])
        seconds, rate = time.perf_counter() - begin, entry.takes[0].frames_per_second
        figures = f"ATE/spread {over:.3f} (median), RPE rotation {turn:.2f}"
        print(f"{run}: {figures}, {rate:.0f} frames/s; {seconds:.0f} s", flush=True)
    if entries:
        grid = table(entries, options.frames, rates)
        print_grid(grid, make_console())
        write_text(options.out / "table.md", to_markdown([grid]))
        write_json(
            options.out / "table.json", {"settings": settings, "head": grid.head, "rows": grid.rows, "rates": rates}
        )
        plain_rules = [entry for entry in entries if "@" not in entry.rule]
        for name, part in (("rules", plain_rules), ("resets", [e for e in entries if e not in plain_rules])):
            for first in range(0, len(part), 12):  # a picture has twelve colours
                save_comparison(part[first : first + 12], options.out / f"{name}{first // 12 or ''}.png")
    if left:
        print(f"not begun within {options.seconds:g} s: {', '.join(left)}; the same command goes on")


if __name__ == "__main__":
    main()
