# SPDX-License-Identifier: Apache-2.0
"""Rigid motions as 4x4 matrices, and the chain of poses over resets. A pose7 is translation xyz, quaternion wxyz."""

from __future__ import annotations

import torch
from torch import Tensor

from longtake.geometry.rotation import (
    conjugate_quat_wxyz,
    matrix_from_quat_wxyz,
    multiply_quat_wxyz,
    quat_wxyz_from_matrix,
)


def rigid(rotation: Tensor, translation: Tensor) -> Tensor:
    """Return the 4x4 matrix (..., 4, 4) of x -> rotation x + translation, from (..., 3, 3) and (..., 3)."""
    top = torch.cat((rotation, translation.unsqueeze(-1)), dim=-1)
    zeros = torch.zeros_like(top[..., :1, :3])  # no constant from the host: this runs inside captured graphs
    return torch.cat((top, torch.cat((zeros, torch.ones_like(zeros[..., :1])), dim=-1)), dim=-2)


def world_from_cam(pose7: Tensor) -> Tensor:
    """Return the 4x4 camera-to-world matrix (..., 4, 4) of a pose7 (..., 7). The quaternion may have any norm but 0."""
    return rigid(matrix_from_quat_wxyz(pose7[..., 3:]), pose7[..., :3])


def pose7_from_matrix(matrix: Tensor) -> Tensor:
    """Return translation and unit quaternion wxyz, real part >= 0, (..., 7) of a rigid motion (..., 4, 4)."""
    return torch.cat((matrix[..., :3, 3], quat_wxyz_from_matrix(matrix[..., :3, :3])), dim=-1)


def inverse(matrix: Tensor) -> Tensor:
    """Return the inverse (..., 4, 4) of a rigid motion, in closed form: (R, t) -> (R^T, -R^T t)."""
    rotation = matrix[..., :3, :3].transpose(-1, -2)
    return rigid(rotation, -(rotation * matrix[..., None, :3, 3]).sum(-1))


def transform(matrix: Tensor, points: Tensor) -> Tensor:
    """Apply affine maps to points: R x + t.

    matrix is (*b, 4, 4), points are (*b, *any, 3) with the same leading axes b, which may be none; the result is shaped
    like the points. Written as three multiply-adds: matrix units with reduced precision (TF32) never touch coordinates.
    """
    batch = matrix.shape[:-2]
    gap = (1,) * (points.ndim - 1 - len(batch))
    columns = matrix[..., :3, :].transpose(-1, -2).reshape(*batch, *gap, 4, 3)
    x, y, z = points.split(1, dim=-1)
    return x * columns[..., 0, :] + y * columns[..., 1, :] + z * columns[..., 2, :] + columns[..., 3, :]


def relative_pose(a_quat_wxyz: Tensor, a: Tensor, b_quat_wxyz: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return quaternion (..., 4) and translation (..., 3) of camera b seen from camera a.

    Inputs are camera-to-world, quaternions of unit norm: q = conj(q_a) q_b, t = R(q_a)^T (t_b - t_a). q is the raw
    product: its real part may be negative.
    """
    to_a = matrix_from_quat_wxyz(a_quat_wxyz).transpose(-1, -2)
    return multiply_quat_wxyz(conjugate_quat_wxyz(a_quat_wxyz), b_quat_wxyz), (to_a * (b - a).unsqueeze(-2)).sum(-1)


def running_product(matrices: Tensor) -> Tensor:
    """Return all running products (V, k, k): result_i = result_{i-1} matrices_i, result_0 = matrices_0."""
    products = [matrices[0]]
    for matrix in matrices[1:]:
        products.append(products[-1] @ matrix)
    return torch.stack(products)


def advance_chunk(world_from_chunk: Tensor, chunk_from_cam: Tensor, reset: Tensor) -> Tensor:
    """Return the frame of the views that follow: one step of `chain_poses`, with no branch on the data.

    world_from_chunk and chunk_from_cam are (n, 4, 4), reset is (n,) bool. After a reset the chunk's frame is the camera
    of the view that reset; otherwise it stays.
    """
    return torch.where(reset[..., None, None], world_from_chunk @ chunk_from_cam, world_from_chunk)


def kept_views(reset: Tensor) -> Tensor:
    """Return the indices (K,) of the views that are shown: their predecessor did not reset. reset is (V,) bool."""
    overlap = torch.cat((reset.new_zeros(1), reset[:-1]))
    return torch.nonzero(~overlap).squeeze(-1)


def chain_poses(camera_pose: Tensor, reset: Tensor) -> tuple[Tensor, Tensor]:
    """Put the poses of a take with resets into the frame of its first chunk.

    camera_pose is (V, 7), in the frame of the first view since the last reset; reset is (V,) bool, true where the view
    starts the stream over afterwards. The view after a reset is a repetition (the overlap): it is dropped, and its own
    pose, nominally the identity, is ignored. For the kept views, in order, B_0 = 1, B_{i+1} = B_i P_i after a reset,
    else B_i; the result is B_i P_i. No scale is estimated between chunks.
    Returns world_from_cam (K, 4, 4) and the indices of the kept views (K,).
    """
    kept = kept_views(reset)
    chunk_from_cam = world_from_cam(camera_pose[kept])
    eye = torch.eye(4, dtype=camera_pose.dtype, device=camera_pose.device)
    world_from_chunk = [eye]
    for pose, ends in zip(chunk_from_cam, reset[kept], strict=True):
        world_from_chunk.append(advance_chunk(world_from_chunk[-1], pose, ends))
    return torch.stack(world_from_chunk[:-1]) @ chunk_from_cam, kept
