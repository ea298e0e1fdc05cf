# SPDX-License-Identifier: Apache-2.0
"""`longtake train`: a model from nothing, on procedural rooms."""

from __future__ import annotations

from dataclasses import replace
from inspect import signature
from pathlib import Path
from typing import Any, Literal

FRAMES_ON_A_CPU = 8  # a few seconds a step on two cores


def main(  # noqa: PLR0913
    *,
    out: Path = Path("runs/train"),
    config: Literal["small"] | None = None,
    model: Literal["longtake-small", "vggt-small", "streamvggt-small"] = "longtake-small",
    minutes: float = 20.0,
    curriculum: Literal["standard", "short", "long", "onward", "toy"] = "standard",
    frames_per_step: int | None = None,
    rate: float = 3e-4,
    warmup: int = 200,
    seed: int = 0,
    precision: Literal["bf16", "float32"] = "bf16",
    compiled: bool = False,
    metric_scale: bool = False,
    new_confidence: bool = False,
    keep_going: bool = False,
    resume: Path | None = None,
    start_stage: int = 0,
    look_every: float = 60.0,
    held_out: int = 32,
    max_steps: int | None = None,
) -> None:
    """Train a model on procedural rooms, drawn while it trains: on a GPU, on the CPU, or on many GPUs of a host with
    `torchrun --nproc-per-node N -m longtake train ...`.

    OUT gets average.safetensors (the weights to use: `longtake reconstruct --weights`), last.safetensors (the same
    without averaging) and log.jsonl (losses, and figures on held-out takes at each look). Ctrl-C keeps the last look's.

    Args:
        out: Folder for weights and log.
        config: Train as shipped weights were trained, from nothing: small is longtake-small. It decides all numbers;
            only --out, --precision, --frames-per-step, --held-out and --max-steps (of each part) go with it.
        model: The shape of the model, as `longtake models` lists it.
        minutes: Budget; curriculum and learning rate follow it.
        curriculum: standard; short, for a few minutes on a GPU; long, takes of 64 frames for weights that can match
            already; onward, takes of 16 for such weights, then of 64; toy: small pictures, to see that all works.
        frames_per_step: Frames of 160x128 pixels on each device; other sizes get as many pixels. By default 1024 on
            a GPU and 8 on the CPU.
        rate: Learning rate after the warm-up.
        warmup: Steps until the full learning rate.
        seed: Seed of everything random.
        precision: Of the forward pass on a GPU; a CPU always takes float32.
        compiled: Compile the blocks, on a GPU: minutes at the start, faster steps afterwards. Of longtake-small only.
        metric_scale: Let the model say how many metres a unit has, too. Of longtake-small only.
        new_confidence: Begin the confidence anew; for --resume of versions 1 and 2, in which it is on its floor.
        keep_going: Begin again after a failure, from the weights saved last, with less of what may have failed.
        resume: Weights of an earlier training to go on from, or of a shipped model; the optimiser warms up again.
        start_stage: Stage of the curriculum to begin with, from 0.
        look_every: Seconds between looks at the held-out takes.
        held_out: How many held-out takes.
        max_steps: Stop after so many steps, if the budget is not spent before.
    """
    import torch

    from longtake.errors import InputError
    from longtake.registry import find
    from longtake.training.keep_going import train_and_keep_going
    from longtake.training.loop import TrainConfig, train
    from longtake.training.recipes import recipe
    from longtake.training.schedule import CURRICULA

    least = {"minutes": minutes, "rate": rate, "look-every": look_every}
    counts = {"frames-per-step": frames_per_step, "warmup": warmup, "held-out": held_out, "max-steps": max_steps}
    wrong = [f"--{name} {value}: must be more than 0" for name, value in least.items() if not value > 0]
    wrong += [f"--{name} {n}: must be at least 1" for name, n in counts.items() if n is not None and n < 1]
    stages = len(CURRICULA[curriculum])
    if not 0 <= start_stage < stages:
        wrong.append(f"--start-stage {start_stage}: {curriculum} has stages 0 to {stages - 1}")
    if resume is not None and not resume.is_file():
        wrong.append(f"--resume {resume}: no such file; name an average.safetensors of an earlier training")
    own_only = {"compiled": compiled, "metric-scale": metric_scale, "new-confidence": new_confidence}
    if model != "longtake-small":
        wrong += [f"--{name} with {model}: it is trained without; leave it out" for name, on in own_only.items() if on]
    if wrong:
        raise InputError("; ".join(wrong) + ".")
    if config is not None:
        decided = {"model": model, "minutes": minutes, "curriculum": curriculum, "rate": rate, "warmup": warmup}
        decided |= {"seed": seed, "compiled": compiled, "resume": resume, "start_stage": start_stage}
        decided |= {"metric_scale": metric_scale, "new_confidence": new_confidence, "keep_going": keep_going}
        _refuse_changes(config, decided | {"look_every": look_every})
        chosen = {"frames_per_step": frames_per_step, "held_out": held_out, "max_steps": max_steps}
        chosen = {name: value for name, value in chosen.items() if value is not None}
        for part in recipe(config, out):
            train(replace(part, precision=precision, **chosen), find(model).config)
        return
    if frames_per_step is None:
        frames_per_step = 1024 if torch.cuda.is_available() else FRAMES_ON_A_CPU
    own = TrainConfig(
        out=out,
        minutes=minutes,
        curriculum=curriculum,
        frames_per_step=frames_per_step,
        rate=rate,
        warmup=warmup,
        seed=seed,
        precision=precision,
        compiled=compiled,
        new_confidence=new_confidence,
        resume=resume,
        start_stage=start_stage,
        look_every=look_every,
        held_out=held_out,
        max_steps=max_steps,
    )
    shape = replace(find(model).config, metric_scale=True) if metric_scale else find(model).config
    (train_and_keep_going if keep_going else train)(own, shape)


def _refuse_changes(config: str, given: dict[str, Any]) -> None:
    """Raise InputError if a number was given that the recipe decides."""
    from longtake.errors import InputError

    usual = signature(main).parameters
    changed = [f"--{name.replace('_', '-')}" for name, value in given.items() if value != usual[name].default]
    if changed:
        raise InputError(f"{', '.join(changed)}: --config {config} decides that; leave it out, or leave --config out.")
