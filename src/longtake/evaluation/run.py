# SPDX-License-Identifier: Apache-2.0
"""Run a model over takes and score what it says against the truth."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from longtake.evaluation.figures import LENGTHS, depth_figures, focal_error, pose_figures, pose_figures_by_length
from longtake.evaluation.folder import TakeFolder, size_ratio
from longtake.evaluation.sampling import sample_depth
from longtake.evaluation.summary import TakeFigures
from longtake.frame import Frame, Prediction
from longtake.meter import finish_work
from longtake.refine import Refiner


class Stepper(Protocol):
    """Several takes stepped together: a frame each (None where a take has ended), a prediction each."""

    def step(self, frames: Sequence[Frame | None], /) -> Sequence[Prediction | None]: ...


class Reconstructor(Protocol):
    """What is evaluated: anything that can begin n streams under an update rule."""

    def streams(self, n: int, *, rule: Any, reset_every: int | None) -> Stepper: ...


@dataclass(frozen=True, slots=True)
class Panel:
    """One frame kept for a picture."""

    index: int  # in the folder
    image: np.ndarray  # (H, W, 3) uint8, what the model saw
    predicted: np.ndarray  # (h, w) predicted depth at the true pixels, in the model's units, NaN where cropped away
    true: np.ndarray  # (h, w) metres, 0 = unknown


@dataclass(frozen=True, slots=True)
class TakeResult:
    """Figures of a take and everything about the run that changes them."""

    name: str
    rule: str
    reset_every: int | None
    indices: tuple[int, ...]  # frames used, counted in the folder
    original_size: tuple[int, int]  # (width, height)
    model_size: tuple[int, int]  # (width, height)
    cropped_pixels: int  # true depths that lie outside the model's crop, left out
    figures: TakeFigures
    world_from_cam: np.ndarray  # (T, 4, 4) predicted
    true_world_from_cam: np.ndarray  # (T, 4, 4)
    seconds: float  # in the model, all frames; a take's share where several ran together
    panels: tuple[Panel, ...] = ()


def evaluate_take(
    model: Reconstructor, take: TakeFolder, rule: Any = "overwrite", reset_every: int | None = None, **options: Any
) -> TakeResult:
    """Run `model` over one take; see `evaluate_takes`."""
    return evaluate_takes(model, [take], rule, reset_every, **options)[0]


def evaluate_takes(
    model: Reconstructor,
    takes: Sequence[TakeFolder],
    rule: Any = "overwrite",
    reset_every: int | None = None,
    *,
    lengths: tuple[int, ...] = LENGTHS,
    keep: tuple[int, ...] = (),
    on_frame: Callable[[int], None] | None = None,
) -> list[TakeResult]:
    """Run `model` over takes in one batch of streams under an update rule and return the figures of each.

    Predicted depth is sampled at the pixels of the true depth maps; those cropped away are left out and counted. Where
    a family revises earlier frames, its last word counts. `lengths`: prefixes whose pose figures are wanted too.
    `keep`: positions (0 .. T - 1) to keep for a picture. `on_frame` gets the number of frames done in each step.
    """
    streams = model.streams(len(takes), rule=rule, reset_every=reset_every)
    refined = bool(getattr(model, "refine", False))
    tallies = [_Tally(take, keep, Refiner() if refined else None) for take in takes]
    for t in range(max(map(len, takes))):
        frames = [take.frame(t) if t < len(take) else None for take in takes]
        begin = time.perf_counter()
        predictions = streams.step(frames)
        for device in {p.depth.device for p in predictions if p is not None}:
            finish_work(device)  # else a GPU's clock stops when the work is ordered, not when it is done
        share = (time.perf_counter() - begin) / sum(frame is not None for frame in frames)
        for tally, frame, prediction in zip(tallies, frames, predictions, strict=True):
            if frame is not None and prediction is not None:
                tally.add(frame, prediction, share)
        if on_frame is not None:
            on_frame(sum(frame is not None for frame in frames))
    for tally in tallies:
        tally.finish()
    label = rule if isinstance(rule, str) else getattr(rule, "name", type(rule).__name__)
    return [tally.result(label, reset_every, lengths) for tally in tallies]


class _Tally:
    """What is gathered of one take while it runs."""

    def __init__(self, take: TakeFolder, keep: tuple[int, ...], refiner: Refiner | None = None) -> None:
        self.take, self.keep, self.refiner = take, keep, refiner
        self.position = {index: t for t, index in enumerate(take.indices)}
        self.poses = np.full((len(take), 4, 4), np.nan)
        self.focal = np.full(len(take), np.nan)
        self.depths: dict[int, _Sampled] = {}
        self.images: dict[int, np.ndarray] = {}
        self.original_size = self.model_size = (0, 0)
        self.seconds = 0.0

    def add(self, frame: Frame, last: Prediction, seconds: float) -> None:
        self.original_size = (frame.image.shape[1], frame.image.shape[0])
        final = [(last, seconds)] if self.refiner is None else self.refiner.take(last, seconds)
        for prediction, spent in final:
            self.keep_figures(prediction, spent)

    def finish(self) -> None:
        """The take is over: take in what has been held back."""
        for prediction, spent in () if self.refiner is None else self.refiner.rest():
            self.keep_figures(prediction, spent)

    def keep_figures(self, last: Prediction, seconds: float) -> None:
        self.seconds += seconds
        self.model_size = (last.depth.shape[1], last.depth.shape[0])
        for p in (*last.revised, last):
            t = self.position[p.index]
            self.poses[t] = p.world_from_cam.detach().cpu().double().numpy()
            self.focal[t] = p.intrinsics_original[0, 0]
            if (sampled := self.sample(t, p)) is not None:
                self.depths[t] = sampled
        t = self.position[last.index]
        if t in self.keep and t in self.depths:
            self.images[t] = last.image.detach().cpu().numpy()

    def sample(self, t: int, p: Prediction) -> _Sampled | None:
        true = self.take.depth(t)
        if true is None:
            return None
        ratio = size_ratio(self.original_size, (true.shape[1], true.shape[0]), self.take.path / "depth")
        predicted, inside = sample_depth(p.depth.detach().cpu().double().numpy(), p.pixel_map, true.shape, ratio)
        return _Sampled(predicted.astype(np.float32), inside, true.astype(np.float32))

    def result(self, rule: str, reset_every: int | None, lengths: tuple[int, ...]) -> TakeResult:
        take, depths = self.take, self.depths
        predicted = np.concatenate([d.predicted[d.inside] for d in depths.values()] or [np.zeros(0)])
        true = np.concatenate([d.true[d.inside] for d in depths.values()] or [np.zeros(0)])
        figures = TakeFigures(
            depth=depth_figures(predicted, true),
            pose=pose_figures(self.poses, take.world_from_cam),
            focal_error=focal_error(self.focal, float(take.intrinsics[0, 0])),
            by_length=pose_figures_by_length(self.poses, take.world_from_cam, lengths),
        )
        return TakeResult(
            name=take.name,
            rule=rule,
            reset_every=reset_every,
            indices=take.indices,
            original_size=self.original_size,
            model_size=self.model_size,
            cropped_pixels=sum(int(((d.true > 0) & ~d.inside).sum()) for d in depths.values()),
            figures=figures,
            world_from_cam=self.poses,
            true_world_from_cam=take.world_from_cam,
            seconds=self.seconds,
            panels=tuple(
                Panel(take.indices[t], image, np.where(depths[t].inside, depths[t].predicted, np.nan), depths[t].true)
                for t, image in self.images.items()
            ),
        )


@dataclass(frozen=True, slots=True)
class _Sampled:
    """Depth at the true pixels of one frame, (h, w) each; float32 keeps a long take small."""

    predicted: np.ndarray
    inside: np.ndarray  # bool: not cropped away
    true: np.ndarray
