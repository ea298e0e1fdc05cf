# SPDX-License-Identifier: Apache-2.0
"""Points of the first frame, followed through a set of frames by a model with a track head."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtake.errors import CapabilityError, InputError
from longtake.families.vggt import Vggt
from longtake.frame import Frame, PixelMap, Views
from longtake.tokenize.images import to_tensor


@dataclass(frozen=True, slots=True)
class Tracks:
    """K points in T frames."""

    points: Tensor  # (T, K, 2) pixels (x, y) of each original frame, centres at integers; may lie outside of it
    visible: Tensor  # (T, K) in [0, 1]
    confidence: Tensor  # (T, K) in [0, 1]


@torch.no_grad()
def follow(model: Any, frames: Iterable[Frame | np.ndarray], points: np.ndarray, name: str = "") -> Tracks:
    """Follow points (K, 2), pixels (x, y) of the first frame, through all frames. The first row is what was asked for.

    Raises CapabilityError for a model without a track head, InputError for frames or points that do not fit it.
    """
    if not isinstance(model, Vggt) or model.track_head is None:
        raise CapabilityError(
            f"{name or 'this model'} has no track head; vggt and streamvggt have (`longtake models`)."
        )
    pictures = [frame.image if isinstance(frame, Frame) else np.asarray(frame) for frame in frames]
    if not pictures:
        raise InputError("got no frames; wanted pictures of one size, the first being the one that the points are in.")
    prepared = [model.prepare(picture) for picture in pictures]
    shapes = sorted({image.shape[:2] for image, _ in prepared})
    if len(shapes) != 1:
        raise InputError(f"got frames that become pictures of {shapes}; all must have one size.")
    (height, width), asked = shapes[0], np.asarray(points, dtype=np.float64)
    smallest = model.config.track_down * 2 ** (model.config.track_levels - 1)
    if min(height, width) < smallest:
        raise InputError(
            f"tracks need pictures of at least {smallest} pixels each way; these become {width} x {height}."
        )
    weight = next(model.parameters())
    start = torch.from_numpy(_to_model(asked, prepared[0][1])).to(weight)
    tokens = [  # one by one: the encoder looks at each frame on its own
        model.tokenize(Views(image=to_tensor(image)[None].to(weight))).features for image, _ in prepared
    ]
    entered = model.memory.enter(torch.stack(tokens, 1), first=True)
    size = (height, width)
    layers = model.memory(entered, model.grid(size), model.wanted, causal=model.config.causal)
    tracks, visible, sure = model.tracks(layers, size, start[None])
    found = tracks[-1, 0].cpu().double().numpy()
    original = np.stack([_to_original(row, pixel_map) for row, (_, pixel_map) in zip(found, prepared, strict=True)])
    return Tracks(torch.from_numpy(original).float(), visible[0].cpu(), sure[0].cpu())


def _to_model(points: np.ndarray, pixel_map: PixelMap) -> np.ndarray:
    """Original pixels to the model's; raises InputError for what the model does not see."""
    if points.ndim != 2 or points.shape[1] != 2 or not len(points):
        raise InputError(f"got points of shape {points.shape}; wanted (K, 2), the pixels (x, y) of at least one point.")
    inside = (points + 0.5) * pixel_map.scale - 0.5 - np.array(pixel_map.offset)
    outside = ~((inside >= -0.5) & (inside <= np.array(pixel_map.size) - 0.5)).all(1)  # nan is outside, too
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        where = tuple(points[first].tolist())
        raise InputError(
            f"{int(outside.sum())} points lie outside of what the model sees of the first frame, such as number "
            f"{first} at {where}: the frame has {pixel_map.original_size} pixels (width, height), of "
            "which the model sees the middle."
        )
    return inside


def _to_original(points: np.ndarray, pixel_map: PixelMap) -> np.ndarray:
    return (points + 0.5 + np.array(pixel_map.offset)) / pixel_map.scale - 0.5
