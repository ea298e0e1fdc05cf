# SPDX-License-Identifier: Apache-2.0
"""The VGGT family's nine numbers of a camera: translation and quaternion xyzw of cam_from_world, and two view angles.

The angles are (vertical, horizontal) in radians; the principal point is not encoded: it is (W / 2, H / 2).
"""

from __future__ import annotations

import torch
from torch import Tensor

from longtake.geometry.pose import rigid
from longtake.geometry.rotation import matrix_from_quat_wxyz, quat_wxyz_from_matrix


def encode_camera(cam_from_world: Tensor, intrinsics: Tensor, height: int, width: int) -> Tensor:
    """cam_from_world (..., 3 or 4, 4) and intrinsics (..., 3, 3) -> (..., 9), quaternion with real part >= 0."""
    quat_wxyz = quat_wxyz_from_matrix(cam_from_world[..., :3, :3])
    vertical = 2 * torch.atan(height / 2 / intrinsics[..., 1, 1])
    horizontal = 2 * torch.atan(width / 2 / intrinsics[..., 0, 0])
    angles = torch.stack((vertical, horizontal), -1)
    return torch.cat((cam_from_world[..., :3, 3], quat_wxyz[..., 1:], quat_wxyz[..., :1], angles), -1)


def decode_camera(encoding: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """(..., 9) -> cam_from_world (..., 4, 4) and intrinsics (..., 3, 3). The quaternion may have any norm but 0.

    A view angle of 0 gives an infinite focal length, as in the published program.
    """
    quat_wxyz = torch.cat((encoding[..., 6:7], encoding[..., 3:6]), -1)
    cam_from_world = rigid(matrix_from_quat_wxyz(quat_wxyz), encoding[..., :3])
    fy = height / 2 / torch.tan(encoding[..., 7] / 2)
    fx = width / 2 / torch.tan(encoding[..., 8] / 2)
    zero, one = torch.zeros_like(fx), torch.ones_like(fx)
    rows = ((fx, zero, one * (width / 2)), (zero, fy, one * (height / 2)), (zero, zero, one))
    return cam_from_world, torch.stack([torch.stack(row, -1) for row in rows], -2)
