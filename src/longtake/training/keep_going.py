# SPDX-License-Identifier: Apache-2.0
"""A training that goes on after failures: each try is a process of its own, and begins where the last one saved.

A process that runs out of memory helps itself (`Trainer.step_or_fewer`). What remains are failures of the device, of a
compiler or of a kernel, after which nothing of a process can be trusted.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import replace
from typing import Any

from longtake.errors import CapabilityError
from longtake.families.cut3r import Cut3rConfig
from longtake.training.job import write_job
from longtake.training.loop import FEWER, TrainConfig

TRIES = 8
LEAST = 20.0  # seconds that are worth another try
CHUNK = 64  # frames that the plain renderer draws at once


def train_and_keep_going(config: TrainConfig, model_config: Any, devices: int = 1) -> None:
    """Train until the budget is over, in as many tries as it takes. Raises CapabilityError if the last one failed.

    devices: of this host that train together; where one fails, all begin again. OUT gets what one run gives; log.jsonl
    holds the tries one after the other, errors.txt what ended them.
    """
    deadline = time.monotonic() + 60 * config.minutes
    model = "longtake-small" if isinstance(model_config, Cut3rConfig) else "vggt-small"
    errors = config.out / "errors.txt"
    for number in range(TRIES):
        left = deadline - time.monotonic()
        job = config.out / "job.json"
        write_job(job, replace(config, minutes=left / 60), model, model_config)
        begun = time.time()
        with errors.open("ab") as file:
            at = file.tell()
            words = [sys.executable, *_launcher(devices), "-m", "longtake.training.run", "--job", job]
            code = subprocess.run(words, stderr=file, check=False).returncode
        if code == 0:
            return
        said = errors.read_bytes()[at:].decode("utf-8", "replace")
        last = _complaint(said) or f"exit code {code}"
        config, given_up = with_less(go_on_from(config, begun), said)
        print(f"try {number + 1} failed: {last}; next: {given_up}", flush=True)
        if deadline - time.monotonic() < LEAST:
            break
    raise CapabilityError(f"training failed, for the last time with: {last}. {errors} has all of it.")


def _launcher(devices: int) -> list[str]:
    """What starts a process for each device, on this host and seen by nobody else."""
    if devices == 1:
        return []
    return ["-m", "torch.distributed.run", "--standalone", "--local-addr", "127.0.0.1", f"--nproc-per-node={devices}"]


def _complaint(said: str) -> str:
    """The line that says what failed: the last one of a process of ours, before its launcher tells that it failed."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    told = [i for i, line in enumerate(lines) if "torch/distributed/elastic" in line]
    ours = lines[: told[0]] if told else lines
    return (ours or lines or [""])[-1]


def go_on_from(config: TrainConfig, since: float) -> TrainConfig:
    """The run from the weights that were saved last, if any were after `since` (seconds of the epoch)."""
    weights, log = config.out / "average.safetensors", config.out / "log.jsonl"
    if not weights.exists() or weights.stat().st_mtime < since or not log.exists():
        return config
    progress, saved, stage = config.progress, config.progress, config.start_stage
    for line in log.read_text(encoding="utf-8").splitlines():
        record = json.loads(line)
        if record["event"] == "train":
            progress, stage = record["progress"], record["stage"]
        elif record["event"] == "saved":
            saved = progress
    # At least a trace: a run that goes on adds to the log, and one without progress would begin it anew.
    return replace(config, resume=weights, progress=max(saved, 1e-6), start_stage=stage, new_confidence=False)


def with_less(config: TrainConfig, said: str) -> tuple[TrainConfig, str]:
    """The run without what may have failed, and its name: memory if that was said, else one thing after another."""
    if "out of memory" in said.lower():
        frames = max(1, int(config.frames_per_step * FEWER))
        return replace(config, frames_per_step=frames), f"{frames} frames a step"
    world = config.world
    if config.kernel and (world.mesh_share or world.street_share):
        bare = replace(world, mesh_share=0.0, street_share=0.0)
        return replace(config, world=bare), "rooms without meshes"
    if config.compiled:
        return replace(config, compiled=False), "nothing compiled"
    if config.kernel:
        return replace(config, kernel=False, world=replace(world, chunk=CHUNK)), "rays without the kernel"
    return replace(config, captured=False), "no graphs"
