# SPDX-License-Identifier: Apache-2.0
"""Two tiny models with fixed random weights, shaped as the published ones and as the embedded one, and pictures."""

from __future__ import annotations

import numpy as np
import torch

from longtake.families.cut3r import Cut3r, Cut3rConfig

_TINY = Cut3rConfig(
    head="linear",
    image_size=48,
    encoder_width=32,
    encoder_depth=1,
    encoder_heads=2,
    decoder_width=16,
    decoder_depth=2,
    image_heads=2,
    state_heads=4,
    state_size=6,
    pose_slots=3,
    pose_width=16,
    ray_depth=1,
    ray_heads=4,
    rounded_rope=False,
    square_ok=True,
)
PUBLISHED = _TINY
SMALL = Cut3rConfig.from_dict(
    _TINY.to_dict()
    | {"head": "conv", "stem": (4, 6, 8), "conv_widths": (8, 6, 4, 4), "ray_depth": 0, "color": False}
    | {"pose_width": 8, "pose_depth": 1, "is_metric": False}
)


def build(config: Cut3rConfig) -> Cut3r:
    """The model, always with the same weights."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Cut3r(config).eval().requires_grad_(False)


def picture(seed: int, height: int = 32, width: int = 48) -> np.ndarray:
    """Random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
