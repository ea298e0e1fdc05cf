# SPDX-License-Identifier: Apache-2.0
"""What the update rules do over long takes: every rule on held-out synthetic walks with revisits, in one table.

    python benchmarks/long_takes.py --takes 20 --frames 1000 --device cuda --budget 240 --out long_takes
    python benchmarks/long_takes.py --takes 2 --frames 100 --device cpu --out small

Takes are drawn once, on the device, from seeds that training never uses, and stepped together as one batch of streams.
A run is a rule, or a rule with resets: RULE@RESETS@JOIN, RESETS a number of frames or a trigger, and with closed loops
RULE@RESETS@JOIN@loops, which is the whole take's path corrected at its end, a take at a time. Each finished run is a
file in OUT and a line of its tables, so that a stopped benchmark is a result and the same command goes on; --budget
stops it in time.
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
from long_takes_walk import SEED, WALKS, OutOfTime, Walked, Walks, draw_walks, options_of, walk

import longtake
from longtake.continuity.tracking import LOST, WEAK
from longtake.errors import LongtakeError
from longtake.evaluation.nets import weights_hash
from longtake.evaluation.records import plain, read_record, write_json, write_text
from longtake.evaluation.tables import Grid, make_console, print_grid, to_markdown
from longtake.registry import Model
from longtake.rules import rule_table
from longtake.synthetic.config import worlds
from longtake.verbs._compare_pictures import save_comparison
from longtake.verbs._compare_run import LENGTHS, Entry, TakeLine, path_figures

FIRST = ("overwrite", "ttt3r", "constant:0.5", "filt3r", "ttt3r-calibrated", "recal3r")  # should time be short
COMBINED = (
    "overwrite@32@scale,overwrite@32@exact,overwrite@32@sim3,overwrite@16@scale,overwrite@64@scale,ttt3r@32@scale,"
    "half@32@scale,filt3r@32@scale,filt3r@100@scale,ttt3r@spent:30+cut@scale"
)
DRAWN = 250  # points of a path that are kept for the pictures


def entry_of(model: str, run: str, walked: Walked, true: np.ndarray) -> Entry:
    """The figures of a run: one line for each take."""
    lines = []
    takes, frames = true.shape[:2]
    some = np.unique(np.linspace(0, frames - 1, min(frames, DRAWN)).round().astype(int))
    for i in range(takes):
        figures = path_figures(walked.world_from_cam[i], true[i])
        spread = float(np.sqrt(np.square(true[i, :, :3, 3] - true[i, :, :3, 3].mean(0)).sum(-1).mean()))
        codes = walked.tracking[i]
        lines.append(
            TakeLine(
                take=f"take_{i:02d}",
                ate=figures["by_length"][frames][0] * spread,
                spread=spread,
                abs_rel=float("nan"),
                frames_per_second=walked.frames_per_second,
                path=walked.world_from_cam[i, some, :3, 3].round(5),
                true_path=true[i, some, :3, 3].round(5),
                tracking=(int((codes == WEAK).sum()), int((codes == LOST).sum())),
                **figures,
            )
        )
    return Entry(model, run, walked.state_bytes, tuple(lines))


def restore(record: dict[str, Any]) -> Entry:
    """Rebuild what a finished run left in its file."""
    lines = []
    for line in record["takes"]:
        numbers: dict[str, Any] = {name: float("nan") if value is None else value for name, value in line.items()}
        numbers["by_length"] = {int(n): tuple(pair) for n, pair in line["by_length"].items()}
        numbers["tracking"] = tuple(line["tracking"])
        numbers |= {name: np.array(line[name], float) for name in ("path", "true_path")}
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
        cells.append(f"{np.mean(written):.2f}" if written else "-")
        rotation = np.mean([line.rpe_rotation for line in entry.takes])
        figures = (f"{np.median(over):.3f}", f"{np.mean(over):.3f}", f"{rotation:.3f}", rate, str(lost))
        rows.append((entry.rule, *cells, *figures))
    head = ("run", *map(str, reached), "rate", "ATE/spread, median", "mean", "RPE rotation", "frames/s", "lost")
    return Grid(f"{first.model}, {len(first.takes)} takes of {frames} frames: ATE / RPE rotation", head, tuple(rows))


def save_tables(entries: list[Entry], settings: dict[str, Any], rates: dict[str, list[float]], out: Path) -> Grid:
    """Write what is there so far."""
    grid = table(entries, settings["frames"], rates)
    write_text(out / "table.md", to_markdown([grid]))
    write_json(out / "table.json", {"settings": settings, "head": grid.head, "rows": grid.rows, "rates": rates})
    return grid


def save_pictures(entries: list[Entry], out: Path) -> None:
    """Draw rules without resets, and those with, twelve at a time: a picture has so many colours."""
    parts = {"rules": [e for e in entries if "@" not in e.rule], "resets": [e for e in entries if "@" in e.rule]}
    for name, part in parts.items():
        for first in range(0, len(part), 12):
            save_comparison(part[first : first + 12], out / f"{name}{first // 12 or ''}.png")


def read_options(arguments: list[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0] if __doc__ else None)
    rules = dict.fromkeys((*FIRST, *rule_table(), "filt3r+memix"))
    parser.add_argument("--takes", type=int, default=20)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--size", default="160x128", help="pixels of the pictures, WIDTHxHEIGHT")
    parser.add_argument("--world", choices=worlds(), default="mixture", help="what takes are drawn from")
    parser.add_argument("--rules", default=",".join(rules), help="runs, separated by commas")
    parser.add_argument("--combined", default=COMBINED, help="runs with resets and joins; empty for none")
    parser.add_argument("--model", default="longtake-small")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--precision", default="float32", help="float32, bf16 or fp16, as longtake.load takes it")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--walks", type=Path, help="a folder for drawn takes, so that no call draws them again")
    parser.add_argument("--budget", type=float, default=float("inf"), help="seconds after which all stops cleanly")
    parser.add_argument("--out", type=Path, default=Path("long_takes"))
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> None:
    """Draw, walk, print."""
    options = read_options(arguments)
    begin = time.perf_counter()
    deadline = begin + options.budget
    more = {} if options.precision == "float32" else {"precision": options.precision}
    model = longtake.load(options.model, options.weights, device=options.device, **more)
    world, (width, height) = worlds()[options.world], map(int, options.size.split("x"))
    runs = list(dict.fromkeys(run for run in f"{options.rules},{options.combined}".split(",") if run))
    for run in runs:  # a mistake is named before anything is drawn
        rule, how = options_of(run)
        model.streams(1, rule=rule, **({"reset_every": None} | how))
    settings = {
        "takes": options.takes,
        "frames": options.frames,
        "size": [height, width],
        "seed": SEED,
        "world": asdict(world) | WALKS,
        "model": options.model,
        "weights_sha256": weights_hash(model.module),
        "precision": options.precision,
        "device": str(model.device),
        "longtake": longtake.__version__,
        "torch": torch.__version__,
    }
    settings = json.loads(json.dumps(plain(settings)))
    walks, entries, left, rates, longest = None, [], [], {}, 0.0
    for run in runs:
        file = options.out / "runs" / f"{run.replace(':', '_')}.json"
        record = read_record(file)
        if record is not None and record["settings"] == settings:
            entries.append(restore(record))
            rates[run] = record["rates"]
            continue
        if left or time.perf_counter() + longest > deadline:
            left.append(run)
            continue
        try:
            walks = walks or draw_walks(
                model, options.takes, options.frames, (height, width), deadline, world, options.walks
            )
            started = time.perf_counter()
            walked = walk_somehow(model, run, walks, deadline)
        except OutOfTime:
            left.append(run)
            continue
        entry, rates[run] = entry_of(model.name, run, walked, walks.world_from_cam), walked.rates
        takes = [asdict(line) for line in entry.takes]
        about = {"settings": settings, "model": entry.model, "rule": run, "state_bytes": entry.state_bytes}
        write_json(file, about | {"rates": rates[run], "takes": takes})
        entries.append(entry)
        save_tables(entries, settings, rates, options.out)
        longest = max(longest, time.perf_counter() - started)
        print(said_of(entry, time.perf_counter() - begin, model.device), flush=True)
    if entries:
        print_grid(save_tables(entries, settings, rates, options.out), make_console())
        save_pictures(entries, options.out)
    if left:
        print(f"not finished within {options.budget:g} s: {', '.join(left)}; the same command goes on")


def walk_somehow(model: Model, run: str, walks: Walks, deadline: float) -> Walked:
    """On a CUDA device as captured graphs; where that does not work, say so and go on with plain calls."""
    if model.device.type == "cuda":
        try:
            return walk(model, run, walks, deadline, graphs=True)
        except (RuntimeError, LongtakeError) as error:
            print(f"{run}: not as a captured graph ({' '.join(str(error).split()[:20])}); with plain calls", flush=True)
    return walk(model, run, walks, deadline)


def said_of(entry: Entry, seconds: float, device: torch.device) -> str:
    """One line about a finished run."""
    over = np.median([line.ate / line.spread for line in entry.takes])
    turn = np.mean([line.rpe_rotation for line in entry.takes])
    words = f"{entry.rule}: ATE/spread {over:.3f} (median), RPE rotation {turn:.2f}"
    words += f", {entry.takes[0].frames_per_second:.0f} frames/s; {seconds:.0f} s"
    if device.type == "cuda":
        words += f", {torch.cuda.max_memory_reserved(device) / 2**30:.1f} GiB"
        torch.cuda.empty_cache()  # the run's graph is gone
    return words


if __name__ == "__main__":
    main()
