# SPDX-License-Identifier: Apache-2.0

from __future__ import annotations

import torch
from torch import Tensor

SMALL = 1e-6  # radians below which a rotation is its first order


def cross_matrix(w: Tensor) -> Tensor:
    """w (..., 3) -> the matrix (..., 3, 3) with M x = w cross x."""
    x, y, z = w.unbind(-1)
    zero = torch.zeros_like(x)
    return torch.stack((zero, -z, y, z, zero, -x, -y, x, zero), -1).unflatten(-1, (3, 3))


def exp_motion(motion: Tensor) -> Tensor:
    top = torch.cat((cross_matrix(motion[..., 3:]), motion[..., :3, None]), -1)
    return torch.linalg.matrix_exp(torch.cat((top, torch.zeros_like(top[..., :1, :])), -2))


def log_motion(matrix: Tensor) -> Tensor:
    """Rigid motion (..., 4, 4) -> (..., 6): its own translation, and its rotation vector.

    For small motions the inverse of `exp_motion` to first order, which is what a prior needs; rotations below 180
    degrees.
    """
    rotation = matrix[..., :3, :3]
    axis = torch.stack(
        (
            rotation[..., 2, 1] - rotation[..., 1, 2],
            rotation[..., 0, 2] - rotation[..., 2, 0],
            rotation[..., 1, 0] - rotation[..., 0, 1],
        ),
        -1,
    )
    sine = axis.norm(dim=-1, keepdim=True)  # twice the sine
    cosine = rotation.diagonal(dim1=-2, dim2=-1).sum(-1, keepdim=True) - 1
    angle = torch.atan2(sine, cosine)
    return torch.cat((matrix[..., :3, 3], axis * torch.where(sine < SMALL, 0.5, angle / sine.clamp_min(SMALL))), -1)


def adjoint(matrix: Tensor) -> Tensor:
    """T (..., 4, 4) -> A (..., 6, 6) with T exp(x) = exp(A x) T."""
    rotation, translation = matrix[..., :3, :3], matrix[..., :3, 3]
    top = torch.cat((rotation, cross_matrix(translation) @ rotation), -1)
    return torch.cat((top, torch.cat((torch.zeros_like(rotation), rotation), -1)), -2)
