# SPDX-License-Identifier: Apache-2.0
"""A service on a tiny model with fixed random weights, and pictures to send it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from stream_models import SMALL, build

from longtake.registry import Model
from longtake.serve.client import encode_jpeg
from longtake.serve.limits import Limits
from longtake.serve.service import Service

TOKEN = "a-token-for-tests"


def tiny() -> Model:
    """Always with the same weights."""
    return Model("tiny", build(SMALL))


def serve(seats: int = 8, *, model: Model | None = None, states: Path | None = None, **limits: Any) -> Service:
    """A service on a free port of this machine, with `TOKEN`."""
    bounds = Limits(seats=seats, **({"max_fps": 1000.0} | limits))
    return Service(model or tiny(), tokens=[TOKEN], port=0, limits=bounds, states=states)


def picture(seed: int, height: int = 64, width: int = 96) -> np.ndarray:
    """Smooth random colours, (H, W, 3) uint8."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 6, 3)).astype(np.uint8)
    return np.kron(coarse, np.ones((height // 4, width // 6, 1), np.uint8))


def jpeg(seed: int, height: int = 64, width: int = 96) -> bytes:
    """The same as a JPEG."""
    return encode_jpeg(picture(seed, height, width))


def jpeg_that_claims(width: int, height: int, length: int = 2000) -> bytes:
    """A JPEG whose header says a size, with too few bytes for it."""
    data = jpeg(0)
    at = next(i for i in range(2, len(data)) if data[i] == 0xFF and data[i + 1] in (0xC0, 0xC2))
    sides = height.to_bytes(2, "big") + width.to_bytes(2, "big")
    return (data[: at + 5] + sides + data[at + 9 :])[:length]
