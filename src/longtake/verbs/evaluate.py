# SPDX-License-Identifier: Apache-2.0
"""`longtake evaluate`: a model against ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def main(  # noqa: PLR0913
    words: Annotated[Positional[tuple[str, ...]], arg(metavar="[DATASET] FOLDER")] = (),
    *,
    model: str = "longtake-small",
    weights: Path | None = None,
    rules: Annotated[str, arg(aliases=("--rule",))] = "overwrite,ttt3r",
    reset_every: int | None = None,
    size: int | None = None,
    device: str = "auto",
    lengths: str | None = None,
    start: int | None = None,
    stride: int = 1,
    frames: Annotated[int | None, arg(aliases=("--max-frames",))] = None,
    takes: int | None = None,
    resize: bool = False,
    cloud_points: int | None = None,
    batch: int = 1,
    no_untrained: bool = False,
    json: Path | None = None,
    markdown: Path | None = None,
    pictures: Path | None = None,
    cache: Path | None = None,
    fresh: bool = False,
    check: bool = False,
    table: bool = False,
) -> int:
    """Measure a model against ground truth: on a data set by the published protocols, or on the yardstick.

    `longtake evaluate DATASET FOLDER`: camera path, video depth, point cloud and cost, at each length. DATASET is
    rgbd (the plain folder), tum, bonn, kitti, kitti-odometry, scannet, 7scenes, nrgbd, sintel, colmap or nerfstudio.
    Writes one JSON a sequence, plots, pictures and a report that states everything that changes a number.

    `longtake evaluate FOLDER`: the yardstick, beside the same net untrained and two naive guesses. FOLDER is a take
    with rgb/, depth/ (16-bit PNG, millimetres), poses.txt (world_from_cam) and intrinsics.txt, as
    `longtake data synthesize` writes them, or a folder of takes.

    `longtake evaluate --table [RESULTS ...]`: published figures, and under them ours from folders that --json named.

    Finished takes are kept, so a run that was stopped goes on.

    Args:
        words: A data set and its folder; or a take, a folder of takes, or the folder of heldout_v1 and office_walk.
        model: A name that `longtake models` lists.
        weights: Weight file, for models whose weights are not in the package or to measure others.
        rules: Update rules, separated by commas.
        reset_every: Start the memory over every so many frames.
        size: Longer side of the image that the model sees, in pixels; by default the model's own.
        device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
        lengths: Data set: frames after which figures are taken, separated by commas; by default at the end.
        start: Data set: first frame.
        stride: Use every so many-th frame; the yardstick has its own.
        frames: At most so many frames of each take.
        takes: At most so many takes of each set, for a quick look.
        resize: Data set: squeeze frames to the model's size, as the published depth tables, and cut nothing off.
        cloud_points: Data set: compare at most so many points; 0: all, as the published tables; by default 50,000.
        batch: Yardstick: takes that run together in one batch of streams.
        no_untrained: Yardstick: leave out the untrained net.
        json: Yardstick: write all figures to this file. Data set: folder for all results, by default in the user's
            cache.
        markdown: Write the tables to this file, as Markdown.
        pictures: Yardstick: draw the first take of each set into this folder.
        cache: Yardstick: folder for finished takes; by default longtake/evaluation in the user's cache.
        fresh: Measure anew what is there already.
        check: Yardstick: exit with 1 if the model misses a goal under the first rule.
        table: Print published figures, and ours from folders of results.
    """
    from longtake.errors import InputError
    from longtake.rules import get_rule

    if table:
        return _table([Path(word) for word in words], markdown)
    chosen = tuple(dict.fromkeys(get_rule(rule.strip()).name for rule in rules.split(",") if rule.strip()))
    if not chosen or batch < 1:
        raise InputError(f"rules {rules!r}, batch {batch}: give one rule or more, and a batch of at least 1.")
    loading = (model, weights, device, size)
    if len(words) == 2:
        alien = {"--batch": batch != 1, "--no-untrained": no_untrained, "--pictures": pictures is not None}
        _refuse(alien | {"--cache": cache is not None, "--check": check}, "the yardstick: longtake evaluate FOLDER")
        points = {} if cloud_points is None else {"cloud_points": cloud_points}
        options = {"start": start or 0, "stride": stride, "max_frames": frames, "reset_every": reset_every, **points}
        return _dataset(
            words[0], Path(words[1]), loading, chosen, lengths, options, resize, takes, json, markdown, fresh
        )
    if len(words) != 1:
        came = " ".join(words) or "nothing"
        raise InputError(f"longtake evaluate got {came}; give FOLDER for the yardstick, or DATASET and FOLDER.")
    alien = {"--lengths": lengths is not None, "--start": start is not None, "--resize": resize}
    _refuse(alien | {"--cloud-points": cloud_points is not None}, "a data set: longtake evaluate rgbd FOLDER")
    options = {"reset_every": reset_every, "batch": batch, "fresh": fresh, "cache": cache}
    return _yardstick(
        Path(words[0]), loading, chosen, takes, frames, stride, no_untrained, options, json, markdown, pictures, check
    )


def _refuse(alien: dict[str, bool], home: str) -> None:
    from longtake.errors import InputError

    if given := [flag for flag, is_given in alien.items() if is_given]:
        raise InputError(f"{', '.join(given)} belong to {home}. Leave them out, or evaluate that.")


def _table(folders: list[Path], markdown: Path | None) -> int:
    from longtake.evaluation.benchmark.gather import gather
    from longtake.evaluation.benchmark.published import beside_published
    from longtake.evaluation.benchmark.results import read_folder
    from longtake.evaluation.records import write_text
    from longtake.evaluation.tables import make_console, print_grid, to_markdown

    runs: dict[str, list] = {}
    for record in (record for folder in folders for record in read_folder(folder)):
        runs.setdefault(record["dataset"], []).extend(record["runs"].values())
    grids = beside_published({dataset: gather(each) for dataset, each in runs.items()})
    console = make_console()
    for grid in grids:
        print_grid(grid, console)
    if markdown:
        write_text(markdown, to_markdown(grids))
    return 0


def _dataset(dataset, folder, loading, rules, lengths, options, resize, takes, out, markdown, fresh) -> int:  # type: ignore[no-untyped-def]
    from longtake.datasets.table import open_sequence
    from longtake.errors import InputError
    from longtake.evaluation.benchmark.protocol import Protocol
    from longtake.evaluation.benchmark.report import make_report, write_report
    from longtake.evaluation.benchmark.run import run_benchmark
    from longtake.evaluation.records import cache_folder, write_text
    from longtake.evaluation.tables import make_console, print_grid, to_markdown
    from longtake.registry import load

    try:
        wanted = tuple(sorted({int(word) for word in (lengths or "").split(",") if word.strip()}))
    except ValueError:
        raise InputError(f"lengths {lengths!r}: give whole numbers separated by commas, such as 50,100,500.") from None
    if takes is not None and takes < 1:
        raise InputError(f"takes {takes}: it must be at least 1.")
    protocol = Protocol(dataset, wanted, fit="resize" if resize else "crop", **options)
    sequences = open_sequence(dataset, folder)[:takes]
    out = out or cache_folder() / dataset / folder.resolve().name
    name, weights, device, size = loading
    runs = run_benchmark(sequences, load(name, weights, device=device, size=size), rules, protocol, out, fresh=fresh)
    report = make_report(runs, {sequence.name: sequence.notes for sequence in sequences}, protocol, out)
    console = make_console()
    for grid in report.tables:
        print_grid(grid, console)
    for line in report.remarks:
        console.print(line, markup=False, soft_wrap=True)
    page, _ = write_report(report, out)
    console.print(f"report: {page}", markup=False, soft_wrap=True)
    if markdown:
        write_text(markdown, to_markdown(report.tables))
    return 0


def _yardstick(
    data, loading, rules, takes, frames, stride, no_untrained, options, json, markdown, pictures, check
) -> int:  # type: ignore[no-untyped-def]
    from longtake.evaluation.nets import Net, untrained_twin
    from longtake.evaluation.records import cache_folder, write_json, write_text
    from longtake.evaluation.report import WITH_GOALS
    from longtake.evaluation.sets import find_sets
    from longtake.evaluation.tables import make_console, print_grid, to_markdown
    from longtake.evaluation.yardstick import draw_take, run_yardstick
    from longtake.registry import load

    sets = find_sets(data, takes, frames, stride)
    name, weights, device, size = loading
    net = Net.of(load(name, weights, device=device, size=size))
    nets = [(net, rules)] + ([] if no_untrained else [(untrained_twin(net), rules[:1])])
    report = run_yardstick(sets, nets, **options | {"cache": options["cache"] or cache_folder()})
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
            draw_take(net, each.takes[0], rules[0], options["reset_every"], pictures / f"{each.name}.png")
    missed = report.missed(net.name, rules[0]) if check else []
    if check and not any(row.set in WITH_GOALS for row in report.rows):
        console.print(f"no goals are set for these takes, only for {' and '.join(WITH_GOALS)}", markup=False)
    for line in missed:
        console.print(f"missed: {line}", markup=False)
    return int(bool(missed))
