# SPDX-License-Identifier: Apache-2.0
"""`longtake compare`: models and update rules side by side over the same takes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from longtake.verbs._compare_run import Entry


def main(  # noqa: PLR0913
    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="CLIP_OR_FOLDER")],
    *,
    rules: str = "overwrite,ttt3r,filt3r",
    models: str = "longtake-small",
    out: Path | None = None,
    reset_every: int | Literal["auto"] | None = None,
    reset_when: str | None = None,
    join: Literal["exact", "scale", "sim3"] | None = None,
    window: int | None = None,
    budget: int | None = None,
    camera: Literal["head", "solve"] = "head",
    size: int | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    batch: int = 1,
    device: str = "auto",
    precision: Literal["float32", "bf16"] = "float32",
) -> int:
    """Run models and rules side by side over one take or many, and print one table.

    ATE and RPE translation in metres after Sim(3) alignment, RPE rotation in degrees, AbsRel of depth with one scale a
    take; of several takes the mean and, after ±, the standard deviation. Takes without true poses have no errors. Then,
    against the number of frames: the errors, frames/s, the most memory so far (of the GPU, else of the process) and
    what is kept between frames. Where a model revises earlier frames, its last word counts. What is done is told, too,
    where something ends the rest.

    Args:
        sources: Takes with truth (rgb/, depth/, poses.txt, intrinsics.txt), folders of such takes, or videos.
        rules: Update rules, separated by commas; see `longtake rules`. Models without a recurrent memory have none, and
            run once.
        models: Models, separated by commas; NAME=FILE gives the weights. See `longtake models`.
        out: Folder for compare.png, compare.json and compare.md.
        reset_every: Start the memory over every so many frames. auto is what is best for each model, as in
            `longtake reconstruct`.
        reset_when: Start the memory over by what is seen: spent:N (the rates have added up to N, 60 by default, and the
            confidence is down), cut, or spent:N+cut.
        join: How the chunks between resets meet: exact (as published), scale (same camera, its scale by depth) or sim3;
            by default exact, and with auto resets what is best for each model.
        window: Full attention (vggt, fast3r) reads at most so many frames at once, the first and the newest.
        budget: A cache (streamvggt) keeps the keys of so many frames at most.
        camera: Poses as the models say them (head), or solved from their points (solve, with the extra `solve`).
        size: Longer side of the image that the models see, in pixels; by default each model's own.
        stride: Use every so many-th frame.
        max_frames: At most so many frames of each take.
        batch: Takes with truth that run together in one batch of streams.
        device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
        precision: Matrices are multiplied in float32, or in bf16, which is faster where the processor has it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from longtake.errors import InputError
    from longtake.evaluation.folder import TakeFolder
    from longtake.registry import load
    from longtake.verbs._compare_pictures import check_count
    from longtake.verbs._compare_plan import plan
    from longtake.verbs._compare_run import find_takes, run_entry

    if batch < 1:
        raise InputError(f"batch {batch}: give one or more takes.")
    takes = find_takes(sources, stride, max_frames)
    plans = plan(models, rules, window=window, budget=budget)
    runs = sum(len(each.rules) for each in plans)
    check_count(runs)
    join = join or (None if reset_every == "auto" else "exact")
    frames = sum(len(take) if isinstance(take, TakeFolder) else take.open().length or 0 for take in takes)
    entries: list[Entry] = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    try:
        with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
            bar = progress.add_task("", total=frames * runs or None)
            for each in plans:
                loaded = load(each.name, each.weights, device=device, size=size, precision=precision)
                for rule in each.rules:
                    progress.update(bar, description=f"{each.name} {rule}")
                    entries.append(
                        run_entry(
                            loaded,
                            rule,
                            takes,
                            reset_every=reset_every,
                            options={"join": join, "reset_when": reset_when, "camera": camera, **each.bounds},
                            batch=batch,
                            on_frame=lambda count: progress.advance(bar, count),
                        )
                    )
                del loaded  # the next one has the memory to itself
    finally:  # what is done is told, whatever ended the rest
        if entries:
            settings = {
                "rules": list(dict.fromkeys(entry.rule for entry in entries)),
                "models": [each.name for each in plans],
                "window": window,
                "budget": budget,
                "camera": camera,
                "reset_every": reset_every,
                "reset_when": reset_when,
                "join": join,
                "size": size,
                "precision": precision,
                "stride": stride,
                "max_frames": max_frames,
                "batch": batch,
            }
            _tell(entries, settings, out)
    return 0


def _tell(entries: list[Entry], settings: dict[str, Any], out: Path | None) -> None:
    """Print the tables of what is done, and write them where a folder was given."""
    import longtake
    from longtake.evaluation.records import write_json, write_text
    from longtake.evaluation.tables import make_console, print_grid, to_markdown
    from longtake.verbs._compare_pictures import save_comparison
    from longtake.verbs._compare_table import cost_grid, length_grid, main_grid, spent_lines, to_json

    grids = [grid for grid in (main_grid(entries), length_grid(entries), cost_grid(entries)) if grid is not None]
    console, spent = make_console(), spent_lines(entries)
    for grid in grids:
        print_grid(grid, console)
    for line in spent:
        console.print(line, markup=False, soft_wrap=True)
    if out is not None:
        write_json(out / "compare.json", to_json(entries, {"longtake": longtake.__version__} | settings))
        write_text(out / "compare.md", "\n".join([to_markdown(grids), *spent]))
        save_comparison(entries, out / "compare.png")
        console.print(f"wrote {out / 'compare.png'}, compare.json and compare.md", markup=False, soft_wrap=True)
