# SPDX-License-Identifier: Apache-2.0
"""Nine numbers of a camera: they come back, and the vertical angle goes with the vertical focal length."""

from __future__ import annotations

import math

import torch

from longtake.geometry.pose import rigid
from longtake.geometry.pose_encoding import decode_camera, encode_camera
from longtake.geometry.rotation import matrix_from_quat_wxyz

SEED = torch.Generator().manual_seed(4)


def test_cameras_come_back() -> None:
    quat = torch.randn(20, 4, dtype=torch.float64, generator=SEED)
    cam_from_world = rigid(matrix_from_quat_wxyz(quat), torch.randn(20, 3, dtype=torch.float64, generator=SEED))
    intrinsics = torch.zeros(20, 3, 3, dtype=torch.float64)
    intrinsics[:, 0, 0] = torch.rand(20, dtype=torch.float64, generator=SEED) * 300 + 50
    intrinsics[:, 1, 1] = torch.rand(20, dtype=torch.float64, generator=SEED) * 300 + 50
    intrinsics[:, 0, 2], intrinsics[:, 1, 2], intrinsics[:, 2, 2] = 42, 28, 1
    encoding = encode_camera(cam_from_world, intrinsics, 56, 84)
    back, back_intrinsics = decode_camera(encoding, 56, 84)
    torch.testing.assert_close(back, cam_from_world)
    torch.testing.assert_close(back_intrinsics, intrinsics)
    assert (encoding[:, 6] >= 0).all()
    scaled = torch.cat((encoding[:, :3], 3 * encoding[:, 3:7], encoding[:, 7:]), -1)
    torch.testing.assert_close(decode_camera(scaled, 56, 84)[0], cam_from_world)


def test_the_identity_with_a_right_angle_upwards() -> None:
    encoding = torch.tensor([0, 0, 0, 0, 0, 0, 1, math.pi / 2, math.pi / 3], dtype=torch.float64)
    cam_from_world, intrinsics = decode_camera(encoding, 100, 200)
    torch.testing.assert_close(cam_from_world, torch.eye(4, dtype=torch.float64))
    wanted = torch.tensor([[100 * math.sqrt(3), 0, 100], [0, 50, 50], [0, 0, 1]], dtype=torch.float64)
    torch.testing.assert_close(intrinsics, wanted)
    assert decode_camera(torch.tensor([0, 0, 0, 0, 0, 0, 1, 0.0, 0.0]), 10, 10)[1][0, 0].isinf()
