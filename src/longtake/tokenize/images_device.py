# SPDX-License-Identifier: Apache-2.0
"""Resize and crop where the model is: the same filters as Pillow's, as two small matrix products.

A resize by a separable filter is rows @ picture @ columns. The weights are Pillow's own: filter (Lanczos with three
lobes, or Catmull-Rom's bicubic with a = -1/2), stretched by the scale where the picture shrinks, cut at the picture's
edges, divided by their sum, rounded to whole multiples of 2^-22. Pillow rounds to 8 bits after each direction, and so
does this. All sums are whole numbers below 2^53, exact in float64, so both say the same to the last bit; what is
promised is one grey level.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import lru_cache
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from longtake.frame import PixelMap
from longtake.tokenize.images import plan

Filter = Literal["lanczos", "bicubic"]
ONE = 2.0**22  # what a weight is counted in
_REACH = {"lanczos": 3.0, "bicubic": 2.0}


class DevicePreparer:
    """Prepares pictures on one device, on a CUDA stream of its own: it may run in another thread than the model."""

    def __init__(self, device: torch.device) -> None:
        self.device = device
        self.stream = torch.cuda.Stream(device) if device.type == "cuda" else None

    def __call__(
        self, image: np.ndarray, size: int, *, square_ok: bool = False, short_side_crop: bool = False
    ) -> tuple[np.ndarray, Tensor, PixelMap]:
        """Do what `tokenize.images.prepare` and `to_tensor` do, within one grey level.

        image, size and options: as there. Returns (H, W, 3) uint8 on the host, (3, H, W) float32 in [-1, 1] on the
        device, ready to be read, and the map. Raises InputError as there.
        """
        made = plan(image, size, square_ok=square_ok, short_side_crop=short_side_crop)
        strip = np.array(made.strip(image))  # a copy: the caller's picture may be read-only, and change
        (width, height), (left, top, right, bottom) = made.resized, made.box
        kind: Filter = "lanczos" if made.shrinks else "bicubic"
        with nullcontext() if self.stream is None else torch.cuda.stream(self.stream), torch.no_grad():
            columns, rows = (
                resize_matrix(before, after, kind, self.device)[begin:end]
                for before, after, begin, end in (
                    (strip.shape[1], width, left, right),
                    (strip.shape[0], height, top, bottom),
                )
            )
            levels = resize(torch.from_numpy(strip).to(self.device), rows, columns)
            picture = levels.permute(2, 0, 1).float().div_(255).sub_(0.5).div_(0.5).contiguous()
            shown = levels.cpu().numpy()  # waits: all of the picture is there
        if self.stream is not None:
            picture.record_stream(torch.cuda.current_stream(self.device))
        return shown, picture, made.pixel_map


def resize(picture: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """picture (h, w, 3) uint8, rows (H, h), columns (W, w) float64 -> (H, W, 3) uint8; columns first, as in Pillow."""
    with torch.autocast(picture.device.type, enabled=False):
        planes = picture.permute(2, 0, 1).double()
        across = _to_levels(planes @ columns.t())
        return _to_levels(rows @ across).permute(1, 2, 0).to(torch.uint8)


@lru_cache(maxsize=32)
def resize_matrix(before: int, after: int, kind: Filter, device: torch.device) -> Tensor:
    """(after, before) float64 weights of a filter on a device, a row those of one new pixel: whole numbers, of 2^-22.

    Each row's sum is nearly 2^22.
    """
    scale = before / after
    stretch = max(scale, 1.0)
    reach = _REACH[kind] * stretch
    centres = (np.arange(after) + 0.5) * scale
    first = np.maximum((centres - reach + 0.5).astype(np.int64), 0)
    last = np.minimum((centres + reach + 0.5).astype(np.int64), before)
    index = np.arange(before)
    x = (index - centres[:, None] + 0.5) / stretch
    weights = _lanczos(x) if kind == "lanczos" else _bicubic(x)
    weights[(index < first[:, None]) | (index >= last[:, None])] = 0
    whole = weights / weights.sum(1, keepdims=True) * ONE
    return torch.from_numpy(np.trunc(whole + np.copysign(0.5, whole))).to(device)


def _lanczos(x: np.ndarray) -> np.ndarray:
    return np.where(np.abs(x) < 3, np.sinc(x) * np.sinc(x / 3), 0.0)


def _bicubic(x: np.ndarray, a: float = -0.5) -> np.ndarray:
    x = np.abs(x)
    near = ((a + 2) * x - (a + 3)) * x * x + 1
    far = (((x - 5) * x + 8) * x - 4) * a
    return np.where(x < 1, near, np.where(x < 2, far, 0.0))


def _to_levels(x: Tensor) -> Tensor:
    """From multiples of 2^-22 to the nearest of 0 to 255, halves up."""
    return ((x + ONE / 2) / ONE).floor().clamp(0, 255)
