# SPDX-License-Identifier: Apache-2.0
"""A take against time, in at most so many columns whatever its length: what the report's plots show."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longtake.errors import InputError
from longtake.geometry.similarity import Similarity, align
from longtake.outputs.align import match_times
from longtake.outputs.cameras import read_lines
from longtake.outputs.depth import read_depth
from longtake.outputs.pictures import read_confidence
from longtake.outputs.takefiles import CAMERA_LINES, TRAJECTORY
from longtake.outputs.tracking_strip import STATES
from longtake.outputs.trajectory import Trajectory, read_tum

COLUMNS = 400
PERCENTILES = (10, 50, 90)  # of a frame's confidence and known depth
_PIXELS = 8000  # of a map are enough for its percentiles
_CALENDAR = 1e6  # seconds from which on a first frame's time is no time since the start of anything
_NEAR = 0.02  # seconds between a frame and a known pose that are one moment


@dataclass(frozen=True, slots=True)
class Series:
    """Columns of one or a few neighbouring frames. Curves are (n,), or (n, 3) for PERCENTILES; NaN where unknown."""

    number: np.ndarray  # (n,) int: place of each column's first frame in the take
    index: np.ndarray  # (n,) int: its index in the source
    time: np.ndarray  # (n,) float64 seconds, of the first frame
    tracking: np.ndarray  # (n,) uint8: place in STATES, the worst of the column
    curves: Mapping[str, np.ndarray]
    files: tuple[Mapping[str, str], ...]  # (n,) each first frame's depth, confidence and image, relative to the folder
    error: float | None = None  # root mean square distance to the true path, in its units
    trouble: str = ""  # why there is no error, although a true path was given

    @property
    def clock(self) -> np.ndarray:
        """(n,) where columns lie on the axis: seconds, or the frames' numbers where the times do not grow.

        Times of a calendar, which a file of them may give, are counted from the first frame.
        """
        if not self.in_seconds:
            return self.number.astype(np.float64)
        return self.time - (self.time[0] if self.time[0] > _CALENDAR else 0.0)

    @property
    def in_seconds(self) -> bool:
        """Whether `clock` is in seconds."""
        return len(self.time) > 1 and bool((np.diff(self.time) > 0).all())


def read_series(out: Path, latencies: Sequence[float] = (), truth: Trajectory | None = None) -> Series | None:
    """Read a take's camera lines, and the maps of each column's first frame; None where there is no frame.

    latencies: seconds a frame, evenly spread over the take. truth: the true path; ours is fitted to it by the
    similarity that brings the positions closest (Umeyama 1991), and the error is what is left of the distance.
    """
    count = sum(1 for _ in read_lines(out / CAMERA_LINES))
    if not count:
        return None
    fit, trouble = _fit(out, truth) if truth is not None else (None, "")
    columns = min(count, COLUMNS)
    edges = np.linspace(0, count, columns, endpoint=False).astype(np.int64)
    table = [_Column() for _ in range(columns)]
    before: dict[str, Any] | None = None
    for number, record in enumerate(read_lines(out / CAMERA_LINES)):
        column = table[int(np.searchsorted(edges, number, side="right")) - 1]
        column.add(record, before, fit)
        before = record
    curves = {name: np.array([column.mean(name) for column in table]) for name in _Column.MEANS}
    for name, read in (("confidence", read_confidence), ("depth", read_depth)):
        curves[name] = np.array([_percentiles(read, out / column.first[name]) for column in table])
    if len(latencies):
        at = np.linspace(0, len(latencies), columns, endpoint=False).astype(np.int64)
        curves["latency"] = np.asarray(latencies, np.float64)[at]
    matches = sum(column.matches for column in table)
    return Series(
        number=edges,
        index=np.array([column.first["index"] for column in table]),
        time=np.array([column.first["time"] for column in table], np.float64),
        tracking=np.array([column.worst for column in table], np.uint8),
        curves={name: curve for name, curve in curves.items() if np.isfinite(curve).any()},
        files=tuple({kind: column.first[kind] for kind in ("image", "depth", "confidence")} for column in table),
        error=math.sqrt(sum(column.squares for column in table) / matches) if matches else None,
        trouble=trouble,
    )


class _Column:
    """Sums over neighbouring frames."""

    MEANS = ("speed", "turning", "focal", "written", "error")

    def __init__(self) -> None:
        self.first: dict[str, Any] = {}
        self.worst = 0
        self.matches = 0
        self.squares = 0.0
        self._sums: dict[str, float] = dict.fromkeys(self.MEANS, 0.0)
        self._weights: dict[str, float] = dict.fromkeys(self.MEANS, 0.0)

    def add(self, record: Mapping[str, Any], before: Mapping[str, Any] | None, fit: _Fit | None) -> None:
        """Take a frame, and what came before it."""
        self.first = self.first or dict(record)
        self.worst = max(self.worst, STATES.index(str(record["tracking"])))
        if before is not None:
            self._move(record, before)
        if record["intrinsics_original"] is not None:
            self._count("focal", record["intrinsics_original"][0][0])
        if record.get("written") is not None:
            self._count("written", record["written"])
        if fit is not None and record["world_from_cam"] is not None:
            error = fit.error(record["time"], np.array(record["world_from_cam"])[:3, 3])
            if error is not None:
                self._count("error", error)
                self.squares += error**2
                self.matches += 1

    def mean(self, name: str) -> float:
        """The mean of what was counted under a name; NaN where nothing was."""
        return self._sums[name] / self._weights[name] if self._weights[name] > 0 else math.nan

    def _count(self, name: str, amount: float, weight: float = 1.0) -> None:
        self._sums[name] += amount
        self._weights[name] += weight

    def _move(self, record: Mapping[str, Any], before: Mapping[str, Any]) -> None:
        seconds = record["time"] - before["time"]
        if seconds <= 0 or record["world_from_cam"] is None or before["world_from_cam"] is None:
            return
        here, there = np.array(record["world_from_cam"]), np.array(before["world_from_cam"])
        cosine = (np.trace(here[:3, :3].T @ there[:3, :3]) - 1) / 2
        self._count("speed", float(np.linalg.norm(here[:3, 3] - there[:3, 3])), seconds)
        self._count("turning", math.degrees(math.acos(min(max(float(cosine), -1.0), 1.0))), seconds)


@dataclass(frozen=True, slots=True)
class _Fit:
    """How the take lies in the true world, and when its pose there is known."""

    truth: Trajectory  # in the order of its times
    similarity: Similarity
    ahead: float  # seconds to add to the take's clock

    def error(self, time: float, centre: np.ndarray) -> float | None:
        """Distance to the true position at this time; None where it is not known."""
        times = self.truth.times
        after = int(np.searchsorted(times, time + self.ahead))
        near = min(
            (k for k in (after - 1, after) if 0 <= k < len(times)), key=lambda k: abs(times[k] - time - self.ahead)
        )
        if abs(times[near] - time - self.ahead) > _NEAR:
            return None
        return float(np.linalg.norm(self.similarity.points(centre) - self.truth.world_from_cam[near, :3, 3]))


def _fit(out: Path, truth: Trajectory) -> tuple[_Fit | None, str]:
    """Fit the take to the true path, by one clock or by two that begin with their first pose; or say why not."""
    ours = read_tum(out / TRAJECTORY)
    order = np.argsort(truth.times, kind="stable")
    truth = Trajectory(truth.times[order], truth.world_from_cam[order])
    ahead = 0.0
    mine, theirs = match_times(ours.times, truth.times, _NEAR)
    if not len(mine) and len(ours.times) and len(truth.times):
        ahead = float(truth.times[0] - ours.times[0])
        mine, theirs = match_times(ours.times + ahead, truth.times, _NEAR)
    if len(mine) < 3:
        return None, f"only {len(mine)} of {len(ours.times)} frames have a true pose within {_NEAR:g} s"
    try:
        similarity = align(ours.world_from_cam[mine, :3, 3], truth.world_from_cam[theirs, :3, 3])
    except InputError as error:
        return None, str(error)
    return _Fit(truth, similarity, ahead), ""


def _percentiles(read: Callable[[Path], np.ndarray], path: Path) -> list[float]:
    """PERCENTILES of a map's known pixels, as far as it can still be read."""
    try:
        values = read(path)
    except InputError:
        return [math.nan] * len(PERCENTILES)
    step = max(1, math.isqrt(values.size // _PIXELS))
    known = values[::step, ::step]
    known = known[known > 0]
    return np.percentile(known, PERCENTILES).tolist() if known.size else [math.nan] * len(PERCENTILES)


def spans(series: Series, state: str) -> Iterator[tuple[float, float]]:
    """Yield (start, end) in [0, 1] of the axis where the tracking is in a state."""
    clock = series.clock
    length = max(float(clock[-1] - clock[0]), 1e-9)
    ends = np.append((clock[1:] - clock[0]) / length, 1.0)
    starts = (clock - clock[0]) / length
    bad = series.tracking == STATES.index(state)
    edges = np.flatnonzero(np.diff(np.concatenate([[0], bad.astype(np.int8), [0]])))
    for first, after in zip(edges[::2], edges[1::2], strict=True):
        yield float(starts[first]), float(ends[after - 1])
