# SPDX-License-Identifier: Apache-2.0
"""The one command that measures a model on the frozen takes, beside an untrained net and the naive guesses.

    python -m longtake.evaluation.yardstick --data ../shared/data --model longtake-small --json results.json
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import longtake
from longtake.errors import InputError
from longtake.evaluation.folder import TakeFolder
from longtake.evaluation.nets import Net, untrained_twin
from longtake.evaluation.pictures import save_picture
from longtake.evaluation.records import (
    cache_folder,
    code_hash,
    read_record,
    record_path,
    to_record,
    write_json,
    write_text,
)
from longtake.evaluation.report import Report, make_row
from longtake.evaluation.run import Reconstructor, evaluate_take, evaluate_takes
from longtake.evaluation.sampling import SAMPLING
from longtake.evaluation.sets import TakeSet, find_sets
from longtake.evaluation.tables import make_console, print_grid, to_markdown

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


def evaluate(  # noqa: PLR0913
    data: Path,
    *,
    model: str = "longtake-small",
    weights: Path | None = None,
    rules: str = "overwrite,ttt3r",
    reset_every: int | None = None,
    size: int | None = None,
    device: str = "auto",
    batch: int = 1,
    takes: int | None = None,
    frames: int | None = None,
    stride: int = 1,
    untrained: bool = True,
    json: Path | None = None,
    markdown: Path | None = None,
    pictures: Path | None = None,
    cache: Path | None = None,
    fresh: bool = False,
    check: bool = False,
) -> int:
    """Measure a model against ground truth, beside the same net untrained and two naive guesses.

    The untrained net runs under the first rule only. Finished takes are kept, so a run that was stopped goes on.

    Args:
        data: A take (rgb/, depth/, poses.txt, intrinsics.txt), a folder of takes, or the yardstick: the folder that
            holds heldout_v1 and office_walk.
        model: A name that `longtake models` lists.
        weights: Weight file, for models whose weights are not in the package or to measure others.
        rules: Update rules, separated by commas.
        reset_every: Start the memory over every so many frames.
        size: Longer side of the image that the model sees, in pixels; by default the model's own.
        device: auto, cpu, cuda, cuda:1, mps.
        batch: Takes that run together in one batch of streams.
        takes: At most so many takes of each set, for a quick look.
        frames: At most so many frames of each take, for a quick look.
        stride: Use every so many-th frame; the yardstick has its own.
        untrained: Measure the untrained net as well.
        json: Write all figures and settings to this file.
        markdown: Write the tables to this file, as Markdown.
        pictures: Draw the first take of each set into this folder.
        cache: Folder for finished takes; by default longtake/evaluation in the user's cache.
        fresh: Measure anew what the cache already holds.
        check: Exit with 1 if the model misses a goal under the first rule.
    """
    from longtake.registry import load

    chosen = tuple(dict.fromkeys(rule.strip() for rule in rules.split(",") if rule.strip()))
    if not chosen or batch < 1:
        raise InputError(f"rules {rules!r}, batch {batch}: give one rule or more, and a batch of at least 1.")
    sets = find_sets(data, takes, frames, stride)
    net = Net.of(load(model, weights, device=device, size=size))
    nets = [(net, chosen)] + ([(untrained_twin(net), chosen[:1])] if untrained else [])
    report = run_yardstick(sets, nets, reset_every=reset_every, batch=batch, cache=cache or cache_folder(), fresh=fresh)
    console, grids = make_console(), report.grids()
    for grid in grids:
        print_grid(grid, console)
    for line in report.notes():
        console.print(line, markup=False, soft_wrap=True)
    if json:
        write_json(json, report.to_json())
    if markdown:
        write_text(markdown, to_markdown(grids) + "\n" + "".join(f"- {line}\n" for line in report.notes()))
    if pictures:
        for each in sets:
            _draw(net, each.takes[0], chosen[0], reset_every, pictures / f"{each.name}.png")
    missed = report.missed(net.name, chosen[0])
    for line in missed if check else ():
        console.print(f"missed: {line}", markup=False)
    return int(check and bool(missed))


def _draw(net: Net, take: TakeFolder, rule: str, reset_every: int | None, path: Path) -> None:
    with_depth = [t for t, depth in enumerate(take.depths) if depth is not None]
    if with_depth:  # else there is nothing to lay beside the prediction
        last = len(with_depth) - 1
        keep = tuple(sorted({with_depth[round(last * part / (PANELS - 1))] for part in range(PANELS)}))
        save_picture(evaluate_take(net, take, rule, reset_every, keep=keep), path)


if __name__ == "__main__":
    import tyro

    sys.exit(tyro.cli(evaluate, prog="python -m longtake.evaluation.yardstick"))
