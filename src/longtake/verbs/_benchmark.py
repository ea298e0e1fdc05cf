# SPDX-License-Identifier: Apache-2.0
"""The parts of `longtake evaluate` that have to do with data sets and published tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from longtake.datasets.sequence import Sequence as Frames
from longtake.datasets.table import open_sequence
from longtake.errors import InputError
from longtake.evaluation.benchmark.gather import gather, told_apart
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.evaluation.benchmark.published import beside_published
from longtake.evaluation.benchmark.report import make_report, write_report
from longtake.evaluation.benchmark.results import read_folder, runs_beside
from longtake.evaluation.benchmark.run import run_benchmark
from longtake.evaluation.records import cache_folder, write_text
from longtake.evaluation.tables import make_console, print_grid, to_markdown
from longtake.registry import Model


def parse_lengths(words: str | None) -> tuple[int, ...]:
    """Return lengths in rising order; raises InputError where a word is no whole number."""
    try:
        return tuple(sorted({int(word) for word in (words or "").split(",") if word.strip()}))
    except ValueError:
        raise InputError(f"lengths {words!r}: give whole numbers separated by commas, such as 50,100,500.") from None


def open_takes(dataset: str, folder: Path, takes: int | None) -> list[Frames]:
    """Open the first `takes` sequences of a data set; raises InputError where there is nothing to measure."""
    if takes is not None and takes < 1:
        raise InputError(f"takes {takes}: it must be at least 1.")
    return open_sequence(dataset, folder)[:takes]


def run_dataset(
    protocol: Protocol,
    folder: Path,
    sequences: Sequence[Frames],
    model: Model,
    rules: Sequence[str],
    *,
    out: Path | None,
    markdown: Path | None,
    fresh: bool,
) -> int:
    """Measure, print the tables and write the report."""
    out = out or cache_folder() / protocol.dataset / folder.resolve().name
    runs = run_benchmark(sequences, model, rules, protocol, out, fresh=fresh)
    shown = [*runs, *runs_beside(out, runs)]
    report = make_report(shown, {sequence.name: sequence.notes for sequence in sequences}, protocol, out)
    console = make_console()
    for grid in report.tables:
        print_grid(grid, console)
    for line in report.remarks:
        console.print(line, markup=False, soft_wrap=True)
    page, _ = write_report(report, out)
    console.print(f"report: {page}", markup=False, soft_wrap=True)
    if markdown:
        write_text(markdown, to_markdown(report.tables))
    if not any(each["status"] == "ok" for run in runs for each in run["by_length"].values()):
        why = f"{report.remarks[-1]}. Mend that, or choose other frames or lengths; {page} has every reason."
        raise InputError(f"nothing could be measured: {why}")
    return 0


def print_published(folders: Sequence[Path], markdown: Path | None) -> int:
    """Print the published figures and, under them, those of folders of results."""
    records: dict[str, list[Mapping[str, Any]]] = {}
    for record in (record for folder in folders for record in read_folder(folder)):
        records.setdefault(record["dataset"], []).append(record)
    ours = {dataset: gather(told_apart(each)) for dataset, each in records.items()}
    grids, sources = beside_published(ours)
    lines = [*sources, "published: quoted, not measured here; sets, strides and dropped sequences differ"]
    console = make_console()
    for grid in grids:
        print_grid(grid, console)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)
    if markdown:
        write_text(markdown, to_markdown(grids) + "\n" + "".join(f"- {line}\n" for line in lines))
    return 0
