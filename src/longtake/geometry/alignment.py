# SPDX-License-Identifier: Apache-2.0
"""One pointmap laid over another by a similarity: torch, batched, differentiable (Umeyama 1991).

`similarity.align` is the same for point lists in numpy and float64, with errors where no rotation is fixed.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longtake.geometry.pose import rigid


def align_maps(source: Tensor, target: Tensor, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return scale (n,) and rigid motion (n, 4, 4) with scale * R x + t closest to the target.

    source, target (n, ..., 3) of one shape; weight (n, ...) >= 0, by default 1 everywhere. Points that are not finite
    in either map do not count. Where nothing counts, or all points are in one place, the scale is 1 and R some rotation
    that fits. Never in less than float32, autocast or not: a rotation rounded to bfloat16 is off by degrees.
    """
    with torch.autocast(source.device.type, enabled=False):
        return _align(source, target, weight)


def _align(source: Tensor, target: Tensor, weight: Tensor | None) -> tuple[Tensor, Tensor]:
    dtype = torch.promote_types(source.dtype, torch.float32)
    x, y = source.flatten(1, -2).to(dtype), target.flatten(1, -2).to(dtype)
    valid = (x.isfinite() & y.isfinite()).all(-1)
    w = valid.to(dtype) if weight is None else torch.where(valid, weight.flatten(1).to(dtype), 0)
    w = (w / w.sum(1, keepdim=True).clamp_min(torch.finfo(dtype).tiny))[..., None]
    x, y = (torch.where(valid[..., None], each, 0) for each in (x, y))
    mean_x, mean_y = (w * x).sum(1, keepdim=True), (w * y).sum(1, keepdim=True)
    x, y = x - mean_x, y - mean_y
    variance = (w * x.square()).sum((1, 2))
    u, d, vt = torch.linalg.svd((w * y).transpose(1, 2) @ x)
    flip = torch.ones_like(d)
    flip[:, 2] = torch.sign(torch.linalg.det(u) * torch.linalg.det(vt))
    rotation = (u * flip[:, None]) @ vt
    scale = torch.where(variance > 0, (d * flip).sum(1) / variance.clamp_min(torch.finfo(dtype).tiny), 1)
    translation = mean_y[:, 0] - scale[:, None] * (rotation @ mean_x.transpose(1, 2))[..., 0]
    return scale, rigid(rotation, translation)


def surest(confidence: Tensor, share: float = 0.15) -> Tensor:
    """Weights (n, ...), 1 for the surest `share` of each map's pixels, else 0; 1 for all where fewer than 3 are left.

    The limit is the quantile at 1 - share of the confidence (n, ...), interpolated; pixels at the limit count.
    """
    flat = confidence.flatten(1)
    place = (1 - share) * (flat.shape[1] - 1)
    low = int(place)
    ordered = flat.sort(1).values  # torch.quantile has a limit of 16 million values
    upper = ordered[:, min(low + 1, flat.shape[1] - 1)]
    limit = ordered[:, low] + (place - low) * (upper - ordered[:, low])
    chosen = flat >= limit[:, None]
    chosen = chosen | (chosen.sum(1, keepdim=True) < 3)
    return chosen.to(flat.dtype).view_as(confidence)
