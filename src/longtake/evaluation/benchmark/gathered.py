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


@dataclass(frozen=True, slots=True)
class FrameResult:
    """One frame: the truth, and the last word of the model about it."""

    name: str
    true_pose: np.ndarray | None  # (4, 4)
    pose: np.ndarray  # (4, 4) NaN where it was not predicted
    cropped: int  # valid pixels that the model did not see
    depth: Mapping[str, np.ndarray]  # (n,) each: predicted and true at the valid pixels, lot
    cloud: Mapping[str, np.ndarray]  # (m, ...) each: points (3), true (3), colors (3) uint8, central (bool), lot

    def drawn(self, depth_share: float, cloud_share: float) -> FrameResult:
        """Return what of it is left where only shares of all pixels and points are kept."""
        return replace(self, depth=_drawn(self.depth, depth_share), cloud=_drawn(self.cloud, cloud_share))


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
    open: dict[int, Said] = field(default_factory=dict)  # by index: of the last step, which the next may revise
    done: dict[int, FrameResult] = field(default_factory=dict)  # by index
    first: dict[int, tuple[int, int]] = field(default_factory=dict)  # by index: pixels and points before the frame's
    pixels: int = 0  # valid ones of all frames done
    points: int = 0

    def add(self, frame: PosedFrame, last: Prediction, pixel_map: PixelMap | None) -> None:
        """Keep what one step said: of its frame and, where a family revises, of frames of the step before."""
        about = {index: (before.frame, before.pixel_map) for index, before in self.open.items()}
        about[frame.index] = replace(frame, image=frame.image[:0]), pixel_map
        said = {p.index: Said.of(*about[p.index], p) for p in (*last.revised, last)}
        self._work({index: before for index, before in self.open.items() if index not in said})
        self.open = said

    def frames(self) -> list[FrameResult]:
        """Return every frame under the model's last word so far, in order.

        Where there are more pixels or points than the protocol compares, every frame keeps the same share of its own,
        the same ones whatever comes after: what is returned after n frames is what a walk of n frames gives.
        """
        self._work(self.open)
        self.done = {index: self.done[index].drawn(*self._shares()) for index in sorted(self.done)}
        return list(self.done.values())

    def _work(self, said: Mapping[int, Said]) -> None:
        for index, each in said.items():
            self.done[index] = self._result(index, each).drawn(*self._shares())

    def _shares(self) -> tuple[float, float]:
        """Shares of the pixels and points so far; of points twice as many as are compared, for the crop cuts some."""
        most = self.protocol.depth_pixels, 2 * self.protocol.cloud_points
        return most[0] / max(self.pixels, 1) if most[0] else 1.0, most[1] / max(self.points, 1) if most[1] else 1.0

    def _result(self, index: int, p: Said) -> FrameResult:
        frame, cropped = p.frame, 0
        depth = dict.fromkeys(("predicted", "true"), np.zeros(0, np.float32))
        cloud = dict.fromkeys(("points", "true"), np.zeros((0, 3), np.float32))
        cloud |= {"colors": np.zeros((0, 3), np.uint8), "central": np.zeros(0, bool)}
        if frame.depth is not None:
            valid = valid_pixels(frame.depth, self.protocol.depth_limits[0])
            values = p.depth.astype(np.float64)
            if self.protocol.fit == "resize":
                sampled, inside = resize_cubic(values, frame.depth.shape), np.ones_like(valid)
            else:
                sampled, inside = sample_depth(values, p.pixel_map, frame.depth.shape, 1)
            seen, cropped = valid & inside, int((valid & ~inside).sum())
            depth = {"predicted": sampled[seen].astype(np.float32), "true": frame.depth[seen].astype(np.float32)}
            if frame.intrinsics is not None:
                cloud = _cloud(frame, valid, p)
        counts = len(depth["true"]), len(cloud["true"])
        if index not in self.first:
            self.first[index] = self.pixels, self.points
            self.pixels, self.points = self.pixels + counts[0], self.points + counts[1]
        lots = [_lots(start, count) for start, count in zip(self.first[index], counts, strict=True)]
        true_pose = frame.world_from_cam
        return FrameResult(
            name=frame.name,
            true_pose=true_pose if true_pose is not None and np.isfinite(true_pose).all() else None,
            pose=p.pose,
            cropped=cropped,
            depth=depth | {"lot": lots[0]},
            cloud=cloud | {"lot": lots[1]},
        )


def _cloud(frame: PosedFrame, valid: np.ndarray, p: Said) -> dict[str, np.ndarray]:
    """Pair each pixel of the model with the true depth nearest to its centre."""
    assert frame.depth is not None and frame.intrinsics is not None
    pixel_map, (height, width) = p.pixel_map, p.depth.shape
    (sx, sy), (ox, oy) = ((1.0, 1.0), (0.0, 0.0)) if pixel_map is None else (pixel_map.scale, pixel_map.offset)
    u = np.rint((np.arange(width) + ox + 0.5) / sx - 0.5).astype(int).clip(0, valid.shape[1] - 1)
    v = np.rint((np.arange(height) + oy + 0.5) / sy - 0.5).astype(int).clip(0, valid.shape[0] - 1)
    rows, columns = np.nonzero(valid[np.ix_(v, u)])
    z, k = frame.depth[v[rows], u[columns]].astype(np.float64), frame.intrinsics
    y = (v[rows] - k[1, 2]) * z / k[1, 1]
    x = (u[columns] - k[0, 2] - k[0, 1] * y / z) * z / k[0, 0]
    crop, central = central_crop(height, width), np.zeros((height, width), bool)
    central[crop] = True
    true = np.stack([x, y, z], -1).astype(np.float32)
    at = (rows, columns)
    return {"points": p.points[at], "true": true, "colors": p.image[at], "central": central[at]}


def _lots(first: int, count: int) -> np.ndarray:
    """Return numbers (count,) spread evenly over [0, 2^32): multiples of the golden ratio, modulo one (Weyl)."""
    return (np.arange(first, first + count, dtype=np.uint64) * np.uint64(0x9E3779B1)).astype(np.uint32)


def _drawn(values: Mapping[str, np.ndarray], share: float) -> Mapping[str, np.ndarray]:
    if share >= 1:
        return values
    chosen = values["lot"] < share * 2**32
    return {name: each[chosen] for name, each in values.items()}


def thinned(values: Sequence[np.ndarray], most: int) -> list[np.ndarray]:
    """Return at most `most` rows of arrays of one length, evenly chosen; all if most is 0."""
    count = len(values[0])
    if not most or count <= most:
        return list(values)
    chosen = np.linspace(0, count - 1, most).round().astype(np.intp)
    return [each[chosen] for each in values]
