# SPDX-License-Identifier: Apache-2.0
"""Whether two cameras see what a pair of poses says they see: one picture, moved by its depth, held against the other.

Poses of a pair that agree there and back may still be wrong: two views that share nothing are often said to be one
camera, both ways. Their pictures then do not fit on each other.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from longtake.geometry.camera import project

CELL = 4  # pixels along a side: finer would ask more of the pose than a loop needs
MIDDLE = (CELL // 2 - 1, CELL // 2)  # rows and columns about a cell's centre
LEAST = 1 / 16  # of the cells must be seen from both cameras
GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601


def correlation(
    image: Tensor, points_self: Tensor, second_from_first: Tensor, second_image: Tensor, intrinsics: Tensor
) -> float:
    """Normalised cross-correlation of what both cameras see, -1 to 1; 0 where that is too little or one grey.

    image, second_image (H, W, 3) uint8; points_self (H, W, 3) of the first camera, in its own frame; second_from_first
    (4, 4) in the same units; intrinsics (3, 3) of the second, in pixels. Brightness and contrast do not matter.
    """
    mine, theirs = _grey(image), _grey(second_image)
    height, width = mine.shape[-2:]
    inner = [points_self[i::CELL, j::CELL][:height, :width] for i in MIDDLE for j in MIDDLE]
    points = torch.stack(inner).to(mine.device, torch.float32).mean(0)
    move = second_from_first.to(points)
    pixels = project(points @ move[:3, :3].T + move[:3, 3], intrinsics.to(points))
    # A cell's centre lies half a cell, less half a pixel, from its corner; grid_sample counts from -1 to 1.
    cells = (pixels - (CELL - 1) / 2) / CELL
    place = cells / torch.tensor([width - 1, height - 1]).to(points) * 2 - 1
    seen = (place.abs() <= 1).all(-1)
    if not seen.float().mean() >= LEAST:
        return 0.0
    there = grid_sample(theirs, torch.where(seen[..., None], place, 0)[None], align_corners=True)[0, 0]
    a, b = mine[0, 0][seen], there[seen]
    a, b = a - a.mean(), b - b.mean()
    size = a.norm() * b.norm()
    return float(a @ b / size) if size > 1e-6 else 0.0


def _grey(image: Tensor) -> Tensor:
    """The mean grey of each cell, (1, 1, H / CELL, W / CELL)."""
    grey = image.float() @ torch.tensor(GREY, device=image.device)
    return avg_pool2d(grey[None, None], CELL)
