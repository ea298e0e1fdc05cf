# SPDX-License-Identifier: Apache-2.0
"""Small copies of a few frames, kept in memory for the report."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from longtake.frame import Prediction

_LONGEST = 400


@dataclass(frozen=True, slots=True)
class Thumb:
    """One frame and its depth, made small."""

    image: np.ndarray  # (h, w, 3) uint8 RGB
    depth: np.ndarray  # (h, w) float32, 0 = unknown
    index: int  # position in the source
    time: float  # seconds


def make_thumb(prediction: Prediction) -> Thumb:
    """Return a copy of the frame with at most 400 pixels on its longer side."""
    image = prediction.image.detach().cpu().numpy()
    depth = prediction.depth.detach().float().cpu().numpy()
    height, width = depth.shape
    scale = min(1.0, _LONGEST / max(height, width))
    w, h = max(1, round(width * scale)), max(1, round(height * scale))
    small = np.asarray(Image.fromarray(image).resize((w, h), Image.Resampling.LANCZOS))
    rows = (np.arange(h) * height) // h
    columns = (np.arange(w) * width) // w
    nearest = depth[rows[:, None], columns]  # depth is never averaged: edges would get depths that nothing has
    known = np.isfinite(nearest) & (nearest > 0)
    return Thumb(small.copy(), np.where(known, nearest, 0).astype(np.float32), prediction.index, prediction.time)
