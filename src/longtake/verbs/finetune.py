# SPDX-License-Identifier: Apache-2.0
"""`longtake finetune`: a trained model carries on, on the user's own recordings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def main(  # noqa: PLR0913
    folders: Annotated[Positional[tuple[Path, ...]], arg(metavar="FOLDER...")],
    *,
    out: Path = Path("runs/finetune"),
    model: Literal["longtake-small", "vggt-small", "streamvggt-small"] = "longtake-small",
    weights: Path | None = None,
    lora: int = 8,
    strength: float = 1.0,
    steps: int = 300,
    minutes: float = 60.0,
    takes: int = 2,
    frames: int = 8,
    size: int = 160,
    max_stride: int = 2,
    rate: float | None = None,
    hold_out: float = 0.2,
    test_frames: int = 16,
    test_stride: int = 2,
    seed: int = 0,
) -> None:
    """Carry a trained model on, on RGB-D recordings with poses: FOLDERs in any layout that `longtake data check` knows.

    Depth may have holes. By default small adapters learn and the model's own weights stay; the end of each recording is
    kept aside, and figures on it are printed before and after. A CPU does it in minutes.

    OUT gets weights.safetensors (whole: `longtake reconstruct --weights`), adapters.safetensors (a few megabytes, for
    --weights too as long as they were trained on the weights in the package) and log.jsonl. Ctrl-C keeps what is
    learned. The licence of the weights that you start from, and that of your recordings, follow.

    Args:
        folders: Recordings: the root of a data set, or one sequence of it.
        out: Folder for weights and log.
        model: The shape of the model, as `longtake models` lists it.
        weights: Weights to start from; by default those in the package.
        lora: Rank of the adapters on attention and MLPs; 0: all weights learn (mind the rate, and forgetting).
        strength: Share of what the adapters learned that is kept: 0.5 lies half way between the old weights and the
            new, and often does better on what was not shown.
        steps: Updates.
        minutes: End earlier when these are over.
        takes: Takes of a step.
        frames: Frames of a take.
        size: Longest side of the pictures, in pixels, a multiple of 16.
        max_stride: Takes use every frame, or every second, up to every so many-th: choose steps as large as in use.
        rate: Learning rate; by default 1e-3 for adapters, 5e-5 for all weights.
        hold_out: Share of each recording, at its end, that is only tested on; 0: none.
        test_frames: Frames of a test take.
        test_stride: Test on every so many-th frame.
        seed: Seed of everything random.
    """
    from longtake.errors import InputError
    from longtake.evaluation.tables import FIGURES, Grid, naive_cells, print_grid, summary_cells
    from longtake.registry import find
    from longtake.training.finetune import ADAPTERS, WEIGHTS, FineTuneConfig, FineTuner

    counts = {"steps": steps, "takes": takes, "max-stride": max_stride, "test-stride": test_stride}
    wrong = [f"--{name} {n}: must be at least 1" for name, n in counts.items() if n < 1]
    lengths = {"frames": frames, "test-frames": test_frames}
    wrong += [f"--{name} {n}: must be at least 2" for name, n in lengths.items() if n < 2]
    wrong += [] if lora >= 0 else [f"--lora {lora}: give a rank of at least 1, or 0 to train all weights"]
    wrong += [] if 0 <= strength <= 1 else [f"--strength {strength}: a share, from 0 to 1"]
    wrong += [] if lora or strength == 1 else [f"--strength {strength}: of adapters; with --lora 0 leave it out"]
    wrong += [] if minutes > 0 else [f"--minutes {minutes}: must be more than 0"]
    wrong += [] if rate is None or rate > 0 else [f"--rate {rate}: must be more than 0"]
    wrong += [] if 0 <= hold_out < 1 else [f"--hold-out {hold_out}: a share, from 0 to less than 1"]
    wrong += [] if size >= 32 and size % 16 == 0 else [f"--size {size}: must be a multiple of 16, at least 32"]
    wrong += [] if folders else ["no FOLDER: name a recording"]
    if wrong:
        raise InputError("; ".join(wrong) + ".")
    tuner = FineTuner(
        FineTuneConfig(
            folders=folders,
            out=out,
            model=model,
            weights=weights,
            rank=lora,
            strength=strength,
            steps=steps,
            minutes=minutes,
            takes=takes,
            frames=frames,
            size=size,
            max_stride=max_stride,
            rate=rate,
            hold_out=hold_out,
            test_frames=test_frames,
            test_stride=test_stride,
            seed=seed,
        ),
        find(model).config,
    )
    seen = sum(len(source.frames) for source in tuner.sources)
    print(f"{seen} frames to learn from, {tuner.trainable / 1e6:.2f} M numbers learn", flush=True)
    before, after = tuner.run()
    for name, reason in tuner.recordings.broken.items():
        print(f"left out: {name}: {reason}")
    if before is not None and after is not None:
        title = f"held-out frames: {after.takes} takes of {test_frames}, every {test_stride}. frame"
        named = {"before": summary_cells(before), "after": summary_cells(after), "naive guesses": naive_cells(after)}
        print_grid(Grid(title, ("weights", *FIGURES), tuple((name, *cells) for name, cells in named.items())))
    print(f"{out / WEIGHTS}" + (f", {out / ADAPTERS}" if lora else ""))
