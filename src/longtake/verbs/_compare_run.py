# SPDX-License-Identifier: Apache-2.0
"""Models and rules side by side over the same takes: what runs, and the figures of one line of the table."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from longtake.errors import InputError
from longtake.evaluation.figures import align_similarity
from longtake.evaluation.folder import TakeFolder, is_take
from longtake.evaluation.metrics.trajectory import relative_errors
from longtake.evaluation.run import TakeResult, evaluate_takes
from longtake.memory.keep import Keep
from longtake.meter import give_back_memory
from longtake.registry import Model
from longtake.verbs._compare_cost import Bill, Cost, Watched

if TYPE_CHECKING:
    from longtake.sources import Source

LENGTHS = (50, 100, 200, 500, 1000, 2000, 5000, 10000)


@dataclass(frozen=True, slots=True)
class Clip:
    """A take without truth: a video, a folder or a glob of images. Opened anew for every run."""

    name: str
    open: Callable[[], Source]


Take = TakeFolder | Clip


@dataclass(frozen=True, slots=True)
class TakeLine:
    """What one take gave under one model and rule. Figures without a truth are NaN."""

    take: str
    ate: float  # metres, RMSE of positions after Sim(3) alignment
    spread: float  # metres, RMS distance of the true positions from their mean
    rpe_translation: float  # metres, RMSE over neighbouring frames, scaled as the aligned path
    rpe_rotation: float  # degrees, RMSE over neighbouring frames
    abs_rel: float
    frames_per_second: float
    by_length: dict[int, tuple[float, float]]  # frames -> ATE / spread of the whole take, RPE rotation
    path: np.ndarray  # (T, 3) predicted positions
    true_path: np.ndarray | None  # (T, 3)
    tracking: tuple[int, int] = (0, 0)  # frames called weak, lost
    costs: dict[int, Cost] = field(default_factory=dict)  # frames -> what they had cost
    out_of_memory_after: int | None = None  # frames; None: memory was enough


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the table: a model under a rule."""

    model: str
    rule: str
    state_bytes: int  # of one stream at the end of a take, the most over the takes
    takes: tuple[TakeLine, ...]

    @property
    def label(self) -> str:
        return f"{self.model} {self.rule}"


def find_takes(sources: Sequence[str], stride: int = 1, max_frames: int | None = None) -> list[TakeFolder] | list[Clip]:
    """Return the takes that the user named: all with truth, or all without.

    A source is a take with truth (rgb/, depth/, poses.txt, intrinsics.txt), a folder of such takes, or a video, folder
    or glob of pictures. Raises InputError where the two kinds are mixed or nothing is there.
    """
    from longtake.sources import open_source  # where files are opened: figures of paths need no video library

    truth: list[TakeFolder] = []
    clips: list[Clip] = []
    for source in sources:
        path = Path(source).expanduser()
        inside = sorted(p for p in path.iterdir() if is_take(p)) if path.is_dir() and not is_take(path) else []
        if is_take(path) or inside:
            truth += [TakeFolder(p, stride=stride, max_frames=max_frames) for p in inside or [path]]
        else:
            open_source(source, stride=stride, max_frames=max_frames)  # a mistake is named before anything runs

            def opener(source: str = source) -> Source:
                return open_source(source, stride=stride, max_frames=max_frames)

            clips.append(Clip(path.resolve().name, opener))
    if truth and clips:
        raise InputError(
            f"{truth[0].name} has true poses and {clips[0].name} has none: compare takes of one kind at a time."
        )
    if not truth and not clips:
        raise InputError("no take was given: name a video, a folder of pictures, or a folder with true poses.")
    return truth or clips


def run_entry(
    model: Model,
    rule: str,
    takes: Sequence[TakeFolder] | Sequence[Clip],
    *,
    reset_every: Any,  # as `Model.streams` takes it
    batch: int = 1,
    options: dict[str, Any] | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> Entry:
    """Run one model under one rule over all takes, `batch` of them at a time where they have truth.

    A model without update rules is run as it is. Where it revises earlier frames, its last word counts. Where it runs
    out of memory, the take's line says after how many frames, and has the figures of those lengths only.
    """
    give_back_memory()
    watched = Watched(model, options or {})
    lines: list[TakeLine] = []
    with_truth = [take for take in takes if isinstance(take, TakeFolder)]
    batch = batch if model.capabilities.batch else 1  # else streams share nothing but the memory that they take
    for first in range(0, len(with_truth), batch):
        group = with_truth[first : first + batch]
        results = evaluate_takes(watched, group, rule, reset_every, lengths=(), on_frame=on_frame)
        both = zip(results, watched.bills, strict=True)
        lines += [_line_of(result, bill, spent=watched.spent) for result, bill in both]
    for take in takes:
        if isinstance(take, Clip):
            lines.append(_run_clip(watched, take, rule, reset_every, on_frame))
    kept = max((cost.state_bytes for line in lines for cost in line.costs.values()), default=0)
    return Entry(model.name, rule if model.capabilities.rules else Keep.name, kept, tuple(lines))


def _line_of(result: TakeResult, bill: Bill, *, spent: bool) -> TakeLine:
    figures = path_figures(result.world_from_cam, result.true_world_from_cam)
    if spent:
        reached = {n: pair for n, pair in figures["by_length"].items() if n <= bill.frames}
        figures = {"rpe_translation": math.nan, "rpe_rotation": math.nan, "by_length": reached}
    return TakeLine(
        take=result.name,
        ate=math.nan if spent else result.figures.pose.ate,
        spread=result.figures.pose.spread,
        abs_rel=math.nan if spent else result.figures.depth.abs_rel,
        path=result.world_from_cam[:, :3, 3],
        true_path=result.true_world_from_cam[:, :3, 3],
        **figures,
        **_costs(bill, spent=spent),
    )


def _run_clip(
    watched: Watched,
    clip: Clip,
    rule: str,
    reset_every: Any,  # as `Model.streams` takes it
    on_frame: Callable[[int], None] | None,
) -> TakeLine:
    streams, path = watched.streams(1, rule=rule, reset_every=reset_every), {}
    for frame in clip.open():
        (prediction,) = streams.step([frame])
        if prediction is None:
            break
        for each in (*prediction.revised, prediction):
            path[each.index] = each.world_from_cam[:3, 3].detach().cpu().double().numpy()
        if on_frame is not None:
            on_frame(1)
    walked = np.array([path[index] for index in sorted(path)]).reshape(-1, 3)
    nothing = dict.fromkeys(("ate", "spread", "rpe_translation", "rpe_rotation", "abs_rel"), math.nan)
    costs = _costs(watched.bills[0], spent=watched.spent)
    return TakeLine(clip.name, **nothing, by_length={}, path=walked, true_path=None, **costs)


def _costs(bill: Bill, *, spent: bool) -> dict[str, Any]:
    return {
        "frames_per_second": bill.frames / max(bill.seconds, 1e-9),
        "tracking": (bill.said.count("weak"), bill.said.count("lost")),
        "costs": bill.close(),
        "out_of_memory_after": bill.frames if spent else None,
    }


def path_figures(predicted: np.ndarray, true: np.ndarray) -> dict[str, Any]:
    """Return rpe_translation, rpe_rotation and by_length of predicted and true world_from_cam (T, 4, 4).

    The scale of the relative translations is that of the Sim(3) alignment of the whole path. A step from or to a pose
    that is not finite counts as no motion and a half turn.
    """
    usable = np.array([bool(np.isfinite(pose).all()) for pose in predicted])
    safe = np.where(usable[:, None, None], predicted, np.eye(4))
    scale, _, _ = align_similarity(safe[:, :3, 3], true[:, :3, 3])
    safe[:, :3, 3] *= scale
    shift = angle = np.zeros(0)
    if len(true) > 1:
        good = usable[:-1] & usable[1:]
        shift, angle = relative_errors(safe, true, "none")
        shift = np.where(good, shift, np.linalg.norm(np.diff(true[:, :3, 3], axis=0), axis=-1))
        angle = np.where(good, angle, 180.0)
    by_length = {n: (prefix_error(safe, true, usable, n), _rms(angle[: n - 1])) for n in curve_lengths(len(true))}
    return {"rpe_translation": _rms(shift), "rpe_rotation": _rms(angle), "by_length": by_length}


def curve_lengths(frames: int) -> tuple[int, ...]:
    """The prefixes of a take that are measured: 24 of them, evenly spaced on a log scale, and the round ones."""
    if frames < 4:
        return (frames,)
    even = np.unique(np.geomspace(min(10, frames), frames, 24).round().astype(int)).tolist()
    return tuple(sorted({*even, *(n for n in LENGTHS if n <= frames)}))


def prefix_error(predicted: np.ndarray, true: np.ndarray, usable: np.ndarray, n: int) -> float:
    """ATE of the first n frames after their own Sim(3) alignment, over the spread of the whole true path.

    One scale for all lengths, so that the curve is an error that grows and not a ratio of two things that do. A path
    with an unusable pose scores the spread of its true positions, as a camera that never moved would.
    """
    x, y = predicted[:n, :3, 3], true[:n, :3, 3]
    spread = _rms(np.linalg.norm(true[:, :3, 3] - true[:, :3, 3].mean(0), axis=-1))
    if not usable[:n].all():
        return _rms(np.linalg.norm(y - y.mean(0), axis=-1)) / max(spread, 1e-12)
    scale, rotation, move = align_similarity(x, y)
    return _rms(np.linalg.norm(scale * x @ rotation.T + move - y, axis=-1)) / max(spread, 1e-12)


def _rms(values: np.ndarray) -> float:
    return float(np.sqrt(np.square(values).mean())) if len(values) else float("nan")
