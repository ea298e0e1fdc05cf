# SPDX-License-Identifier: Apache-2.0
"""From what the heads say to predictions: points and poses in the world of the take, with the frame's own facts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtake.continuity.joining import split_scale
from longtake.frame import Heads, PixelMap, Prediction
from longtake.geometry.camera import intrinsics_from_focal
from longtake.geometry.focal import focal_weiszfeld
from longtake.geometry.pose import transform, world_from_cam


@dataclass(frozen=True, slots=True)
class Shown:
    """One frame after its preparation."""

    image: np.ndarray  # (H, W, 3) uint8 RGB, the model's size
    pixel_map: PixelMap
    index: int
    time: float  # seconds
    name: str
    intrinsics: np.ndarray | None = None  # (3, 3) in pixels of the original frame, where it is known


@dataclass(frozen=True, slots=True)
class Prepared:
    """A frame that is ready for the model: what `stream.prepare` makes of it, ahead of the model if need be."""

    shown: Shown
    picture: Tensor  # (3, H, W) float32 in [-1, 1], on the CPU, or on the device where it was prepared there


def facts_of(frames: Sequence[Shown]) -> list[dict[str, Any]]:
    """All but the pictures, as plain values for JSON."""
    return [
        {
            "map": asdict(f.pixel_map),
            "index": f.index,
            "time": f.time,
            "name": f.name,
            "intrinsics": None if f.intrinsics is None else f.intrinsics.tolist(),
        }
        for f in frames
    ]


def shown_from(facts: Sequence[dict[str, Any]], images: Tensor | None) -> list[Shown]:
    """Rebuild from `facts_of` and the pictures (T, H, W, 3). Raises ValueError if they are not equally many."""
    if len(facts) != (0 if images is None else len(images)):
        raise ValueError(f"{len(facts)} frames were kept, with pictures of another number")
    pictures = [] if images is None else list(images.numpy())
    return [
        Shown(
            image=picture,
            pixel_map=PixelMap(**{name: tuple(value) for name, value in fact["map"].items()}),
            index=fact["index"],
            time=fact["time"],
            name=fact["name"],
            intrinsics=None if fact.get("intrinsics") is None else np.array(fact["intrinsics"], np.float64),
        )
        for fact, picture in zip(facts, pictures, strict=True)
    ]


def predictions_of(
    heads: Heads,
    world_from_chunk: Tensor,
    group: Sequence[Shown],
    is_metric: bool,
    cameras: Sequence[str],
    tracking: Tensor,
    *,
    scaled: bool = False,
) -> list[Prediction]:
    """Make one prediction a row of heads. world_from_chunk (n, 4, 4), or (1, 4, 4) for all rows.

    cameras: where each row's pose comes from. tracking: codes of the last rows; rows before them are earlier frames.
    scaled: whether the chain may have a scale: what leaves is in the take's units, and poses are rigid motions.
    """
    height, width = heads.points_self.shape[1:3]
    intrinsics = heads.intrinsics
    if intrinsics is None:
        intrinsics = intrinsics_from_focal(focal_weiszfeld(heads.points_self), height, width)
    world_from_chunk = world_from_chunk.expand(len(heads.pose), 4, 4)
    world_from_cams = world_from_chunk @ world_from_cam(heads.pose)
    points_self, metric_scale = heads.points_self, heads.metric_scale
    if scaled:
        world_from_cams, scale = split_scale(world_from_cams)
        metric_scale = None if metric_scale is None else metric_scale / scale
        points_self = points_self * scale[:, None, None, None].to(points_self.dtype)
    points = transform(world_from_cams, points_self)
    points_world = transform(world_from_chunk, heads.points_world)  # the head speaks of the chunk's first camera
    depth = points_self[..., 2].clamp_min(0)
    codes = [None] * (len(group) - len(tracking)) + list(tracking)
    return [
        Prediction(
            points=points[i],
            confidence=heads.confidence_self[i],
            depth=depth[i],
            world_from_cam=world_from_cams[i],
            intrinsics=intrinsics[i],
            points_self=points_self[i],
            points_world=points_world[i],
            confidence_world=heads.confidence_world[i],
            image=torch.from_numpy(shown.image),
            is_metric=is_metric,
            color=None if heads.color is None else heads.color[i] * 0.5 + 0.5,
            pixel_map=shown.pixel_map,
            index=shown.index,
            time=shown.time,
            name=shown.name,
            camera=cameras[i],
            tracking_code=codes[i],
            written=None if heads.written is None else heads.written[i],
            metric_scale=None if metric_scale is None else metric_scale[i],
        )
        for i, shown in enumerate(group)
    ]
