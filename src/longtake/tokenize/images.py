# SPDX-License-Identifier: Apache-2.0
"""From an upright picture of any size to the one the model sees, and the way back for its camera.

Resize so that the long side is `size`, crop at the centre to whole patches, scale to [-1, 1]. Nothing here depends on
the family except the patch size and the two options that old checkpoints need (`short_side_crop`, `mode="resize"`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from longtake.errors import InputError
from longtake.frame import PATCH, PixelMap


def prepare(
    image: np.ndarray,
    size: int,
    *,
    square_ok: bool = False,
    patch: int = PATCH,
    mode: Literal["crop", "resize"] = "crop",
    short_side_crop: bool = False,
) -> tuple[np.ndarray, PixelMap]:
    """Resize and crop a picture for the model.

    image: (H0, W0, 3) uint8 RGB, upright, at least 1x1.
    size: length of the long side before cropping, in pixels; at least one patch.
    square_ok: keep a square square; otherwise it becomes 4:3 (rounded down to whole patches).
    mode: "crop" cuts what exceeds whole patches; "resize" squeezes it instead (changes the aspect slightly).
    short_side_crop: the short side becomes `size` and the middle square is kept (the rule of size-224 checkpoints).
    Returns (H, W, 3) uint8 with H and W multiples of the patch, and the map between original and model pixels.

    Sides round half to even; LANCZOS when shrinking, BICUBIC otherwise. A picture so thin that its short side would be
    less than one patch is first cut at the centre along its long side, to the aspect size : patch.
    Raises InputError if the image is not (H0, W0, 3) uint8 or `size` is less than one patch.
    """
    made = plan(image, size, square_ok=square_ok, patch=patch, short_side_crop=short_side_crop)
    resample = Image.Resampling.LANCZOS if made.shrinks else Image.Resampling.BICUBIC
    picture = Image.fromarray(made.strip(image)).resize(made.resized, resample)
    if mode == "crop":
        return np.array(picture.crop(made.box)), made.pixel_map  # a copy: what Pillow lends cannot be written to
    (cut_x, cut_y), (width, height) = made.cut, made.kept
    new_width, new_height = made.pixel_map.size
    scale = (new_width / width, new_height / height)
    squeezed = picture.resize((new_width, new_height), Image.Resampling.LANCZOS)
    return np.array(squeezed), replace(made.pixel_map, scale=scale, offset=(cut_x * scale[0], cut_y * scale[1]))


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be done to a picture, (x, y) everywhere: keep a strip of it, resize that, cut a box out of it."""

    cut: tuple[int, int]  # pixels before the strip
    kept: tuple[int, int]  # size of the strip: nearly always all of the picture
    resized: tuple[int, int]
    box: tuple[int, int, int, int]  # left, top, right, bottom, in pixels of the resized strip
    shrinks: bool
    pixel_map: PixelMap

    def strip(self, image: np.ndarray) -> np.ndarray:
        """The part of the picture (H0, W0, 3) that is resized; a view."""
        (x, y), (width, height) = self.cut, self.kept
        return image[y : y + height, x : x + width]


def plan(
    image: np.ndarray, size: int, *, square_ok: bool = False, patch: int = PATCH, short_side_crop: bool = False
) -> Plan:
    """What `prepare` does to a picture in mode "crop", without doing it; arguments and errors as there."""
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(
            f"prepare got an array of shape {tuple(image.shape)} and type {image.dtype}; it needs (height, width, 3) "
            "uint8 RGB with at least one pixel. longtake.sources converts other pictures."
        )
    if size < patch:
        raise InputError(f"size={size} is less than one patch of {patch} pixels; use a multiple of {patch}.")
    original_height, original_width = image.shape[:2]
    strip, cut_x, cut_y = _cut_thin(image, size, patch)
    height, width = strip.shape[:2]

    long_side = round(size * max(width / height, height / width)) if short_side_crop else size
    longest = max(width, height)
    resized_width, resized_height = (round(side * long_side / longest) for side in (width, height))
    scale = (resized_width / width, resized_height / height)

    centre_x, centre_y = resized_width // 2, resized_height // 2
    if short_side_crop:
        half_width = half_height = min(centre_x, centre_y) // (patch // 2) * (patch // 2)
    else:
        half_width, half_height = ((2 * c) // patch * (patch // 2) for c in (centre_x, centre_y))
        if resized_width == resized_height and not square_ok:
            # 4:3 in whole patches: the plain three quarters would cut a patch in two for sizes such as 240.
            half_height = max(3 * half_width // 4 // (patch // 2), 1) * (patch // 2)

    left, top = centre_x - half_width, centre_y - half_height
    new_width, new_height = 2 * half_width, 2 * half_height
    offset = (left + cut_x * scale[0], top + cut_y * scale[1])
    pixel_map = PixelMap((original_width, original_height), (new_width, new_height), scale, offset)
    box = (left, top, left + new_width, top + new_height)
    return Plan((cut_x, cut_y), (width, height), (resized_width, resized_height), box, longest > long_side, pixel_map)


def to_tensor(image: np.ndarray) -> Tensor:
    """Turn (H, W, 3) uint8 into float32 (3, H, W) in [-1, 1]: (u8 / 255 - 0.5) / 0.5."""
    planes = np.ascontiguousarray(image.transpose(2, 0, 1))  # a copy: the caller's picture stays its own
    return torch.from_numpy(planes).to(torch.float32).div_(255).sub_(0.5).div_(0.5)


def _cut_thin(image: np.ndarray, size: int, patch: int) -> tuple[np.ndarray, int, int]:
    """Cut a very thin picture so that its short side becomes at least one patch; return it and the (x, y) cut off."""
    height, width = image.shape[:2]
    short, longest = min(height, width), max(height, width)
    if round(short * size / longest) >= patch:
        return image, 0, 0
    keep = short * size // patch
    cut = (longest - keep) // 2
    if width == longest:
        return image[:, cut : cut + keep], cut, 0
    return image[cut : cut + keep], 0, cut
