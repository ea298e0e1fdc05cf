# SPDX-License-Identifier: Apache-2.0
"""What is kept of a sequence while a model walks it: enough to score any prefix, in float32."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

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


@dataclass(slots=True)
class Gathered:
    """Frames in the order in which they were used."""

    protocol: Protocol
    expected: int  # frames that the walk will have
    frames: list[FrameResult] = field(default_factory=list)

    def add(self, frame: PosedFrame, prediction: Prediction, pixel_map: PixelMap | None) -> None:
        """Keep a new frame, or the model's newer word about one."""
        at = next((i for i in range(len(self.frames) - 1, -1, -1) if self.frames[i].name == frame.name), None)
        result = self._result(frame, prediction, pixel_map)
        if at is None:
            self.frames.append(result)
        else:
            self.frames[at] = result

    def _result(self, frame: PosedFrame, p: Prediction, pixel_map: PixelMap | None) -> FrameResult:
        depth = p.depth.detach().cpu().double().numpy()
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
                cloud = self._cloud(frame, valid, p, pixel_map)
        true_pose = frame.world_from_cam
        return FrameResult(
            name=frame.name,
            true_pose=true_pose if true_pose is not None and np.isfinite(true_pose).all() else None,
            pose=p.world_from_cam.detach().cpu().double().numpy(),
            depth=pair,
            cropped=cropped,
            points=cloud[0],
            true_points=cloud[1],
            colors=cloud[2],
            central=cloud[3],
        )

    def _cloud(
        self, frame: PosedFrame, valid: np.ndarray, p: Prediction, pixel_map: PixelMap | None
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pair each pixel of the model with the true depth nearest to its centre."""
        height, width = p.depth.shape
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
            p.points_self.detach().cpu().float().numpy()[at],
            np.stack([x, y, z], -1).astype(np.float32),
            p.image.detach().cpu().numpy()[at],
            central[at],
        )


def thinned(values: Sequence[np.ndarray], most: int) -> list[np.ndarray]:
    """Return at most `most` rows of arrays of one length, evenly chosen; all if most is 0."""
    count = len(values[0])
    if not most or count <= most:
        return list(values)
    chosen = np.linspace(0, count - 1, most).round().astype(np.intp)
    return [each[chosen] for each in values]
