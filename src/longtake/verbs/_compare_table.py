# SPDX-License-Identifier: Apache-2.0
"""The comparison in words: one table over all takes, one by length, and everything as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from longtake.evaluation.tables import Grid, number
from longtake.verbs._compare_cost import MARKS
from longtake.verbs._compare_run import LENGTHS, Entry

HEAD = ("ATE", "ATE/spread", "(median)", "RPE trans", "RPE rot", "AbsRel", "frames/s", "state bytes", "weak+lost")


def mean_and_spread(values: Sequence[float], digits: int) -> str:
    """Return 0.123 for one take and 0.123 ± 0.045 (standard deviation over takes) for several; a dash for none."""
    known = [v for v in values if np.isfinite(v)]
    if not known:
        return "-"
    mean = number(float(np.mean(known)), digits)
    return mean if len(known) < 2 else f"{mean} ± {number(float(np.std(known, ddof=1)), digits)}"


def main_grid(entries: Sequence[Entry]) -> Grid:
    """Return the one table: a row for each model and rule, mean and spread over the takes."""
    rows = []
    for entry in entries:
        lines = entry.takes
        over = [line.ate / line.spread if line.spread > 0 else float("nan") for line in lines]
        known = [value for value in over if np.isfinite(value)]
        rows.append(
            (
                entry.model,
                entry.rule,
                mean_and_spread([line.ate for line in lines], 3),
                mean_and_spread(over, 3),
                number(float(np.median(known)), 3) if known else "-",
                mean_and_spread([line.rpe_translation for line in lines], 4),
                mean_and_spread([line.rpe_rotation for line in lines], 3),
                mean_and_spread([line.abs_rel for line in lines], 3),
                number(float(np.mean([line.frames_per_second for line in lines])), 1),
                f"{entry.state_bytes:,}",
                f"{sum(line.tracking[0] for line in lines)}+{sum(line.tracking[1] for line in lines)}",
            )
        )
    takes, frames = len(entries[0].takes), sum(len(line.path) for line in entries[0].takes)
    name = entries[0].takes[0].take if takes == 1 else f"{takes} takes"
    return Grid(f"{name}, {frames} frames", ("model", "rule", *HEAD), tuple(rows), labels=2)


def length_grid(entries: Sequence[Entry]) -> Grid | None:
    """Return ATE/spread and RPE rotation of the first n frames, the mean over takes that long; None without truth."""
    reached = [n for n in LENGTHS if any(n in line.by_length for entry in entries for line in entry.takes)]
    if not reached:
        return None
    rows = []
    for entry in entries:
        cells = []
        for n in reached:
            pairs = [line.by_length[n] for line in entry.takes if n in line.by_length]
            cells.append("{:.3f} / {:.2f}".format(*np.mean(pairs, 0)) if pairs else "-")
        rows.append((entry.model, entry.rule, *cells))
    return Grid(
        "ATE/spread of the whole take / RPE rotation, first n frames",
        ("model", "rule", *map(str, reached)),
        tuple(rows),
        labels=2,
    )


def cost_grid(entries: Sequence[Entry]) -> Grid:
    """Return frames/s, peak memory and bytes kept at the first n frames, the mean over takes that reached them."""
    last = max((n for entry in entries for line in entry.takes for n in line.costs), default=1)
    reached = [*(n for n in MARKS if n < last), last]
    rows = []
    for entry in entries:
        costs = [[line.costs[n] for line in entry.takes if n in line.costs] for n in reached]
        for name, cell in (
            ("frames/s", lambda some: number(float(np.mean([cost.frames_per_second for cost in some])), 1)),
            ("peak MB", lambda some: _megabytes([cost.peak_bytes for cost in some])),
            ("kept MB", lambda some: _megabytes([cost.state_bytes for cost in some])),
        ):
            cells = (cell(some) if some else "-" for some in costs)
            rows.append((entry.model, entry.rule, name, *cells))
    return Grid(
        "What the first n frames cost",
        ("model", "rule", "", *map(str, reached)),
        tuple(rows),
        labels=3,
        note="frames/s over the frames since the column before; peak: the most memory so far, of the GPU, else of the "
        "process; kept: between frames, of one take.",
    )


def spent_lines(entries: Sequence[Entry]) -> list[str]:
    """Return a line for each take that a model had no memory for."""
    return [
        f"{entry.label}: out of memory after {line.out_of_memory_after} frames of {line.take}"
        for entry in entries
        for line in entry.takes
        if line.out_of_memory_after is not None
    ]


def _megabytes(some: Sequence[int | None]) -> str:
    """Return the mean with three digits that count; a dash where the system does not say."""
    known = [value for value in some if value is not None]
    if not known:
        return "-"
    mean = float(np.mean(known)) / 1e6
    return number(mean, 0 if mean >= 100 else 1 if mean >= 10 else 2 if mean >= 1 else 3)


def to_json(entries: Sequence[Entry], settings: dict[str, Any]) -> dict[str, Any]:
    """Return every figure as plain values."""
    fields = ("take", "ate", "spread", "rpe_translation", "rpe_rotation", "abs_rel", "frames_per_second", "tracking",
              "out_of_memory_after")  # fmt: skip
    return {
        "settings": settings,
        "entries": [
            {
                "model": entry.model,
                "rule": entry.rule,
                "state_bytes": entry.state_bytes,
                "takes": [
                    {name: getattr(line, name) for name in fields}
                    | {"frames": len(line.path), "by_length": line.by_length, "path": line.path.round(6)}
                    | {"costs": {n: asdict(cost) for n, cost in line.costs.items()}}
                    for line in entry.takes
                ],
            }
            for entry in entries
        ],
    }
