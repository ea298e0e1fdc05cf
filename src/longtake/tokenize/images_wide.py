# SPDX-License-Identifier: Apache-2.0
"""The VGGT family's way from a picture of any size to the one the model sees: by its width."""

from __future__ import annotations

import numpy as np
from PIL import Image

from longtake.errors import InputError
from longtake.frame import PixelMap


def prepare_wide(image: np.ndarray, size: int, *, patch: int = 14) -> tuple[np.ndarray, PixelMap]:
    """Resize a picture to the width `size`, the height to whole patches; cut the centre of what is higher than wide.

    image: (H0, W0, 3) uint8 RGB, upright, at least 1x1. size: a multiple of the patch.
    Returns (H, size, 3) uint8 with H a multiple of the patch and at most `size`, and the map to original pixels.
    The height rounds half to even, and is at least one patch; always BICUBIC, as the published loader does it.
    Raises InputError if the image is not (H0, W0, 3) uint8.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(
            f"prepare got an array of shape {tuple(image.shape)} and type {image.dtype}; it needs (height, width, 3) "
            "uint8 RGB with at least one pixel. longtake.sources converts other pictures."
        )
    height, width = image.shape[:2]
    cut = max(0, height - 16 * width) // 2  # a thin strip, resized as a whole, would not fit into memory
    strip = image[cut : height - cut]
    new_height = max(round(strip.shape[0] * size / width / patch), 1) * patch
    picture = Image.fromarray(strip).resize((size, new_height), Image.Resampling.BICUBIC)
    scale = (size / width, new_height / strip.shape[0])
    top = max(0, new_height - size) // 2
    if new_height > size:
        picture = picture.crop((0, top, size, top + size))
    model = np.array(picture)
    pixel_map = PixelMap((width, height), (size, model.shape[0]), scale, (0.0, top + cut * scale[1]))
    return model, pixel_map
