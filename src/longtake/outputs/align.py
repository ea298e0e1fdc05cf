# SPDX-License-Identifier: Apache-2.0
"""Bring a take into the world of a known trajectory: true scale, place and orientation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from longtake.errors import InputError
from longtake.geometry.similarity import Similarity, align
from longtake.outputs.take import Take
from longtake.outputs.trajectory import Trajectory

_APART = 0.02  # seconds between two times that are one moment, as in TUM's tools


@dataclass(frozen=True, slots=True)
class Alignment:
    """How a take lies in the known world."""

    similarity: Similarity  # known world from the take's world
    matches: int  # frames that were compared
    error: float  # root mean square distance of their positions afterwards, in units of the known world


def match_times(times: np.ndarray, known: np.ndarray, apart: float = _APART) -> tuple[np.ndarray, np.ndarray]:
    """Return positions in both of the times (n,), (m,) that are nearest to each other and at most `apart` seconds."""
    if not len(known) or not len(times):
        return np.zeros(0, np.int64), np.zeros(0, np.int64)
    order = np.argsort(known)
    after = np.searchsorted(known[order], times).clip(1, max(len(known) - 1, 1))
    near = np.stack([order[after - 1], order[after.clip(0, len(known) - 1)]])
    best = near[np.abs(known[near] - times).argmin(0), np.arange(len(times))]
    good = np.abs(known[best] - times) <= apart
    return good.nonzero()[0], best[good]


def align_take(take: Take, known: Trajectory, *, apart: float = _APART) -> tuple[Take, Alignment]:
    """Return the take in the world of a known trajectory, by the similarity that fits its positions best (Umeyama).

    Frames and poses are matched by time: both in seconds of the same clock, or, where no time fits, each counted from
    its first. Points and depth follow by `Take.similarity`. The result is metric if the trajectory is in metres, which
    is taken for granted. Raises InputError where fewer than three frames match, or these do not fix a rotation.
    """
    frames = take.posed
    times = np.array([frame.time for frame in frames])
    clock = known.times
    ours, theirs = match_times(times, clock, apart)
    if not len(ours) and len(frames) and len(clock):
        ours, theirs = match_times(times - times[0], clock - clock[0], apart)
    if len(ours) < 3:
        raise InputError(
            f"only {len(ours)} of {len(frames)} frames have a pose within {apart:g} s in the known trajectory; three "
            "are needed. Are both in seconds from the same start?"
        )
    centres = np.stack([frame.world_from_cam[:3, 3] for frame in frames if frame.world_from_cam is not None])
    similarity = align(centres[ours], known.world_from_cam[theirs, :3, 3])
    apart_by = similarity.points(centres[ours]) - known.world_from_cam[theirs, :3, 3]
    error = float(np.sqrt(np.square(apart_by).sum(-1).mean()))
    return _moved(take, similarity), Alignment(similarity, len(ours), error)


def scale_take(take: Take, scale: float) -> Take:
    """Return the take in metres, of which one of its units is `scale`. Raises InputError where that is no length."""
    if not (np.isfinite(scale) and scale > 0):
        raise InputError(f"scale {scale:g}: give a number above 0, the metres of one unit of the take.")
    return _moved(take, Similarity(scale, np.eye(3), np.zeros(3)))


def metric_take(take: Take) -> Take:
    """Return the take in metres as its model estimates them, marked so. Raises InputError where it has no estimate."""
    if take.is_metric:
        raise InputError(f"{take.folder}: the take is in metres already. Leave the estimate (--metric) out.")
    if take.metres_per_unit is None:
        raise InputError(
            f"{take.folder}: the take holds no estimate of metres: its model does not say them, or an earlier version "
            "recorded it. Give --scale or --align if you know its size, or reconstruct it with longtake-small."
        )
    return replace(scale_take(take, take.metres_per_unit), estimated=True)


def _moved(take: Take, similarity: Similarity) -> Take:
    moved = tuple(
        frame if frame.world_from_cam is None else replace(frame, world_from_cam=similarity.poses(frame.world_from_cam))
        for frame in take.frames
    )
    return replace(take, frames=moved, is_metric=True, similarity=similarity, metres_per_unit=None)
