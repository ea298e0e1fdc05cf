# SPDX-License-Identifier: Apache-2.0
"""Every model of the registry as a tiny one with fixed random weights, and pictures to show it."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from longtake.checkpoints.convert import TRANSLATIONS
from longtake.registry import MODELS


def tiny(name: str, seed: int = 1) -> Any:
    """The model called `name`, tiny, always with the same weights; none of them is at its start value."""
    entry = MODELS[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = TRANSLATIONS[entry.family]().build(entry.config.tiny().to_dict())
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(0.1 * torch.randn_like(parameter))
    return model.eval().requires_grad_(False)


def picture(seed: int, height: int = 60, width: int = 84) -> np.ndarray:
    """Random pixels."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
