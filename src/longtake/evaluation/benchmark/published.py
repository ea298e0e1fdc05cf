# SPDX-License-Identifier: Apache-2.0
"""Figures that papers print, with the paper. They are quoted, not measured here; sets and strides differ between them.

Lengths are frames. "re-run": printed by a later paper for the method of an earlier one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from longtake.evaluation.benchmark.gather import Row
from longtake.evaluation.tables import Grid

MEM3R, TTT3R, FILT3R = "Mem3R (2604.07279), Table 5, re-run", "TTT3R (2509.26645)", "FILT3R (2603.18493), re-run"


@dataclass(frozen=True, slots=True)
class Published:
    """One row of a paper's table."""

    dataset: str  # as `longtake evaluate` names it
    protocol: str
    method: str
    source: str
    figure: str  # the name that our records have for it
    values: Mapping[int, float]  # by length


def _by(lengths: Sequence[int], values: str) -> dict[int, float]:
    return dict(zip(lengths, map(float, values.split()), strict=True))


_LONG = (50, 100, 150, 200, 300, 400, 500, 600, 700, 800, 900, 1000)
_TUM, _SCANNET = "TUM-dynamics, 8 sequences, stride 1", "ScanNet, stride 3"
_SEVEN = "7-Scenes, 18 test sequences, every 2nd frame (1000: every frame)"
_SHORT = {"sintel": ("Sintel, up to 50 frames", 50), "tum": ("TUM-dynamics, stride 3", 90), "scannet": (_SCANNET, 90)}


def _rows() -> list[Published]:
    rows = [
        Published("tum", _TUM, method, MEM3R, "ate_sim3", _by(_LONG, values))
        for method, values in (
            ("CUT3R", ".023 .033 .043 .061 .093 .12 .14 .14 .15 .17 .17 .17"),
            ("TTT3R", ".014 .020 .031 .041 .045 .051 .067 .074 .085 .091 .102 .11"),
            ("TTSA3R", ".012 .018 .025 .030 .038 .043 .056 .064 .074 .079 .086 .091"),
        )
    ]
    rows += [
        Published("scannet", _SCANNET, method, MEM3R, "ate_sim3", _by(_LONG, values))
        for method, values in (
            ("CUT3R", ".045 .11 .21 .32 .47 .57 .66 .71 .73 .76 .79 .82"),
            ("TTT3R", ".033 .072 .11 .14 .19 .24 .28 .32 .34 .37 .40 .40"),
            ("TTSA3R", ".033 .063 .10 .13 .17 .21 .26 .30 .33 .36 .38 .39"),
        )
    ]
    for method, values in (  # ATE and RPE rotation: Sintel, TUM, ScanNet
        ("VGGT", ".172 .471 .012 .310 .035 .377"),
        ("CUT3R", ".213 .621 .046 .473 .099 .600"),
        ("Point3R", ".351 1.822 .075 .642 .106 1.946"),
        ("StreamVGGT", ".251 1.894 .061 3.209 .161 3.647"),
        ("TTT3R", ".201 .617 .028 .379 .064 .592"),
    ):
        numbers = iter(map(float, values.split()))
        for dataset, (protocol, length) in _SHORT.items():
            for figure in ("ate_sim3", "rpe_rot_deg"):
                rows.append(Published(dataset, protocol, method, TTT3R, figure, {length: next(numbers)}))
    for method, values in (  # AbsRel and delta < 1.25 under one scale: Sintel, Bonn, KITTI
        ("VGGT", ".287 .661 .055 .971 .070 .965"),
        ("CUT3R", ".421 .479 .078 .937 .118 .881"),
        ("Point3R", ".452 .489 .060 .960 .136 .842"),
        ("StreamVGGT", ".323 .657 .059 .972 .173 .721"),
        ("TTT3R", ".404 .500 .068 .954 .113 .904"),
    ):
        rows += _depth(method, values, TTT3R, "scale_published")
    rows += _depth("CUT3R", "1.029 .238 .103 .885 .122 .855", FILT3R, "metric")
    rows += _depth("TTT3R", ".977 .245 .090 .942 .110 .891", FILT3R, "metric")
    for dataset, fit, method, values in (
        ("bonn", "scale_published", "CUT3R", ".086 .940"), ("bonn", "scale_published", "TTT3R", ".075 .953"),
        ("bonn", "metric", "CUT3R", ".101 .906"), ("bonn", "metric", "TTT3R", ".100 .921"),
        ("kitti", "scale_published", "CUT3R", ".130 .865"), ("kitti", "scale_published", "TTT3R", ".118 .892"),
        ("kitti", "metric", "CUT3R", ".151 .803"), ("kitti", "metric", "TTT3R", ".132 .865"),
    ):  # fmt: skip
        for name, value in zip(("absrel", "delta1"), values.split(), strict=True):
            rows.append(Published(dataset, "500 frames", method, FILT3R, f"{name}_{fit}", {500: float(value)}))
    for method, values in (  # accuracy, completeness, normal consistency at 100, 200, 300, 500, 1000
        ("CUT3R", ".033 .089 .134 .183 .233|.022 .048 .076 .093 .101|.592 .566 .544 .530 .511"),
        ("TTT3R", ".020 .028 .040 .066 .145|.016 .023 .024 .032 .051|.596 .582 .566 .551 .525"),
        ("FILT3R", ".017 .019 .020 .024 .054|.017 .022 .022 .023 .028|.595 .584 .568 .559 .535"),
    ):
        for figure, part in zip(("acc", "comp", "nc"), values.split("|"), strict=True):
            source = FILT3R if method != "FILT3R" else FILT3R.removesuffix(", re-run")
            rows.append(Published("7scenes", _SEVEN, method, source, figure, _by((100, 200, 300, 500, 1000), part)))
    return rows


def _depth(method: str, values: str, source: str, fit: str) -> list[Published]:
    numbers, rows = iter(map(float, values.split())), []
    for dataset, protocol, length in (("sintel", "Sintel, up to 50 frames", 50), ("bonn", "frames 30 to 139", 110),
                                      ("kitti", "first 110 frames", 110)):  # fmt: skip
        for name in ("absrel", "delta1"):
            rows.append(Published(dataset, protocol, method, source, f"{name}_{fit}", {length: next(numbers)}))
    return rows


PUBLISHED = tuple(_rows())
WORDS = {
    "ate_sim3": "ATE after Sim(3), metres",
    "rpe_rot_deg": "RPE rotation, degrees",
    "absrel_scale_published": "AbsRel, one scale (published fit)",
    "delta1_scale_published": "share within 1.25, one scale (published fit)",
    "absrel_metric": "AbsRel, metric",
    "delta1_metric": "share within 1.25, metric",
    "acc": "accuracy, metres",
    "comp": "completeness, metres",
    "nc": "normal consistency",
}


SOURCES = tuple(dict.fromkeys(f"{row.source}; {row.protocol}" for row in PUBLISHED))


def beside_published(ours: Mapping[str, Sequence[Row]]) -> tuple[list[Grid], list[str]]:
    """Return a table for each data set and figure, and the sources that their numbers in brackets stand for.

    Published rows are marked so, and ours (by data set) stand under them. A data set that no paper has gets tables of
    our own rows alone.
    """
    out = []
    for dataset in dict.fromkeys([row.dataset for row in PUBLISHED] + list(ours)):
        theirs = [row for row in PUBLISHED if row.dataset == dataset]
        figures = list(dict.fromkeys(row.figure for row in theirs)) or ["ate_sim3", "absrel_scale_published", "acc"]
        for figure in figures:
            quoted = [row for row in theirs if row.figure == figure]
            grid = _grid(f"{dataset}: {WORDS[figure]}", quoted, ours.get(dataset, ()), figure)
            if grid.rows:
                out.append(grid)
    return out, [f"[{i}] {source}" for i, source in enumerate(SOURCES, 1)]


def _grid(title: str, quoted: Sequence[Published], rows: Sequence[Row], figure: str) -> Grid:
    mine = [row for row in rows if figure in row.figures]
    lengths = sorted({n for row in quoted for n in row.values} | {row.length for row in mine})
    cells = []
    for row in quoted:
        values = (_cell(row.values.get(n)) for n in lengths)
        cells.append(("published", row.method, f"[{SOURCES.index(f'{row.source}; {row.protocol}') + 1}]", *values))
    for model, rule in dict.fromkeys((row.model, row.rule) for row in mine):
        own = {row.length: row for row in mine if (row.model, row.rule) == (model, rule)}
        most = max(row.counted[figure] for row in own.values())
        found = (_cell(own[n].figures[figure] if n in own else None) for n in lengths)
        cells.append(("ours", f"{model} {rule}", f"{most} sequence{'s' * (most != 1)}", *found))
    return Grid(title, ("", "method", "source", *map(str, lengths)), tuple(cells), 3)


def _cell(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
