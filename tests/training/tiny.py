# SPDX-License-Identifier: Apache-2.0
"""A learner small enough to train in seconds, with every part of the embedded model."""

from __future__ import annotations

from dataclasses import replace

import torch

from longtake.families.cut3r import Cut3r, Cut3rConfig
from longtake.registry import SMALL
from longtake.training.step import Learner

TINY: Cut3rConfig = replace(
    SMALL,
    encoder_width=64,
    encoder_depth=1,
    encoder_heads=2,
    decoder_width=64,
    decoder_depth=2,
    image_heads=2,
    state_heads=2,
    state_size=24,
    pose_slots=8,
    pose_width=16,
    stem=(8, 16, 32),
    conv_widths=(32, 16, 16, 8),
    metric_scale=False,
)


def tiny_learner(seed: int = 0) -> Learner:
    """The same weights for the same seed."""
    torch.manual_seed(seed)
    return Learner(Cut3r(TINY))
