# SPDX-License-Identifier: Apache-2.0
"""The training loop: the same command on a CPU, a GPU, or many under torchrun.

Rank 0 decides (stage, rate, stop) and tells the others, so clocks never disagree. One JSON line per look goes to
log.jsonl; weights (the moving average) go to average.safetensors, the raw ones to last.safetensors.
"""

from __future__ import annotations

import gc
import json
import math
import subprocess
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtake.errors import OutputError
from longtake.synthetic.config import WorldConfig
from longtake.training.attention import Logits, clip_logits
from longtake.training.crew import Crew
from longtake.training.flat import Average, FlatParameters
from longtake.training.guard import Guard
from longtake.training.heldout import HeldOut
from longtake.training.learners import make_learner
from longtake.training.losses import LossWeights
from longtake.training.muon import ADAM_SIZE
from longtake.training.precompile import Ready, later_shapes, start
from longtake.training.schedule import CURRICULA, Schedule, Stage
from longtake.training.shapes import Shape, shape_of
from longtake.training.snapshot import load_learner, save_learner
from longtake.training.step import Step

LONG = 64  # frames of the longest held-out takes, once takes of training are as long
REPORT_FRAMES = 40_000  # of a device: steps of long takes report, and look at the clock, after fewer of them
FEWER = 0.7  # share of the frames of a step that stay when memory runs out
USUAL_ERROR = 0.15  # of depth and of points: what a confidence that is begun anew says


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """Everything that decides a run, apart from the model's own numbers."""

    out: Path = Path("runs/train")
    minutes: float = 20.0  # budget after the start of the process, compilation included
    progress: float = 0.0  # share of the whole training that went before: of one that goes on after a failure
    curriculum: str = "standard"
    stages: tuple[Stage, ...] = ()  # in place of the named curriculum
    frames_per_step: int = 1024  # of 160 x 128 pixels on each device; other sizes get as many pixels
    rate: float = 3e-4  # at twice that, losses spiked and matching did not appear
    warmup: int = 200  # steps
    flat: float = 0.5  # share of the budget at the full rate
    decay: float = 0.03
    muon: float = ADAM_SIZE  # size of its updates of attention and MLPs; 0: AdamW for all
    clip: float = 1.0
    average: float = 0.999
    seed: int = 0
    precision: str = "bf16"  # bf16, or float32
    compiled: bool = False  # torch.compile the parts, on a GPU: minutes at the start, then about twice the speed
    captured: bool = True  # as CUDA graphs, on a GPU
    kernel: bool = True  # rays by the hand-written kernel, on a GPU
    resume: Path | None = None  # weights to go on from; the optimiser warms up again
    logits: float = 0.0  # what cross-attention begins with at most (QK-clip), 0: as it is; see training/attention.py
    new_confidence: bool = False  # begin the confidence anew; for weights in which it is on its floor
    start_stage: int = 0
    look_every: float = 60.0  # seconds between looks at the held-out takes
    held_out: int = 32  # takes
    max_steps: int | None = None
    world: WorldConfig = field(default_factory=WorldConfig)
    weights: LossWeights = field(default_factory=LossWeights)


class Trainer:
    """Holds what a run needs and walks it."""

    def __init__(self, config: TrainConfig, model_config: Any) -> None:
        self.begun, self.begun_log = time.monotonic(), config.progress > 0
        self.config, self.crew = config, Crew()
        device = self.crew.device
        torch.manual_seed(config.seed)  # the same weights everywhere
        self.learner = make_learner(model_config).to(device)
        if config.resume is not None:
            load_learner(self.learner, config.resume)
        if config.new_confidence:
            self.learner.begin_confidence(config.weights.alpha / USUAL_ERROR)
        self.clipped = self.clip_logits() if config.logits else {}
        self.flat = FlatParameters([self.learner])
        self.optimiser = self.flat.optimiser(config.rate, config.decay, muon=config.muon)
        self.average = Average(self.flat, config.average)
        self.guard = Guard(self.flat, self.optimiser, self.average)
        # Other takes everywhere, and after --resume other ones than those that its weights have seen.
        before = zlib.crc32(self.flat.values.cpu().numpy().tobytes()) if config.resume is not None else 0
        torch.manual_seed(before + config.seed * 1000 + 1 + self.crew.rank)
        self.gpu = device.type == "cuda"
        self.precision = torch.bfloat16 if config.precision == "bf16" and self.gpu else None
        self.pool = torch.cuda.graph_pool_handle() if self.gpu else None
        if config.compiled and self.gpu:
            self.learner.compile_parts()
        stages = config.stages or CURRICULA[config.curriculum]
        self.schedule = Schedule(stages, config.rate, config.warmup, config.flat, index=config.start_stage)
        while self.schedule.advance(config.progress, math.inf):  # stages that were over before
            pass
        self.ready: Ready | None = None  # which sizes are compiled, once that has begun
        self.compiler: subprocess.Popen[bytes] | None = None
        self.steps: dict[tuple[Shape, float, float, float], Step] = {}
        self.step_count, self.frame_count = 0, 0
        self.frames_per_step = config.frames_per_step  # fewer once memory ran out
        self.flow_ratio = 1.0
        self.sums: dict[str, Tensor] = {}
        self.held: list[HeldOut] = []

    def clip_logits(self) -> dict[str, float]:
        """Scale cross-attentions whose logits are too large, the same on all devices; return how large they were."""
        limit, stages = self.config.logits, self.config.stages or CURRICULA[self.config.curriculum]
        held = HeldOut(min(4, self.config.held_out), 16, stages[0].sizes[0], self.crew.device)
        with Logits(self.learner) as logits:
            held.figures(self.learner, gated=False, precision=None)
        names = sorted(logits.largest)
        largest = dict(zip(names, self.crew.tell([float(logits.largest[name]) for name in names]), strict=True))
        largest = {name: most for name, most in largest.items() if most > limit}
        clip_logits(self.learner, {name: limit / most for name, most in largest.items()})
        return largest

    def elapsed(self) -> float:
        """Seconds since the trainer was made."""
        return time.monotonic() - self.begun

    def log(self, record: dict[str, Any]) -> None:
        """One line on disk, and on the screen."""
        if self.crew.rank:
            return
        record = {"seconds": round(self.elapsed(), 1), "step": self.step_count, "frames": self.frame_count} | record
        line = json.dumps({k: _brief(v) if k != "seconds" else v for k, v in record.items()})
        print(line, flush=True)
        with open(self.config.out / "log.jsonl", "a" if self.begun_log else "w") as file:
            file.write(line + "\n")
        self.begun_log = True

    def step_for(self, stage: Stage, turn: int) -> Step:
        """The step of a shape, captured when first met."""
        shape = shape_of(stage, turn, self.frames_per_step)
        key = (shape, stage.gated, stage.filtered, stage.damped)
        if key not in self.steps:
            before = time.monotonic()
            step = Step(
                self.learner,
                shape,
                self.config.world,
                self.config.weights,
                self.flat.gradients,
                stage.gated,
                filtered_share=stage.filtered,
                damped_share=stage.damped,
                precision=self.precision,
                compiled=self.config.compiled and self.gpu,
                kernel=self.config.kernel and self.gpu,
            )
            if self.gpu and self.learner.captured and self.config.captured:
                step.capture(self.pool, brief=bool(self.steps))
            self.steps[key] = step
            size = {"takes": shape.takes, "take": shape.frames, "height": shape.height, "width": shape.width}
            self.log({"event": "shape", **size, "took": time.monotonic() - before})
        return self.steps[key]

    def drop_steps(self) -> None:
        """Free the graphs of a stage that is over."""
        self.steps.clear()
        gc.collect()  # nothing of a step is known to lie in a cycle (a test looks), but what torch keeps may
        if self.gpu:
            torch.cuda.synchronize()
            torch.cuda.empty_cache()
            self.pool = torch.cuda.graph_pool_handle()  # the old one died with its last graph

    def rate(self, progress: float) -> float:
        """The learning rate now."""
        return self.guard.slowed * self.schedule.learning_rate(progress, self.step_count)

    def train_step(self, progress: float) -> Shape:
        """One update of the weights."""
        stage = self.schedule.stage
        # With enough devices each keeps a size of its own: fewer graphs, and all sizes in every update.
        several = self.crew.size >= len(stage.sizes)
        turn = self.crew.rank if several else self.step_count + self.crew.rank
        if self.ready is not None and not several:
            sizes = [shape_of(stage, i, self.frames_per_step) for i in range(len(stage.sizes))]
            turns = self.ready.turns(sizes)
            turn = turns[turn % len(turns)]
        step = self.step_for(stage, turn)
        step.run()
        self.crew.mean_(self.flat.gradients)
        norm = self.flat.clip(self.config.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate(progress)
        before, sound = self.flat.values.clone(), norm.isfinite()
        self.optimiser.step()
        # Gradients that are not finite are zeros by now, along which Muon would still go on at full size: stay.
        self.flat.values.copy_(torch.where(sound, self.flat.values, before))
        self.average.update()
        more = {"norm": torch.where(sound, norm, 0.0), "skipped": (~sound).float()}
        for name, part in (step.parts | more).items():
            self.sums[name] = self.sums.get(name, 0) + part.detach().clone()  # clone: a graph overwrites its outputs
        self.step_count += 1
        self.frame_count += step.shape.takes * step.shape.frames * self.crew.size
        return step.shape

    def step_or_fewer(self, progress: float) -> Shape:
        """One update; where memory runs out, of fewer frames from then on. Raises OutOfMemoryError for one take."""
        while True:
            try:
                return self.train_step(progress)
            except torch.OutOfMemoryError:
                if self.crew.size > 1 or self.frames_per_step == 1 or self.smallest():
                    raise  # others would wait for this process, or there is nothing left to leave out
            # Outside of the handler: the error holds the frames of the calls, and they what filled the memory.
            self.drop_steps()
            self.frames_per_step = max(1, int(self.frames_per_step * FEWER))
            self.log({"event": "memory", "frames_per_step": self.frames_per_step})
            self.begin_compiling()

    def steps_to_report(self) -> int:
        """How many steps there are between reports: as many for every device, whatever size it is at."""
        frames = self.schedule.stage.share * self.frames_per_step
        return max(1, min(25 if self.gpu else 5, math.ceil(REPORT_FRAMES / frames)))

    def smallest(self) -> bool:
        """Whether a step is a single take."""
        return shape_of(self.schedule.stage, 0, self.frames_per_step).takes == 1

    def begin_compiling(self) -> None:
        """Compile all sizes but the first in a process of its own, if anything is compiled."""
        if not (self.config.compiled and self.gpu):
            return
        stages = self.schedule.stages[self.schedule.index :]
        shapes = later_shapes(stages, self.frames_per_step)
        if self.compiler is not None and self.compiler.poll() is None:
            self.compiler.terminate()
            self.compiler.wait()
        path = self.config.out / "precompile.log"
        self.ready = Ready(path, shape_of(stages[0], 0, self.frames_per_step))
        self.compiler = None
        if shapes and not self.crew.rank:
            self.compiler = start(self.learner.model.config, shapes, path)

    def report(self, steps: int, seconds: float, frames: int, progress: float) -> None:
        """Means since the last report; the flow ratio drives the curriculum."""
        names = sorted(self.sums)
        means = torch.stack([self.sums[name].float() for name in names]) / max(1, steps)
        self.crew.mean_(means)
        parts = dict(zip(names, means.tolist(), strict=True))
        self.sums = {}
        self.flow_ratio = parts["flow"] / max(parts["flow_zero"], 1e-9)
        stage = self.schedule.stage
        if self.ready is not None:
            self.ready.look()
        self.log(
            {
                "event": "train",
                "stage": self.schedule.index,
                "take": stage.frames,
                "rate": self.rate(progress),
                "progress": progress,
                "frames_per_second": frames / seconds,
                "flow_ratio": self.flow_ratio,
                **{k: v for k, v in parts.items() if k not in ("flow", "flow_zero")},
            }
        )
        if not self.guard.check(parts["loss"]):
            self.log({"event": "diverged", "loss": parts["loss"], "slowed": self.guard.slowed})

    def look(self) -> None:
        """Figures of the averaged weights on held-out takes, and weights to disk (rank 0)."""
        if self.crew.rank:
            return
        size, takes = self.schedule.stages[0].sizes[0], self.config.held_out
        if not self.held:
            self.held = [HeldOut(takes, frames, size, self.crew.device) for frames in (8, 16)]
        if len(self.held) < 3 and self.schedule.stage.frames >= LONG and self.learner.carries:
            self.held.append(HeldOut(max(1, takes // 4), LONG, size, self.crew.device))
        self.average.swap()
        for held in self.held:
            rules = list(self.learner.looks.items())
            for rule, gated in rules if held.frames < LONG else rules[-1:]:  # long looks take seconds
                figures = held.figures(self.learner, gated=gated, precision=self.precision)
                self.log({"event": "held-out", "take": held.frames, "rule": rule, **figures})
        self.average.swap()
        self.save()

    def save(self) -> None:
        """Weights to disk."""
        save_learner(self.learner, self.config.out / "last.safetensors")
        self.average.swap()
        save_learner(self.learner, self.config.out / "average.safetensors")
        self.average.swap()
        self.log({"event": "saved"})

    def run(self) -> None:
        """Train until the budget is spent; always ends with a look and weights on disk."""
        try:
            self.config.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{self.config.out}: {error.strerror}. Give --out a folder that can be made.") from error
        try:
            self._run(self.config.minutes * 60)
        except Exception:
            self.drop_steps()
            with suppress(Exception):  # what failed first is what is said
                if self.step_count and not self.crew.rank:
                    self.save()
            raise
        self.log({"event": "end"})
        self.crew.close()

    def _run(self, budget: float) -> None:
        parameters = sum(p.numel() for p in self.learner.model.parameters())
        self.begin_compiling()
        self.log({"event": "start", "parameters": parameters, "devices": self.crew.size, "torch": torch.__version__})
        if self.clipped:
            self.log({"event": "clipped", "to": self.config.logits, **self.clipped})
        last_report, last_look, steps, frames = time.monotonic(), time.monotonic(), 0, 0
        stop = False
        first = 0.0  # seconds until the first step was done: compiling is no progress
        progress = before = self.config.progress
        while not stop:
            shape = self.step_or_fewer(progress)
            steps, frames = steps + 1, frames + shape.takes * shape.frames * self.crew.size
            reached = self.config.max_steps is not None and self.step_count >= self.config.max_steps
            enough = steps >= self.steps_to_report()
            if not enough and self.step_count > 1 and not reached:
                continue
            first = first or self.elapsed()
            if self.gpu:
                torch.cuda.synchronize()
            now = time.monotonic()
            self.report(steps, now - last_report, frames, progress)
            progress, over, look = self.crew.tell(
                [
                    before + (1 - before) * (self.elapsed() - first) / max(budget - first, 1.0),
                    float(self.elapsed() > budget or reached),
                    float(now - last_look > self.config.look_every),
                ]
            )
            stop = bool(over)
            if look or stop:
                self.look()
                last_look = time.monotonic()
            if self.schedule.advance(progress, self.flow_ratio, self.step_count):
                self.drop_steps()
                self.guard.new_stage()
            last_report, steps, frames = time.monotonic(), 0, 0


def _brief(value: Any) -> Any:
    """Four digits of a number; null for what JSON has no number for."""
    if not isinstance(value, float):
        return value
    return float(f"{value:.4g}") if math.isfinite(value) else None


def train(config: TrainConfig, model_config: Any) -> None:
    """Train a model; see Trainer. Under torchrun every process calls this."""
    Trainer(config, model_config).run()
