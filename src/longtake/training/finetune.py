# SPDX-License-Identifier: Apache-2.0
"""Fine-tuning on recordings: a trained model carries on, on takes from disk, with adapters or with all its weights.

One process, on a CPU or a GPU, step by step: a few hundred steps of a few takes, where training from nothing takes
hours. Figures before and after are taken on frames that no step sees.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longtake.checkpoints import write_safetensors
from longtake.checkpoints.adapters import write_adapters
from longtake.checkpoints.embedded import embedded_path
from longtake.errors import InputError, OutputError
from longtake.evaluation.figures import depth_figures, focal_error, pose_figures
from longtake.evaluation.summary import Summary, TakeFigures, summarize
from longtake.geometry.pose import world_from_cam
from longtake.nn.lora import adapt, adapter_tensors, adapters, folded_state
from longtake.training.flat import Average, FlatParameters
from longtake.training.guard import Guard
from longtake.training.learners import make_learner
from longtake.training.losses import LossWeights, compute_loss
from longtake.training.masked import compute_masked_frame_terms, make_masked_targets
from longtake.training.recordings import Recordings, Source, Takes, in_order, open_sources
from longtake.training.schedule import Schedule, Stage
from longtake.training.snapshot import load_learner
from longtake.training.step import Learner

REPORT_EVERY = 20  # steps
ADAPTERS, WEIGHTS = "adapters.safetensors", "weights.safetensors"


@dataclass(frozen=True, slots=True)
class FineTuneConfig:
    """Everything that decides a run, apart from the model's own numbers."""

    folders: tuple[Path, ...]
    out: Path
    model: str = "longtake-small"
    weights: Path | None = None  # None: those in the package
    rank: int = 8  # of the adapters; 0: all weights move
    strength: float = 1.0  # of the adapters once they have learned; less forgets less, and says less of what is new
    steps: int = 300
    minutes: float = 60.0  # ends earlier than `steps` if they are over
    takes: int = 2  # of a step
    frames: int = 8  # of a take
    size: int = 160  # longest side in pixels
    max_stride: int = 2  # takes use every frame, every second, ...
    rate: float | None = None  # None: 1e-3 for adapters, 5e-5 for all weights
    warmup: int = 20
    decay: float = 0.0
    clip: float = 1.0
    average: float = 0.98
    gated: float = 0.5  # share of the takes under the ttt3r rate
    hold_out: float = 0.2  # share of each sequence, at its end, that no step sees
    test_frames: int = 16
    test_stride: int = 2
    seed: int = 0
    loss: LossWeights = field(default_factory=LossWeights)


class FineTuner:
    """Holds what a run needs and walks it."""

    def __init__(self, config: FineTuneConfig, model_config: Any) -> None:
        self.config = config
        span = (0.0, 1.0 - config.hold_out)
        self.sources = open_sources(config.folders, config.size, span, config.frames)
        self.tests = _held_out(config)
        self.recordings = Recordings(self.sources, config.max_stride, config.seed)
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(config.seed)
        self.learner: Learner = make_learner(model_config)
        self.base = embedded_path(config.model) if config.weights is None else config.weights
        with_flow = load_learner(self.learner, self.base)
        # A flow head that never learned says nothing worth following, and a frozen one never would.
        self.loss = config.loss if with_flow else LossWeights(flow=0.0)
        self.base_tensors = {name: tensor.clone() for name, tensor in self.learner.model.state_dict().items()}
        if config.rank:
            self.learner.flow.requires_grad_(False)
            adapt(self.learner.model, config.rank)
        self.learner.to(self.device)
        self.flat = FlatParameters([self.learner])
        rate = config.rate or (1e-3 if config.rank else 5e-5)
        self.optimiser = self.flat.optimiser(rate, config.decay, muon=0.0)
        self.average = Average(self.flat, config.average)
        self.guard = Guard(self.flat, self.optimiser, self.average)
        self.schedule = Schedule((Stage(config.frames, until=1.0),), rate, config.warmup, flat=0.5)
        self.step_count, self.begun = 0, time.monotonic()

    @property
    def trainable(self) -> int:
        """How many numbers move."""
        return self.flat.values.numel()

    def step(self, progress: float) -> dict[str, float]:
        """One update of what moves; returns the loss's parts."""
        takes = self.recordings.draw(self.config.takes, self.config.frames)
        gated = torch.rand(self.config.takes) < self.config.gated
        parts = self.forward_backward(takes, gated.to(self.device))
        norm = self.flat.clip(self.config.clip)
        for group in self.optimiser.param_groups:
            group["lr"] = self.guard.slowed * self.schedule.learning_rate(progress, self.step_count)
        self.optimiser.step()
        self.average.update()
        self.step_count += 1
        return parts | {"norm": float(norm)}

    def forward_backward(self, takes: Takes, gated: torch.Tensor) -> dict[str, float]:
        """Leave the gradients of some takes in the flat buffer; return the loss's parts."""
        images, depth, poses, cameras = (
            x.to(self.device) for x in (takes.images, takes.depth, takes.world_from_cam, takes.intrinsics)
        )
        targets = make_masked_targets(depth, poses, cameras)
        self.flat.gradients.zero_()
        walk = self.learner.walk(images, gated)
        loss, parts = compute_loss(
            walk.heads, walk.log_focal, walk.flow, targets, self.loss, compute_masked_frame_terms
        )
        loss.backward()
        return {name: float(part) for name, part in parts.items()}

    def figures(self) -> Summary | None:
        """Figures of the averaged weights on the held-out frames, under the overwrite rule; None if there are none."""
        self.average.swap()
        try:
            found = [
                take_figures(self.learner, takes, self.device)
                for takes in in_order(self.tests, self.config.test_frames, self.config.test_stride)
            ]
        finally:
            self.average.swap()
        return summarize(found) if found else None

    def save(self) -> None:
        """Write the averaged weights: whole, and the adapters apart."""
        config, out = self.config, self.config.out
        model = self.learner.model
        about = {"trained_on": [folder.name for folder in config.folders], "steps": self.step_count}
        self.average.swap()
        try:
            write_safetensors(
                out / WEIGHTS, folded_state(model), model.config.to_dict(), self.learner.family, fine_tuning=about
            )
            if config.rank:
                write_adapters(
                    out / ADAPTERS,
                    adapter_tensors(model),
                    model.config.to_dict(),
                    self.learner.family,
                    scale=config.strength,
                    base=config.model if config.weights is None else None,
                    base_tensors=self.base_tensors,
                    fine_tuning=about,
                )
        finally:
            self.average.swap()

    def run(self) -> tuple[Summary | None, Summary | None]:
        """Train, save, and return the figures on held-out frames before and after.

        Ctrl-C and data that breaks on the way end the training early; what was learned so far is saved first.
        """
        config = self.config
        try:
            config.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{config.out}: {error.strerror}. Give --out a folder that can be made.") from error
        before = self.figures()
        self.begun, sums = time.monotonic(), {}
        try:
            for step in range(config.steps):
                elapsed = (time.monotonic() - self.begun) / (60 * config.minutes)
                if elapsed >= 1:
                    break
                for name, part in self.step(max(elapsed, step / config.steps)).items():
                    sums[name] = sums.get(name, 0.0) + part
                if self.step_count % REPORT_EVERY == 0:
                    self.report({name: total / REPORT_EVERY for name, total in sums.items()})
                    sums = {}
        except KeyboardInterrupt:
            print("stopped: what was learned so far is saved", flush=True)
        finally:
            for _, layer in adapters(self.learner.model):  # between the old weights and the new: arXiv 2109.01903
                layer.scale = config.strength
            if self.step_count:
                self.save()
        return before, self.figures()

    def report(self, parts: dict[str, float]) -> None:
        """One line on the screen and in log.jsonl; back to healthy weights if the loss ran away."""
        healthy = self.guard.check(parts["loss"])
        seconds = round(time.monotonic() - self.begun, 1)
        record = {"seconds": seconds, "step": self.step_count, "healthy": healthy}
        record |= {name: round(part, 5) for name, part in parts.items() if np.isfinite(part)}
        with open(self.config.out / "log.jsonl", "w" if self.step_count <= REPORT_EVERY else "a") as file:
            file.write(json.dumps(record) + "\n")
        shown = "  ".join(f"{name} {parts[name]:.4f}" for name in ("loss", "depth", "rotation", "translation"))
        print(f"step {self.step_count}  {seconds:.0f} s  {shown}" + ("" if healthy else "  went back"), flush=True)


def _held_out(config: FineTuneConfig) -> list[Source]:
    """The end of each sequence, if it is long enough for a take."""
    if not config.hold_out:
        return []
    least = config.test_stride * (config.test_frames - 1) + 1
    try:
        return open_sources(config.folders, config.size, (1.0 - config.hold_out, 1.0), least)
    except InputError:
        return []


@torch.no_grad()
def take_figures(learner: Learner, takes: Takes, device: torch.device, *, gated: bool = False) -> TakeFigures:
    """Figures of one take (B = 1) at the pixels whose depth is known, as `longtake evaluate` defines them."""
    walk = learner.walk(takes.images.to(device), torch.tensor([gated], device=device))
    depth = torch.cat([heads.points_self[..., 2] for heads in walk.heads]).float().cpu().double().numpy()
    poses = torch.cat([world_from_cam(heads.pose.float()) for heads in walk.heads]).cpu().double().numpy()
    focal = walk.log_focal[:, 0].float().exp().cpu().double().numpy() * max(takes.images.shape[-2:])
    return TakeFigures(
        depth_figures(depth, takes.depth[0].double().numpy()),
        pose_figures(poses, takes.world_from_cam[0].double().numpy()),
        focal_error(focal, float(takes.intrinsics[0, 0, 0])),
    )
