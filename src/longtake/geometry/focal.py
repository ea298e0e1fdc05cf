# SPDX-License-Identifier: Apache-2.0
"""The focal length of a camera from the pointmap it saw: one number per map, square pixels, known principal point."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from longtake.geometry.camera import pixel_grid, principal_point


def focal_base(height: int, width: int) -> float:
    """Return the focal length in pixels at which the longer side spans 60 degrees."""
    return max(height, width) / (2 * math.tan(math.radians(30)))


def _centred_pixels(points: Tensor, centre: Tensor | None) -> Tensor:
    """Return pixels minus the principal point, (..., H, W, 2) or (H, W, 2)."""
    height, width = points.shape[-3:-1]
    grid = pixel_grid(height, width, dtype=points.dtype, device=points.device)
    if centre is None:
        return grid - grid.new_tensor(principal_point(height, width))
    return grid - centre.to(points.dtype)[..., None, None, :]


def focal_weiszfeld(
    points: Tensor,
    centre: Tensor | None = None,
    *,
    mask: Tensor | None = None,
    iterations: int = 10,
    min_focal: float = 0.0,
    max_focal: float = math.inf,
) -> Tensor:
    """Fit f to minimise sum |pixel - f (x, y) / z|, the geometric median by Weiszfeld's reweighted least squares.

    points (..., H, W, 3) are in the camera's own frame; centre (..., 2) is the principal point (u, v), by default
    (W div 2, H div 2); mask (..., H, W) bool says which pixels count, by default all. Quotients that are not finite
    count as (0, 0), each component on its own. The result (...), in pixels, is clipped to [min_focal, max_focal] times
    the focal length of a 60 degree view; a map that points backwards therefore gives 0 by default, and one with no
    valid pixel nan.
    """
    height, width = points.shape[-3:-1]
    q = _centred_pixels(points, centre)
    ratio = points[..., :2] / points[..., 2:]
    s = torch.where(ratio.isfinite(), ratio, torch.zeros_like(ratio))
    if mask is not None:
        s = torch.where(mask[..., None], s, torch.zeros_like(s))  # both sums below lose the pixel
    s_q, s_s = (s * q).sum(-1), s.square().sum(-1)  # (..., H, W)
    f = s_q.mean((-2, -1)) / s_s.mean((-2, -1))
    for _ in range(iterations):
        w = (q - f[..., None, None, None] * s).norm(dim=-1).clamp_min(1e-8).reciprocal()
        f = (w * s_q).mean((-2, -1)) / (w * s_s).mean((-2, -1))
    base = focal_base(height, width)
    return f.clamp(min_focal * base, max_focal * base)


def focal_median(
    points: Tensor, centre: Tensor | None = None, *, min_focal: float = 0.0, max_focal: float = math.inf
) -> Tensor:
    """Return the median of the votes u z / x and v z / y of all pixels together; nan votes do not count.

    Arguments, result and clipping as in `focal_weiszfeld`; of an even number of votes the lower middle one is taken.
    """
    height, width = points.shape[-3:-1]
    votes = _centred_pixels(points, centre) * points[..., 2:] / points[..., :2]
    base = focal_base(height, width)
    return votes.flatten(-3).nanmedian(-1).values.clamp(min_focal * base, max_focal * base)
