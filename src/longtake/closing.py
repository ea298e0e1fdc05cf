# SPDX-License-Identifier: Apache-2.0
"""Closing loops: where a take comes back to a place, the model looks at then and now as a pair and says how they lie.

An observer beside the one loop, and optional: it reads what a stream said of a frame and never touches the stream.
The pairs become edges of a pose graph that corrects the finished take.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtake.continuity.archive import Archive, Keyframe
from longtake.continuity.joining import weighted_median
from longtake.continuity.pose_graph import Edge, log_rotation, neighbour_edges, optimise_poses
from longtake.continuity.sight import correlation
from longtake.errors import CapabilityError, MissingExtra
from longtake.frame import Prediction
from longtake.geometry.pose import inverse
from longtake.stream import Stream

# Seen on three out-and-back walks of the synthetic world, encoder of longtake-small version 2: frames of one place
# (10 degrees, 0.3 m) have token similarities from 0.84 (5 %) up, frames of other rooms at most 0.79 (99 %).
LEAST = 0.85
GAP, EVERY = 30, 4  # frames before a place counts as seen again; between two looks
TURN, SHIFT = 4.0, 0.06  # there and back may differ by so many degrees, and so much of the depth
# How well the pictures must fit on each other by the pair's own depth and pose. Eight walks of a thousand frames,
# version 3: pairs right to 5 degrees and a tenth of the depth have .86 (5 %) up, half of the others less than .63.
ALIKE = 0.9
# Of an edge's error, in radians or units of length, from where it counts less: pairs that are right are right to that.
ROBUST = 0.02
# What a loop weighs against a step from frame to frame, which is known better: a wrong one must not tear the path.
WEIGHT = 0.3


class LoopCloser:
    """Give it every prediction of a stream, in order; `edges` are the closures found, by frames counted from 0.

    model: what steps a pair of frames, `Model.module`; a stream's engine must keep its tokens, as the plain one does.
    archive: where keyframes go; empty at the start of a take. It grows with the places that the take sees.
    Raises MissingExtra without SciPy.
    """

    def __init__(self, model: Any, archive: Archive) -> None:
        if find_spec("scipy") is None:  # said now and not at the end of the take
            raise MissingExtra("closing loops needs SciPy: pip install 'longtake[eval]'")
        self.model, self.archive = model, archive
        self.edges: list[Edge] = []
        self.frames = 0
        self._last = -EVERY

    def see(self, stream: Stream, prediction: Prediction) -> Edge | None:
        """Look at the frame that the stream has just stepped; the edge that it closed, if any.

        Raises CapabilityError for an engine that keeps no tokens, OutputError where a keyframe cannot be written.
        """
        number, self.frames = self.frames, self.frames + 1
        tokens = getattr(stream.engine, "tokens", None)
        if tokens is None:
            raise CapabilityError("closing loops needs the tokens of a frame: a stream without graphs=True")
        if prediction.tracking == "lost" or not bool(prediction.world_from_cam.isfinite().all()):
            return None
        features = tokens.features[0]
        found = None
        if number - self._last >= EVERY:
            match = self.archive.recognise(features, before=number - GAP, least=LEAST)
            if match is not None:
                self._last = number
                found = self._measure(self.archive.read(match.place), number, prediction)
                if found is not None:
                    self.edges.append(found)
        self.archive.offer(
            Keyframe(number, features, prediction.image, prediction.world_from_cam, depth=prediction.depth)
        )
        return found

    def _measure(self, then: Keyframe, number: int, now: Prediction) -> Edge | None:
        """Where the camera of now was seen from the camera of then; None where the two looks disagree."""
        assert then.depth is not None
        there, back = self._pair(then.image, now.image), self._pair(now.image, then.image)
        if min(_fit(there), _fit(back)) < ALIKE:
            return None
        first_from_second, scales = _in_units_of_take(there, (then.depth, now.depth))
        second_from_first, _ = _in_units_of_take(back, (now.depth, then.depth))
        error = first_from_second @ second_from_first
        size = float(np.median(now.depth.cpu().numpy()))
        turn = np.degrees(np.linalg.norm(log_rotation(error[None, :3, :3])))
        if not np.isfinite(error).all() or turn > TURN or np.linalg.norm(error[:3, 3]) > SHIFT * size:
            return None
        return Edge(then.index, number, first_from_second, scale=float(scales[0] / scales[1]))

    def _pair(self, first: Tensor, second: Tensor) -> tuple[Prediction, Prediction]:
        stream = Stream(self.model)
        return stream.step(first.cpu().numpy()), stream.step(second.cpu().numpy())

    def correct(self, numbers: Sequence[int], world_from_cam: np.ndarray, tracking: Sequence[str]) -> np.ndarray | None:
        """Corrected poses (T, 4, 4) of the frames `numbers`, or None where no loop was closed.

        Steps into a frame that is lost hold little: a cut may lie there. Depths keep their scale, so poses are rigid.
        Raises MissingExtra without SciPy.
        """
        place = {number: i for i, number in enumerate(numbers)}
        closures = [
            Edge(place[e.first], place[e.second], e.first_from_second, weight=WEIGHT)
            for e in self.edges
            if e.first in place and e.second in place
        ]
        if not closures:
            return None
        steps = [
            Edge(e.first, e.second, e.first_from_second, weight=1e-3 if tracking[e.second] == "lost" else 1.0)
            for e in neighbour_edges(world_from_cam)
        ]
        poses, _ = optimise_poses(world_from_cam, [*steps, *closures], robust=ROBUST, with_scale=False)
        return poses


def _fit(pair: tuple[Prediction, Prediction]) -> float:
    """How well the first frame's picture, moved into the second's place, fits there."""
    first, second = pair
    second_from_first = inverse(second.world_from_cam) @ first.world_from_cam
    return correlation(first.image, first.points_self, second_from_first, second.image, second.intrinsics)


def _in_units_of_take(
    pair: tuple[Prediction, Prediction], depths: tuple[Tensor, Tensor]
) -> tuple[np.ndarray, tuple[float, float]]:
    """The second camera seen from the first (4, 4), its units those of the take, and the take's units in the pair's.

    A pair has a scale of its own. Each frame's depths in the take and in the pair tell the ratio; the geometric mean of
    the two is used.
    """
    scales = tuple(_ratio(depth, p) for depth, p in zip(depths, pair, strict=True))
    moved = pair[1].world_from_cam.detach().cpu().double().numpy().copy()
    first = pair[0].world_from_cam.detach().cpu().double().numpy()
    moved = np.linalg.inv(first) @ moved if np.isfinite(first).all() and np.isfinite(moved).all() else moved * np.nan
    moved[:3, 3] *= np.sqrt(scales[0] * scales[1])
    return moved, (scales[0], scales[1])


def _ratio(take: Tensor, pair: Prediction) -> float:
    ours, theirs = take.float().cpu().flatten(), pair.depth.float().cpu().flatten()
    good = (ours > 0) & (theirs > 0) & ours.isfinite() & theirs.isfinite()
    ratio = torch.where(good, ours / theirs, 1)
    return float(weighted_median(ratio[None], (good * pair.confidence.float().cpu().flatten().nan_to_num(1.0))[None]))
