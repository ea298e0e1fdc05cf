# SPDX-License-Identifier: Apache-2.0
"""The pinhole camera. Pixel (u, v) = (column, row), pixel centres lie at integers, depth is z."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def pixel_grid(
    height: int, width: int, *, dtype: torch.dtype = torch.float32, device: torch.device | str | None = None
) -> Tensor:
    """Return (height, width, 2): the (u, v) of every pixel centre, from (0, 0) to (width - 1, height - 1)."""
    v = torch.arange(height, dtype=dtype, device=device)
    u = torch.arange(width, dtype=dtype, device=device)
    return torch.stack(torch.broadcast_tensors(u[None, :], v[:, None]), dim=-1)


def principal_point(height: int, width: int) -> tuple[int, int]:
    """Return the (u, v) = (width div 2, height div 2) that the published models assume.

    Half a pixel off the middle for even sizes, ((width - 1) / 2, (height - 1) / 2); their focal lengths are fitted so.
    """
    return width // 2, height // 2


def intrinsics_from_focal(focal: Tensor, height: int, width: int) -> Tensor:
    """Return (..., 3, 3) camera matrices for focal lengths (...) in pixels, principal point as in `principal_point`."""
    cu, cv = principal_point(height, width)
    zero, one = torch.zeros_like(focal), torch.ones_like(focal)
    rows = ((focal, zero, one * cu), (zero, focal, one * cv), (zero, zero, one))
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def camera_matrix(fx: float, fy: float, cx: float, cy: float) -> np.ndarray:
    """Return the 3x3 matrix of focal lengths and principal point, all in pixels."""
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], dtype=np.float64)


def normalised_rays(intrinsics: Tensor, pixels: Tensor) -> Tensor:
    """Return K^-1 (u, v, 1) (*b, *any, 3), z = 1, for pixels (*b, *any, 2) and upper triangular K (*b, 3, 3)."""
    k = intrinsics.reshape(*intrinsics.shape[:-2], *(1,) * (pixels.ndim + 1 - intrinsics.ndim), 3, 3)
    y = (pixels[..., 1] - k[..., 1, 2]) / k[..., 1, 1]
    x = (pixels[..., 0] - k[..., 0, 2] - k[..., 0, 1] * y) / k[..., 0, 0]
    return torch.stack((x, y, torch.ones_like(x)), dim=-1)


def unproject(depth: Tensor, intrinsics: Tensor) -> Tensor:
    """Return camera points (*b, H, W, 3) of depth maps (*b, H, W) along z, for K (*b, 3, 3) or (3, 3).

    Unknown depth (0) gives the camera centre (0, 0, 0).
    """
    grid = pixel_grid(*depth.shape[-2:], dtype=depth.dtype, device=depth.device)
    batch = intrinsics.shape[:-2]
    return normalised_rays(intrinsics, grid.expand(*batch, *grid.shape)) * depth.unsqueeze(-1)


def project(points: Tensor, intrinsics: Tensor) -> Tensor:
    """Return pixels (*b, *any, 2) of camera points (*b, *any, 3), for upper triangular K (*b, 3, 3) or (3, 3).

    Points that are not in front of the camera (z <= 0) have no pixel: nan. Their gradient is 0.
    """
    batch = intrinsics.shape[:-2]
    k = intrinsics.reshape(*batch, *(1,) * (points.ndim - 1 - len(batch)), 3, 3)
    z = points[..., 2]
    front = z > 0
    safe = torch.where(front, z, torch.ones_like(z))
    x, y = points[..., 0] / safe, points[..., 1] / safe
    u = k[..., 0, 0] * x + k[..., 0, 1] * y + k[..., 0, 2]
    v = k[..., 1, 1] * y + k[..., 1, 2]
    pixels = torch.stack((u, v), dim=-1)
    return torch.where(front.unsqueeze(-1), pixels, torch.full_like(pixels, torch.nan))
