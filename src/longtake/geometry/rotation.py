# SPDX-License-Identifier: Apache-2.0
"""Rotations as quaternions (real part first) and matrices, batched over leading axes."""

from __future__ import annotations

import torch
from torch import Tensor


def standardise_quat_wxyz(quat_wxyz: Tensor) -> Tensor:
    """Return the unit quaternion (..., 4) with real part >= 0. The norm is floored at 1e-12, so zero stays zero."""
    unit = quat_wxyz / quat_wxyz.norm(dim=-1, keepdim=True).clamp_min(1e-12)
    return torch.where(unit[..., :1] < 0, -unit, unit)


def conjugate_quat_wxyz(quat_wxyz: Tensor) -> Tensor:
    """Return the conjugate (..., 4): the inverse rotation of a unit quaternion."""
    return torch.cat((quat_wxyz[..., :1], -quat_wxyz[..., 1:]), dim=-1)


def multiply_quat_wxyz(a: Tensor, b: Tensor) -> Tensor:
    """Return the raw product a b (..., 4); as rotations, b acts first. Nothing is normalised."""
    aw, av = a[..., :1], a[..., 1:]
    bw, bv = b[..., :1], b[..., 1:]
    real = aw * bw - (av * bv).sum(-1, keepdim=True)
    return torch.cat((real, aw * bv + bw * av + torch.linalg.cross(av, bv)), dim=-1)


def matrix_from_quat_wxyz(quat_wxyz: Tensor) -> Tensor:
    """Return the rotation matrix (..., 3, 3) of any non-zero quaternion (..., 4).

    Dividing by the squared norm makes a normalisation beforehand unnecessary. A zero quaternion gives nan.
    """
    w, x, y, z = quat_wxyz.unbind(-1)
    s = 2 / quat_wxyz.square().sum(-1)
    rows = (
        (1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)),
        (s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)),
        (s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)


def quat_wxyz_from_matrix(matrix: Tensor) -> Tensor:
    """Return the unit quaternion (..., 4), real part >= 0, of a rotation matrix (..., 3, 3).

    The rows of 4 q q^T can be read off the matrix; the one that belongs to the largest |component| (the first on ties)
    is q up to a factor that is never small. So there is no square root of a rounding error, and gradients stay finite.
    An exact half turn keeps the sign for which that component is positive.
    """
    m = [[matrix[..., i, j] for j in range(3)] for i in range(3)]
    xw, yw, zw = m[2][1] - m[1][2], m[0][2] - m[2][0], m[1][0] - m[0][1]
    xy, xz, yz = m[1][0] + m[0][1], m[0][2] + m[2][0], m[2][1] + m[1][2]
    ww = 1 + m[0][0] + m[1][1] + m[2][2]
    xx = 1 + m[0][0] - m[1][1] - m[2][2]
    yy = 1 - m[0][0] + m[1][1] - m[2][2]
    zz = 1 - m[0][0] - m[1][1] + m[2][2]
    rows = ((ww, xw, yw, zw), (xw, xx, xy, xz), (yw, xy, yy, yz), (zw, xz, yz, zz))
    outer = torch.stack([torch.stack(row, dim=-1) for row in rows], dim=-2)  # (..., 4, 4)
    largest = outer.diagonal(dim1=-2, dim2=-1).argmax(-1)
    row = outer.gather(-2, largest[..., None, None].expand(*largest.shape, 1, 4)).squeeze(-2)
    return standardise_quat_wxyz(row)


def angle_between(a: Tensor, b: Tensor) -> Tensor:
    """Return the angle in degrees, 0 to 180, (...) between two rotation matrices (..., 3, 3).

    From sine and cosine together: the arc cosine alone loses half of the digits near 0 and 180.
    """
    r = a.transpose(-1, -2) @ b
    axis = torch.stack((r[..., 2, 1] - r[..., 1, 2], r[..., 0, 2] - r[..., 2, 0], r[..., 1, 0] - r[..., 0, 1]), dim=-1)
    return torch.rad2deg(torch.atan2(axis.norm(dim=-1), r.diagonal(dim1=-2, dim2=-1).sum(-1) - 1))
