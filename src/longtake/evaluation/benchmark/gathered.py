# SPDX-License-Identifier: Apache-2.0
"""What is kept of a sequence while a model walks it: enough to score any prefix, in float32."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from longtake.datasets.sequence import PosedFrame
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.evaluation.metrics.cloud_alignment import central_crop
from longtake.evaluation.metrics.cubic import resize_cubic
from longtake.evaluation.metrics.depth_errors import valid_pixels
from longtake.evaluation.sampling import sample_depth
from longtake.frame import PixelMap, Prediction


@dataclass(slots=True)
class FrameResult:
    """One frame: the truth, and the last word of the model about it."""

    name: str
    true_pose: np.ndarray | None  # (4, 4)
    pose: np.ndarray  # (4, 4) NaN where it was not predicted
    depth: tuple[np.ndarray, np.ndarray]  # predicted and true at the valid pixels, (n,) each
    cropped: int  # valid pixels that the model did not see
    points: np.ndarray  # (m, 3) predicted, in the camera's own frame, at pixels with a true point
    true_points: np.ndarray  # (m, 3) true, in the camera's own frame
    colors: np.ndarray  # (m, 3) uint8
    central: np.ndarray  # (m,) bool: inside the crop that is compared


@dataclass(frozen=True, slots=True)
class Said:
    """What a model said of one frame, on the host, so that nothing here holds the device's memory."""

    frame: PosedFrame  # the truth, without its picture
    pixel_map: PixelMap | None
    depth: np.ndarray  # (H, W)
    points: np.ndarray  # (H, W, 3) in the camera's own frame
    pose: np.ndarray  # (4, 4) world_from_cam
    image: np.ndarray  # (H, W, 3) uint8, what the model saw

    @classmethod
    def of(cls, frame: PosedFrame, pixel_map: PixelMap | None, p: Prediction) -> Said:
        """Take what is scored from a prediction; `pixel_map` goes before the prediction's own."""
        depth, points, pose, image = (
            each.detach().cpu() for each in (p.depth, p.points_self, p.world_from_cam, p.image)
        )
        own = p.pixel_map if pixel_map is None else pixel_map
        return cls(frame, own, depth.float().numpy(), points.float().numpy(), pose.double().numpy(), image.numpy())


@dataclass(slots=True)
class Gathered:
    """Frames in the order in which they were used.

    A family that revises says something new of every earlier frame with each new one. Only its last word is worked on:
    when the frame is no longer revised, or when figures are wanted.
    """

    protocol: Protocol
    expected: int  # frames that the walk will have
    open: dict[int, Said] = field(default_factory=dict)  # by index: of the last step, which the next may revise
    done: dict[int, FrameResult] = field(default_factory=dict)  # by index

    def add(self, frame: PosedFrame, last: Prediction, pixel_map: PixelMap | None) -> None:
        """Keep what one step said: of its frame and, where a family revises, of frames of the step before."""
        about = {index: (before.frame, before.pixel_map) for index, before in self.open.items()}
        about[frame.index] = replace(frame, image=frame.image[:0]), pixel_map
        said = {p.index: Said.of(*about[p.index], p) for p in (*last.revised, last)}
        self._work({index: before for index, before in self.open.items() if index not in said})
        self.open = said

    def frames(self) -> list[FrameResult]:
        """Return every frame under the model's last word so far, in order."""
        self._work(self.open)
        return [self.done[index] for index in sorted(self.done)]

    def _work(self, said: Mapping[int, Said]) -> None:
        self.done |= {index: self._result(each) for index, each in said.items()}

    def _result(self, p: Said) -> FrameResult:
        frame, pixel_map, depth = p.frame, p.pixel_map, p.depth.astype(np.float64)
        none = np.zeros(0, np.float32)
        pair, cropped = (none, none), 0
        cloud = (np.zeros((0, 3), np.float32),) * 2 + (np.zeros((0, 3), np.uint8), np.zeros(0, bool))
        if frame.depth is not None:
            valid = valid_pixels(frame.depth, self.protocol.depth_limits[0])
            if self.protocol.fit == "resize":
                sampled, inside = resize_cubic(depth, frame.depth.shape), np.ones_like(valid)
            else:
                sampled, inside = sample_depth(depth, pixel_map, frame.depth.shape, 1)
            seen = valid & inside
            step = 1
            if self.protocol.depth_pixels:
                step = max(1, -(-int(seen.sum()) * self.expected // self.protocol.depth_pixels))
            pair = (sampled[seen][::step].astype(np.float32), frame.depth[seen][::step].astype(np.float32))
            cropped = int((valid & ~inside).sum())
            if frame.intrinsics is not None:
                cloud = self._cloud(frame, valid, p)
        true_pose = frame.world_from_cam
        return FrameResult(
            name=frame.name,
            true_pose=true_pose if true_pose is not None and np.isfinite(true_pose).all() else None,
            pose=p.pose,
            depth=pair,
            cropped=cropped,
            points=cloud[0],
            true_points=cloud[1],
            colors=cloud[2],
            central=cloud[3],
        )

    def _cloud(
        self, frame: PosedFrame, valid: np.ndarray, p: Said
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pair each pixel of the model with the true depth nearest to its centre."""
        pixel_map, (height, width) = p.pixel_map, p.depth.shape
        (sx, sy), (ox, oy) = ((1.0, 1.0), (0.0, 0.0)) if pixel_map is None else (pixel_map.scale, pixel_map.offset)
        u = np.rint((np.arange(width) + ox + 0.5) / sx - 0.5).astype(int).clip(0, valid.shape[1] - 1)
        v = np.rint((np.arange(height) + oy + 0.5) / sy - 0.5).astype(int).clip(0, valid.shape[0] - 1)
        rows, columns = np.nonzero(valid[np.ix_(v, u)])
        step = 1
        if self.protocol.cloud_points:  # twice what is compared in the end, shared among the frames
            step = max(1, len(rows) * self.expected // (2 * self.protocol.cloud_points))
        rows, columns = rows[step // 2 :: step], columns[step // 2 :: step]
        assert frame.depth is not None and frame.intrinsics is not None
        z, k = frame.depth[v[rows], u[columns]].astype(np.float64), frame.intrinsics
        y = (v[rows] - k[1, 2]) * z / k[1, 1]
        x = (u[columns] - k[0, 2] - k[0, 1] * y / z) * z / k[0, 0]
        crop, central = central_crop(height, width), np.zeros((height, width), bool)
        central[crop] = True
        at = (rows, columns)
        return (
            p.points[at],
            np.stack([x, y, z], -1).astype(np.float32),
            p.image[at],
            central[at],
        )


def thinned(values: Sequence[np.ndarray], most: int) -> list[np.ndarray]:
    """Return at most `most` rows of arrays of one length, evenly chosen; all if most is 0."""
    count = len(values[0])
    if not most or count <= most:
        return list(values)
    chosen = np.linspace(0, count - 1, most).round().astype(np.intp)
    return [each[chosen] for each in values]
