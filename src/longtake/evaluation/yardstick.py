# SPDX-License-Identifier: Apache-2.0
"""Measure nets on sets of takes and gather the report. Finished takes are kept, so a run that was stopped goes on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import longtake
from longtake.evaluation.folder import TakeFolder
from longtake.evaluation.nets import Net
from longtake.evaluation.pictures import save_picture
from longtake.evaluation.records import code_hash, read_record, record_path, to_record, write_json
from longtake.evaluation.report import Report, make_row
from longtake.evaluation.run import Reconstructor, evaluate_take, evaluate_takes
from longtake.evaluation.sampling import SAMPLING
from longtake.evaluation.sets import TakeSet

PANELS = 4  # frames in a picture


def run_yardstick(
    sets: Sequence[TakeSet],
    nets: Sequence[tuple[Net, Sequence[str]]],
    *,
    reset_every: int | None = None,
    batch: int = 1,
    cache: Path | None = None,
    fresh: bool = False,
    quiet: bool = False,
) -> Report:
    """Measure each net under each of its rules on every set of takes.

    `batch`: streams stepped together. `cache`: a folder of finished takes, so that a stopped run goes on (None: none is
    kept); `fresh`: write it but don't read it. Progress goes to standard error unless `quiet`.
    """
    common = {"reset_every": reset_every, "sampling": SAMPLING, "code_sha256": code_hash()}
    described = [net.settings() for net, _ in nets]
    total = sum(len(take) for each in sets for take in each.takes) * sum(len(rules) for _, rules in nets)
    rows = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
        bar = progress.add_task("", total=total)

        def advance(frames: int) -> None:
            progress.advance(bar, frames)

        for (net, rules), about in zip(nets, described, strict=True):
            for rule in rules:
                for each in sets:
                    progress.update(bar, description=f"{each.name} {net.name} {rule}")
                    settings = {**common, **about, "rule": rule}
                    records = _measure(net, each, settings, batch, cache, fresh, advance)
                    rows.append(make_row(each.name, net.name, rule, records))
    order = [each.name for each in sets]
    rows.sort(key=lambda row: order.index(row.set))  # stable: nets and rules keep their order
    frames = {each.name: each.takes[0].indices for each in sets}
    settings = {**common, "longtake": longtake.__version__, "batch": batch, "nets": described, "frames": frames}
    return Report(settings, tuple(rows))


def _measure(
    net: Reconstructor,
    takes: TakeSet,
    settings: Mapping[str, Any],
    batch: int,
    cache: Path | None,
    fresh: bool,
    tick: Callable[[int], None],
) -> list[Mapping[str, Any]]:
    """Return the records of a set's takes, in order, from the cache where it has them."""
    found: dict[str, Mapping[str, Any]] = {}
    paths = {take.name: record_path(cache, take, settings) for take in takes.takes} if cache else {}
    for take in takes.takes:
        record = read_record(paths[take.name]) if cache and not fresh else None
        if record is not None:
            found[take.name] = record
            tick(len(take))
    for group in _groups([take for take in takes.takes if take.name not in found], batch):
        results = evaluate_takes(net, group, settings["rule"], settings["reset_every"], on_frame=tick)
        for result in results:
            found[result.name] = to_record(result)
            if cache:
                write_json(paths[result.name], {**found[result.name], "settings": dict(settings)})
    return [found[take.name] for take in takes.takes]


def _groups(takes: Sequence[TakeFolder], batch: int) -> Iterator[Sequence[TakeFolder]]:
    for first in range(0, len(takes), batch):
        yield takes[first : first + batch]


def draw_take(net: Net, take: TakeFolder, rule: str, reset_every: int | None, path: Path) -> None:
    """Draw prediction beside truth for a few frames of a take into a PNG file; none where there is no true depth."""
    with_depth = [t for t, depth in enumerate(take.depths) if depth is not None]
    if with_depth:  # else there is nothing to lay beside the prediction
        last = len(with_depth) - 1
        keep = tuple(sorted({with_depth[round(last * part / (PANELS - 1))] for part in range(PANELS)}))
        save_picture(evaluate_take(net, take, rule, reset_every, keep=keep), path)
