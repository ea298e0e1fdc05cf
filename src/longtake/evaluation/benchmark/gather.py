# SPDX-License-Identifier: Apache-2.0
"""Many sequences in one row, as the published tables gather them: plain means, depth weighted by pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from longtake.evaluation.tables import Grid

PLAIN = ("ate_sim3", "ate_se3", "ate_origin", "spread", "ate_over_spread", "rpe_trans", "rpe_rot_deg", "rot_deg",
         "rot_deg_identity", "translation_direction_deg", "acc", "acc_med", "comp", "comp_med", "nc", "nc_med",
         "chamfer", "f_score", "fps", "latency_ms_p50", "latency_ms_p95", "state_mb", "peak_mb")  # fmt: skip
WEIGHTED = ("absrel_", "delta1_", "rmse_")

PATHS = (("ATE", "ate_sim3", 3), ("SE(3)", "ate_se3", 3), ("first pose", "ate_origin", 3),
         ("/spread", "ate_over_spread", 3), ("RPE m", "rpe_trans", 3), ("RPE deg", "rpe_rot_deg", 2),
         ("rotation", "rot_deg", 2),
         ("identity", "rot_deg_identity", 2), ("direction", "translation_direction_deg", 1))  # fmt: skip
DEPTHS = (("metric", "absrel_metric", 3), ("<1.25", "delta1_metric", 3), ("scale", "absrel_scale", 3),
          ("<1.25", "delta1_scale", 3), ("s&t", "absrel_scale_shift", 3), ("<1.25", "delta1_scale_shift", 3),
          ("pub. scale", "absrel_scale_published", 3), ("<1.25", "delta1_scale_published", 3),
          ("pub. s&t", "absrel_scale_shift_published", 3), ("constant", "absrel_constant", 3))  # fmt: skip
CLOUDS = (("acc", "acc", 3), ("med", "acc_med", 3), ("comp", "comp", 3), ("med", "comp_med", 3), ("nc", "nc", 3),
          ("chamfer", "chamfer", 3), ("F 5 cm", "f_score", 3))  # fmt: skip
COSTS = (("frames/s", "fps", 1), ("p50 ms", "latency_ms_p50", 1), ("p95 ms", "latency_ms_p95", 1),
         ("state MB", "state_mb", 2), ("peak MB", "peak_mb", 0))  # fmt: skip
SUBJECTS = (  # (title, columns, what they mean)
    (
        "Camera path",
        PATHS,
        "ATE in metres after Sim(3), after SE(3), and with the first poses laid on each other; /spread: ATE over what "
        "a standing camera scores. RPE between used frames, after Sim(3). Degrees: rotation from the first frame, "
        "identity: the same for a camera that never turns, direction of the translation from the first frame.",
    ),
    (
        "Video depth",
        DEPTHS,
        "AbsRel and the share of pixels within a factor of 1.25. metric: as predicted; scale, s&t: one scale, or scale "
        "and shift, a sequence, fitted exactly; pub.: by the published tables' solvers. constant: AbsRel of the best "
        "constant depth.",
    ),
    (
        "Point cloud",
        CLOUDS,
        "Metres, mean and median: from the prediction to the truth (acc) and back (comp); chamfer is the mean of both. "
        "nc: how well normals agree, 1 is best. F 5 cm: F-score at that distance.",
    ),
    (
        "Cost",
        COSTS,
        "The model's step alone, one stream, device synchronised, the first frame left out. State: kept between "
        "frames. Peak: the largest of any step so far, of the device on CUDA, else of the whole process.",
    ),
)


@dataclass(frozen=True, slots=True)
class Row:
    """One model under one rule at one length, over all sequences; or at the end of each, however long."""

    model: str
    rule: str
    length: int  # of the longest sequence, where they differ
    shortest: int
    figures: Mapping[str, float]  # only those that at least one sequence has
    counted: Mapping[str, int]  # how many sequences each figure is made of
    sequences: int  # that were tried
    reached: int  # that were scored at this length
    out_of_memory: int


def told_apart(records: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs of stored records so that only like is averaged with like.

    Where one model and rule was measured under several settings, the rule's name is followed by those that differ. The
    same sequence under the same settings counts once, whatever lengths were asked for in each go.
    """
    runs = [{**run, "sequence": record["sequence"]} for record in records for run in record["runs"].values()]
    asked = [
        {k: v for k, v in run["settings"]["protocol"].items() if k != "lengths"}
        | {k: run["settings"][k] for k in ("weights_sha256", "dtype", "device", "code_sha256")}
        for run in runs
    ]
    merged: dict[tuple[str, ...], dict[str, Any]] = {}
    for run, settings in zip(runs, asked, strict=True):
        alike = [s for r, s in zip(runs, asked, strict=True) if (r["model"], r["rule"]) == (run["model"], run["rule"])]
        differs = [k for k in settings if any(s[k] != settings[k] for s in alike)]
        rule = run["rule"] + "".join(f", {k.removesuffix('_sha256')} {str(settings[k])[:8]}" for k in differs)
        before = merged.get((run["sequence"], run["model"], rule), {"by_length": {}})
        own = {("end" if "whole" in each else n): each for n, each in run["by_length"].items()}
        together = before["by_length"] | own
        merged[run["sequence"], run["model"], rule] = {**run, "rule": rule, "by_length": together}
    return list(merged.values())


def gather(runs: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Return a row for each model, rule and length."""
    groups: dict[tuple[str, str, int | None], list[Mapping[str, Any]]] = {}
    for run in runs:
        for length, figures in run["by_length"].items():
            known = {f"{k}_mb": figures[f"{k}_bytes"] / 1e6 for k in ("state", "peak") if figures.get(f"{k}_bytes")}
            frames = int(figures.get("whole", length))
            key = (run["model"], run["rule"], None if "whole" in figures else frames)
            groups.setdefault(key, []).append({**figures, **known, "length": frames})
    return [_row(model, rule, group) for (model, rule, _), group in groups.items()]


def _row(model: str, rule: str, group: Sequence[Mapping[str, Any]]) -> Row:
    done = [each for each in group if each["status"] == "ok"]
    figures, counted = {}, {}
    names = dict.fromkeys(name for each in done for name in each)
    for name in names:
        weighted = name.startswith(WEIGHTED)
        if not weighted and name not in PLAIN:
            continue
        known = [each for each in done if each.get(name) is not None]
        weights = [each["depth_pixels"] if weighted else 1 for each in known]
        if known and sum(weights):
            figures[name] = float(np.average([each[name] for each in known], weights=weights))
            counted[name] = len(known)
    spent = sum(each["status"] == "out of memory" for each in group)
    lengths = [each["length"] for each in (done or group)]
    return Row(model, rule, max(lengths), min(lengths), figures, counted, len(group), len(done), spent)


def grids(rows: Sequence[Row]) -> list[Grid]:
    """Return a table for each subject. A figure that not all sequences have names how many it is made of.

    What is the same in all rows stands in the title: one model, one number of sequences.
    """
    rows = sorted(rows, key=lambda row: (row.length, row.model, row.rule))
    models, counts = {row.model for row in rows}, {_count(row) for row in rows}
    same = [*models] * (len(models) == 1) + [f"{n} sequence{'s' * (n != '1')}" for n in counts] * (len(counts) == 1)
    out = []
    for title, columns, note in SUBJECTS:
        cells = []
        for row in rows:
            frames = str(row.length) if row.shortest == row.length else f"{row.shortest} to {row.length}"
            head = [row.model] * (len(models) > 1) + [row.rule, frames] + [_count(row)] * (len(counts) > 1)
            values = [_cell(row, name, digits) for _, name, digits in columns]
            if row.out_of_memory and not row.reached:
                values[0] = "out of memory"
            cells.append((*head, *values))
        head = ["model"] * (len(models) > 1) + ["rule", "frames"] + ["sequences"] * (len(counts) > 1)
        names = (*head, *(name for name, _, _ in columns))
        out.append(Grid(": ".join((title, ", ".join(same))) if same else title, names, tuple(cells),
                        1 + (len(models) > 1), note))  # fmt: skip
    return out


def _count(row: Row) -> str:
    return str(row.reached) if row.reached == row.sequences else f"{row.reached} of {row.sequences}"


def _cell(row: Row, name: str, digits: int) -> str:
    if name not in row.figures:
        return "-"
    short = row.counted[name] < row.reached
    return f"{row.figures[name]:.{digits}f}" + (f" ({row.counted[name]})" if short else "")
