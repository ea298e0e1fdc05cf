# SPDX-License-Identifier: Apache-2.0
"""What a measurement says: rows, the settings behind them, the goals, and both as tables and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from longtake.continuity.trigger import spell_resets
from longtake.evaluation.records import figures_of, plain
from longtake.evaluation.summary import Summary, TakeFigures, summarize, summarize_by_length
from longtake.evaluation.tables import FIGURES, Grid, naive_cells, number, summary_cells

FORMAT = "longtake-evaluation/1"
# What the first version has to reach on the short takes; on office_walk it has to beat both naive guesses.
WITH_GOALS = ("short", "office_walk")  # sets, by name
GOAL = {"abs_rel": 0.14, "rotation_ratio": 0.30, "direction": 14.0, "ate_over_spread": 0.20}


@dataclass(frozen=True, slots=True)
class Row:
    """One net under one rule on one set of takes."""

    set: str
    net: str
    rule: str
    summary: Summary
    by_length: dict[int, Summary]
    frames_per_second: float
    cropped_share: float  # true depths outside the model's crop
    model_sizes: tuple[tuple[int, int], ...]  # (width, height)
    records: tuple[Mapping[str, Any], ...] = field(repr=False, default=())


@dataclass(frozen=True, slots=True)
class Report:
    """All rows, and everything that changes a number."""

    settings: dict[str, Any]
    rows: tuple[Row, ...]

    def missed(self, net: str, rule: str) -> list[str]:
        """Say what a net under a rule misses of the goals; empty if it reaches all that the measured sets allow."""
        missed = []
        for row in self.rows:
            if (row.net, row.rule) != (net, rule):
                continue
            s = row.summary
            if row.set == WITH_GOALS[0]:
                over = [(name, getattr(s, name), most) for name, most in GOAL.items() if not getattr(s, name) <= most]
                missed += [f"short: {name} is {value:.3f}, wanted at most {most}" for name, value, most in over]
            if row.set == WITH_GOALS[1]:
                naive = (("AbsRel", s.abs_rel, s.const), ("rotation", s.rotation, s.identity))
                worse = [each for each in naive if not each[1] < each[2]]
                missed += [f"office_walk: {name} is {a:.3f}, a naive guess has {b:.3f}" for name, a, b in worse]
        return missed

    def grids(self) -> list[Grid]:
        """Return the tables: one for each set, and one of figures against length."""
        sets = list(dict.fromkeys(row.set for row in self.rows))
        return [self._set_grid(name) for name in sets] + self._length_grids()

    def notes(self) -> list[str]:
        """Say in words what changes a number, and what the columns mean."""
        s, lines = self.settings, []
        for net in s["nets"]:
            lines.append(
                f"{net['net']}: {net['parameters'] / 1e6:.2f} M parameters, sha256 of the tensors "
                f"{net['weights_sha256'][:16]}, {net['dtype']} on {net['device']}, torch {net['torch']}"
            )
        refined = "; bundle adjustment after the model" if s["nets"][0].get("refine") else ""
        resets = spell_resets(s["reset_every"], s["nets"][0].get("reset_when"), s["nets"][0].get("join", "exact"))
        frames = "; ".join(f"{name} {_spell(indices)}" for name, indices in s["frames"].items())
        lines.append(
            f"longtake {s['longtake']}, code {s['code_sha256'][:12]}; resets: {resets}{refined}; frames: {frames}"
        )
        lines.append(f"predicted depth is read at the true pixels, {s['sampling']}; one scale a take for AbsRel")
        lines.append(
            "rotation: mean degrees from frame 0, and over that of predicting none; direction: median degrees of the "
            "translation; ATE/spread: median and mean after Sim(3); lost: unusable depth pixels + poses"
        )
        return lines

    def to_json(self) -> dict[str, Any]:
        """Return plain values: settings, one entry a row, and the figures of every take (without trajectories)."""
        rows = []
        for row in self.rows:
            takes = [{k: v for k, v in r.items() if not k.endswith("world_from_cam")} for r in row.records]
            values = {k: getattr(row, k) for k in ("set", "net", "rule", "frames_per_second", "cropped_share")}
            lengths = {n: asdict(s) for n, s in row.by_length.items()}
            summaries = {"summary": asdict(row.summary), "by_length": lengths}
            rows.append(values | {"model_sizes": row.model_sizes} | summaries | {"takes": takes})
        return plain({"format": FORMAT, "settings": self.settings, "goal": GOAL, "rows": rows})

    def _set_grid(self, name: str) -> Grid:
        rows = [row for row in self.rows if row.set == name]
        s = rows[0].summary
        sizes = ", ".join(f"{w}x{h}" for w, h in rows[0].model_sizes)
        title = f"{name}: {s.takes} take{'s' * (s.takes != 1)}, {s.frames} frames, seen at {sizes}"
        if rows[0].cropped_share:
            title += f", {rows[0].cropped_share:.1%} of the true depth cropped away"
        cells = [(row.net, row.rule, *summary_cells(row.summary), number(row.frames_per_second, 1)) for row in rows]
        cells.append(("naive guesses", "", *naive_cells(s), ""))
        if name == "short":
            g = {figure: f"{most:g}" for figure, most in GOAL.items()}
            goal = (g["abs_rel"], "", "", g["rotation_ratio"], g["direction"], g["ate_over_spread"], "", "", "", "")
            cells.append(("goal: at most", "", *goal))
        return Grid(title, ("net", "rule", *FIGURES, "frames/s"), tuple(cells), labels=2)

    def _length_grids(self) -> list[Grid]:
        rows = [row for row in self.rows if len(row.by_length) > 1]
        grids = []
        for title, figure, digits in (
            ("ATE/spread (median) of the first n frames", "ate_over_spread", 3),
            ("rotation over identity of the first n frames", "rotation_ratio", 3),
            ("translation direction (median, degrees) of the first n frames", "direction", 1),
        ):
            lengths = sorted({n for row in rows for n in row.by_length})
            cells = []
            for row in rows:
                values = [getattr(row.by_length[n], figure) if n in row.by_length else float("nan") for n in lengths]
                cells.append((row.set, row.net, row.rule, *(number(value, digits) for value in values)))
            if cells:
                grids.append(Grid(title, ("set", "net", "rule", *map(str, lengths)), tuple(cells), labels=3))
        return grids


def make_row(name: str, net: str, rule: str, records: Sequence[Mapping[str, Any]]) -> Row:
    """Gather the records of a set of takes into one row."""
    figures: list[TakeFigures] = [figures_of(record) for record in records]
    summary = summarize(figures)
    cropped, kept = sum(r["cropped_pixels"] for r in records), sum(f.depth.pixels for f in figures)
    seconds = sum(r["seconds"] for r in records)
    return Row(
        set=name,
        net=net,
        rule=rule,
        summary=summary,
        by_length=summarize_by_length(figures),
        frames_per_second=summary.frames / seconds if seconds > 0 else float("nan"),
        cropped_share=cropped / (cropped + kept) if cropped + kept else 0.0,
        model_sizes=tuple(sorted({tuple(r["model_size"]) for r in records})),
        records=tuple(records),
    )


def _spell(indices: Sequence[int]) -> str:
    """Write 0, 2, ..., 126 instead of all numbers."""
    return ", ".join(map(str, indices)) if len(indices) < 4 else f"{indices[0]}, {indices[1]}, ..., {indices[-1]}"
