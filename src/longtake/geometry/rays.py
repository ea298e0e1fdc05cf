# SPDX-License-Identifier: Apache-2.0
"""Ray maps: the cameras that ray-conditioned models are asked about, one origin and direction per pixel."""

from __future__ import annotations

import torch
from torch import Tensor

from longtake.geometry.camera import normalised_rays, pixel_grid
from longtake.geometry.pose import inverse, transform


def ray_map(
    world_from_cam: Tensor, intrinsics: Tensor, height: int, width: int, world_from_first: Tensor | None = None
) -> Tensor:
    """Return (*b, H, W, 6): origin xyz, direction xyz of unit length, in the frame of the first camera.

    world_from_cam (*b, 4, 4), intrinsics (*b, 3, 3), world_from_first (*b, 4, 4) or (4, 4), by default the identity.
    With (R, t) the camera in the first one's frame and k = K^-1 (u, v, 1), the direction is R k + t, normalised. A
    direction should not move with t, but the published checkpoints were trained so, and so it is reproduced.
    """
    first_from_cam = world_from_cam if world_from_first is None else inverse(world_from_first) @ world_from_cam
    batch = first_from_cam.shape[:-2]
    grid = pixel_grid(height, width, dtype=first_from_cam.dtype, device=first_from_cam.device)
    rays = normalised_rays(intrinsics, grid.expand(*intrinsics.shape[:-2], *grid.shape))
    directions = transform(first_from_cam, rays.expand(*batch, height, width, 3))
    directions = directions / directions.norm(dim=-1, keepdim=True)
    origins = first_from_cam[..., None, None, :3, 3].expand_as(directions)
    return torch.cat((origins, directions), dim=-1)
