# SPDX-License-Identifier: Apache-2.0
"""What a frame leaves beside its depth: the picture that the model saw, and how sure the model was of each pixel."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from longtake.errors import InputError

STEPS_PER_OCTAVE = 4096  # confidence = 2 ** (value / 4096): a step is 0.02 %, the largest is 65,525
_QUALITY = 92


def encode_picture(image: np.ndarray) -> bytes:
    """Return a JPEG of an (H, W, 3) uint8 RGB picture."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def encode_confidence(confidence: np.ndarray) -> bytes:
    """Return a 16-bit PNG of an (H, W) confidence map; what is not finite or below 1 becomes 1, the least there is."""
    known = np.isfinite(confidence) & (confidence > 1)
    octaves = np.log2(np.where(known, confidence, 1).astype(np.float64))
    buffer = io.BytesIO()
    values = np.rint(octaves * STEPS_PER_OCTAVE).clip(0, 65535).astype(np.uint16)
    Image.fromarray(values).save(buffer, "PNG", compress_level=1)  # as for depth: fast, and little larger
    return buffer.getvalue()


def read_confidence(path: str | os.PathLike[str]) -> np.ndarray:
    """Read an (H, W) float32 confidence map that a take left, at least 1. Raises InputError where it is not one."""
    try:
        with Image.open(path) as image:
            if not image.mode.startswith("I"):
                raise InputError(f"{Path(path).name}: an image of mode {image.mode}; wanted 16-bit grey")
            return np.exp2(np.asarray(image).astype(np.float32) / STEPS_PER_OCTAVE)
    except OSError as error:
        raise InputError(f"{Path(path).name}: cannot be read as a confidence map ({error})") from error
