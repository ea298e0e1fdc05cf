# SPDX-License-Identifier: Apache-2.0
"""`longtake evaluate`: a model against ground truth."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def main(  # noqa: PLR0913
    words: Annotated[Positional[tuple[str, ...]], arg(metavar="[DATASET] FOLDER")] = (),
    *,
    model: str = "longtake-small",
    weights: Path | None = None,
    rules: Annotated[str | None, arg(aliases=("--rule",))] = None,
    reset_every: int | None = None,
    window: int | None = None,
    budget: int | None = None,
    reset_when: str | None = None,
    join: Literal["exact", "scale", "sim3"] = "exact",
    refine: bool = False,
    size: int | None = None,
    device: str = "auto",
    precision: Literal["float32", "bf16"] = "float32",
    lengths: str | None = None,
    start: int | None = None,
    stride: int = 1,
    frames: Annotated[int | None, arg(aliases=("--max-frames",))] = None,
    takes: int | None = None,
    resize: bool = False,
    cloud_points: int | None = None,
    depth_pixels: int | None = None,
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
        weights: Weight file, for models whose weights are not in the package or to measure others; `hub` downloads
            the official one.
        rules: Update rules of a recurrent memory, separated by commas; by default overwrite,ttt3r.
        reset_every: Start the memory over every so many frames.
        window: Data set: full attention (vggt, fast3r) reads at most so many frames at once.
        budget: Data set: a cache (streamvggt) keeps the keys of so many frames at most.
        reset_when: Start the memory over by what is seen: spent:N (the rates have added up to N, 60 by default, and the
            confidence is down), cut, or spent:N+cut.
        join: How the chunks between resets meet: exact (as published), scale (same camera, its scale by depth) or sim3.
        refine: Yardstick: let bundle adjustment follow (longtake.refine), as `longtake reconstruct --refine` does.
        size: Longer side of the image that the model sees, in pixels; by default the model's own.
        device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
        precision: Matrices are multiplied in float32, or in bf16, which is faster where the processor has it.
        lengths: Data set: frames after which figures are taken, separated by commas; by default at the end.
        start: Data set: first frame.
        stride: Use every so many-th frame; the yardstick has its own.
        frames: At most so many frames of each take.
        takes: At most so many takes of each set, for a quick look.
        resize: Data set: squeeze frames to the model's size, as the published depth tables, and cut nothing off.
        cloud_points: Data set: compare at most so many points; 0: all, as the published tables; by default 50,000.
        depth_pixels: Data set: compare at most so many pixels of a sequence; 0: all; by default 20,000,000.
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
    from longtake.evaluation.nets import Net, rules_of, untrained_twin
    from longtake.evaluation.records import cache_folder, write_json, write_text
    from longtake.evaluation.report import WITH_GOALS
    from longtake.evaluation.sets import find_sets
    from longtake.evaluation.tables import make_console, print_grid, to_markdown
    from longtake.evaluation.yardstick import draw_take, run_yardstick
    from longtake.registry import load

    if table:
        from longtake.verbs._benchmark import print_published

        return print_published([Path(word) for word in words], markdown)
    wanted = _parse_rules(rules)
    if batch < 1:
        raise InputError(f"batch {batch}: give a batch of at least 1.")
    if len(words) not in (1, 2):
        came = " ".join(words) or "nothing"
        raise InputError(f"longtake evaluate got {came}; give FOLDER for the yardstick, or DATASET and FOLDER.")
    if len(words) == 2:
        from longtake.evaluation.benchmark.protocol import CLOUD_POINTS, DEPTH_PIXELS, Protocol
        from longtake.verbs._benchmark import open_takes, parse_lengths, run_dataset

        alien = {
            "--refine": refine,
            "--batch": batch != 1,
            "--no-untrained": no_untrained,
            "--pictures": pictures,
            "--cache": cache,
        }
        _refuse(alien | {"--check": check}, "the yardstick (longtake evaluate FOLDER)")
        protocol = Protocol(
            dataset=words[0],
            lengths=parse_lengths(lengths),
            start=start or 0,
            stride=stride,
            max_frames=frames,
            fit="resize" if resize else "crop",
            reset_every=reset_every,
            window=window,
            budget=budget,
            reset_when=reset_when,
            join=join,
            cloud_points=CLOUD_POINTS if cloud_points is None else cloud_points,
            depth_pixels=DEPTH_PIXELS if depth_pixels is None else depth_pixels,
        )
        sequences = open_takes(protocol.dataset, Path(words[1]), takes)
        loaded = load(model, weights, device=device, size=size, precision=precision)
        options = {"out": json, "markdown": markdown, "fresh": fresh}
        return run_dataset(protocol, Path(words[1]), sequences, loaded, wanted or rules_of(loaded), **options)
    alien = {"--lengths": lengths, "--start": start is not None, "--resize": resize}
    alien |= {"--window": window is not None, "--budget": budget is not None}
    alien |= {"--cloud-points": cloud_points is not None, "--depth-pixels": depth_pixels is not None}
    _refuse(alien, "a data set (longtake evaluate rgbd FOLDER)")
    sets = find_sets(Path(words[0]), takes, frames, stride)
    loaded = load(model, weights, device=device, size=size, precision=precision)
    net, chosen = Net.of(loaded, join=join, reset_when=reset_when, refine=refine), wanted or rules_of(loaded)
    nets = [(net, chosen)] + ([] if no_untrained else [(untrained_twin(net), chosen[:1])])
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
            draw_take(net, each.takes[0], chosen[0], reset_every, pictures / f"{each.name}.png")
    missed = report.missed(net.name, chosen[0]) if check else []
    if check and not any(row.set in WITH_GOALS for row in report.rows):
        console.print(f"no goals are set for these takes, only for {' and '.join(WITH_GOALS)}", markup=False)
    for line in missed:
        console.print(f"missed: {line}", markup=False)
    return int(bool(missed))


def _refuse(alien: Mapping[str, object], home: str) -> None:
    """Raise InputError if a flag was given that means nothing here."""
    from longtake.errors import InputError

    if given := [flag for flag, value in alien.items() if value]:
        raise InputError(f"{', '.join(given)}: only for {home}. Leave out, or evaluate that.")


def _parse_rules(words: str | None) -> tuple[str, ...]:
    """Return the names of update rules, each once; none if none was asked for. Raises InputError, CapabilityError."""
    from longtake.errors import InputError
    from longtake.rules import get_rule

    names = tuple(dict.fromkeys(get_rule(word.strip()).name for word in (words or "").split(",") if word.strip()))
    if words is not None and not names:
        raise InputError(f"rules {words!r}: give one rule or more, or leave --rules out.")
    return names
