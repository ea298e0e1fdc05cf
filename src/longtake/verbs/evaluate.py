# SPDX-License-Identifier: Apache-2.0
"""`longtake evaluate`: a model against ground truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from tyro.conf import Positional, arg


def main(  # noqa: PLR0913
    data: Annotated[Positional[Path], arg(metavar="FOLDER")],
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
    no_untrained: bool = False,
    json: Path | None = None,
    markdown: Path | None = None,
    pictures: Path | None = None,
    cache: Path | None = None,
    fresh: bool = False,
    check: bool = False,
) -> int:
    """Measure a model against ground truth, beside the same net untrained and two naive guesses.

    A take is a folder with rgb/, depth/ (16-bit PNG, millimetres), poses.txt (world_from_cam) and intrinsics.txt, as
    `longtake data synthesize` writes them. The untrained net runs under the first rule only. Finished takes are kept,
    so a run that was stopped goes on.

    Args:
        data: A take, a folder of takes, or the yardstick: the folder that holds heldout_v1 and office_walk.
        model: A name that `longtake models` lists.
        weights: Weight file, for models whose weights are not in the package or to measure others.
        rules: Update rules, separated by commas.
        reset_every: Start the memory over every so many frames.
        size: Longer side of the image that the model sees, in pixels; by default the model's own.
        device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
        batch: Takes that run together in one batch of streams.
        takes: At most so many takes of each set, for a quick look.
        frames: At most so many frames of each take, for a quick look.
        stride: Use every so many-th frame; the yardstick has its own.
        no_untrained: Leave out the untrained net.
        json: Write all figures and settings to this file.
        markdown: Write the tables to this file, as Markdown.
        pictures: Draw the first take of each set into this folder.
        cache: Folder for finished takes; by default longtake/evaluation in the user's cache.
        fresh: Measure anew what the cache already holds.
        check: Exit with 1 if the model misses a goal under the first rule.
    """
    from longtake.errors import InputError
    from longtake.evaluation.nets import Net, untrained_twin
    from longtake.evaluation.records import cache_folder, write_json, write_text
    from longtake.evaluation.report import WITH_GOALS
    from longtake.evaluation.sets import find_sets
    from longtake.evaluation.tables import make_console, print_grid, to_markdown
    from longtake.evaluation.yardstick import draw_take, run_yardstick
    from longtake.registry import load
    from longtake.rules import get_rule

    chosen = tuple(dict.fromkeys(get_rule(rule.strip()).name for rule in rules.split(",") if rule.strip()))
    if not chosen or batch < 1:
        raise InputError(f"rules {rules!r}, batch {batch}: give one rule or more, and a batch of at least 1.")
    sets = find_sets(data, takes, frames, stride)
    net = Net.of(load(model, weights, device=device, size=size))
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
