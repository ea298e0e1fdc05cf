# SPDX-License-Identifier: Apache-2.0
"""The comparison in words: one table over all takes, one by length, and everything as JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from longtake.evaluation.tables import Grid, number
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
    reached = [n for n in LENGTHS if any(n in line.by_length for line in entries[0].takes)]
    if not reached:
        return None
    rows = []
    for entry in entries:
        cells = []
        for n in reached:
            pairs = [line.by_length[n] for line in entry.takes if n in line.by_length]
            ate, turn = np.mean(pairs, 0)
            cells.append(f"{ate:.3f} / {turn:.2f}")
        rows.append((entry.model, entry.rule, *cells))
    return Grid(
        "ATE/spread of the whole take / RPE rotation, first n frames",
        ("model", "rule", *map(str, reached)),
        tuple(rows),
        labels=2,
    )


def to_json(entries: Sequence[Entry], settings: dict[str, Any]) -> dict[str, Any]:
    """Return every figure as plain values."""
    fields = ("take", "ate", "spread", "rpe_translation", "rpe_rotation", "abs_rel", "frames_per_second", "tracking")
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
                    for line in entry.takes
                ],
            }
            for entry in entries
        ],
    }
