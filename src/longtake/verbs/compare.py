# SPDX-License-Identifier: Apache-2.0
"""`longtake compare`: models and update rules side by side over the same takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def main(  # noqa: PLR0913
    sources: Annotated[Positional[tuple[str, ...]], arg(metavar="CLIP_OR_FOLDER")],
    *,
    rules: str = "overwrite,ttt3r,filt3r",
    models: str = "longtake-small",
    out: Path | None = None,
    reset_every: int | None = None,
    reset_when: str | None = None,
    join: Literal["exact", "scale", "sim3"] = "exact",
    size: int | None = None,
    stride: int = 1,
    max_frames: int | None = None,
    batch: int = 1,
    device: str = "auto",
    precision: Literal["float32", "bf16"] = "float32",
) -> int:
    """Run models and rules side by side over one take or many, and print one table.

    ATE and RPE translation in metres after Sim(3) alignment, RPE rotation in degrees, AbsRel of depth with one scale a
    take; of several takes the mean and, after ±, the standard deviation. A take without true poses gets frames/s, state
    bytes and a picture of its paths.

    Args:
        sources: Takes with truth (rgb/, depth/, poses.txt, intrinsics.txt), folders of such takes, or videos.
        rules: Update rules, separated by commas; see `longtake rules`.
        models: Models, separated by commas; NAME=FILE gives the weights. See `longtake models`.
        out: Folder for compare.png, compare.json and compare.md.
        reset_every: Start the memory over every so many frames.
        reset_when: Start the memory over by what is seen: spent:N (the rates have added up to N, 60 by default, and the
            confidence is down), cut, or spent:N+cut.
        join: How the chunks between resets meet: exact (as published), scale (same camera, its scale by depth) or sim3.
        size: Longer side of the image that the models see, in pixels; by default each model's own.
        stride: Use every so many-th frame.
        max_frames: At most so many frames of each take.
        batch: Takes with truth that run together in one batch of streams.
        device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
        precision: Matrices are multiplied in float32, or in bf16, which is faster where the processor has it.
    """
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    import longtake
    from longtake.errors import InputError
    from longtake.evaluation.folder import TakeFolder
    from longtake.evaluation.records import write_json, write_text
    from longtake.evaluation.tables import make_console, print_grid, to_markdown
    from longtake.registry import load
    from longtake.rules import get_rule
    from longtake.verbs._compare_pictures import check_count, save_comparison
    from longtake.verbs._compare_run import find_takes, run_entry
    from longtake.verbs._compare_table import length_grid, main_grid, to_json

    chosen = tuple(dict.fromkeys(get_rule(rule.strip()).name for rule in rules.split(",") if rule.strip()))
    named = tuple(dict.fromkeys(model.strip() for model in models.split(",") if model.strip()))
    if not chosen or not named or batch < 1:
        raise InputError(f"rules {rules!r}, models {models!r}, batch {batch}: give one or more of each.")
    check_count(len(chosen) * len(named))
    takes = find_takes(sources, stride, max_frames)
    frames = sum(len(take) if isinstance(take, TakeFolder) else take.open().length or 0 for take in takes)
    entries = []
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        bar = progress.add_task("", total=frames * len(chosen) * len(named) or None)
        for model in named:
            name, _, weights = model.partition("=")
            loaded = load(name, weights or None, device=device, size=size, precision=precision)
            for rule in chosen:
                progress.update(bar, description=f"{name} {rule}")
                entries.append(
                    run_entry(
                        loaded,
                        rule,
                        takes,
                        reset_every=reset_every,
                        options={"join": join, "reset_when": reset_when},
                        batch=batch,
                        on_frame=lambda count: progress.advance(bar, count),
                    )
                )
    grids = [grid for grid in (main_grid(entries), length_grid(entries)) if grid is not None]
    console = make_console()
    for grid in grids:
        print_grid(grid, console)
    if out is not None:
        settings = {
            "longtake": longtake.__version__,
            "rules": chosen,
            "models": [model.partition("=")[0] for model in named],
            "reset_every": reset_every,
            "reset_when": reset_when,
            "join": join,
            "size": size,
            "precision": precision,
            "stride": stride,
            "max_frames": max_frames,
            "batch": batch,
        }
        write_json(out / "compare.json", to_json(entries, settings))
        write_text(out / "compare.md", to_markdown(grids))
        save_comparison(entries, out / "compare.png")
        console.print(f"wrote {out / 'compare.png'}, compare.json and compare.md", markup=False, soft_wrap=True)
    return 0
