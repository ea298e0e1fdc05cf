# SPDX-License-Identifier: Apache-2.0
"""Continuous three-dimensional rotary embedding of Point3R (arXiv 2507.02863): tokens sit at points in space.

A head's channels are split into three parts, one an axis: equal ones where the width is a multiple of 3, otherwise d, d
and the rest with d = width div 3. A part of m channels at coordinate p turns by the angles p * base^(-2j/m), and the
result is averaged over several bases, which is the same as averaging the cosines and the sines. Where m is odd the
pairing is shifted by one channel, so that it is no rotation any more; the published weights were trained so.
"""

from __future__ import annotations

import torch
from torch import Tensor

from longtake.nn.rope import RopeTable

BASES = (10.0, 100.0, 1000.0, 10000.0)


def rope3d_table(
    positions: Tensor, head_dim: int, dtype: torch.dtype, bases: tuple[float, ...] = BASES, *, lead: bool = False
) -> RopeTable:
    """Tabulate points (n, N, 3): two tensors (n, 1, N, head_dim), the same for every head, for `rotate`.

    lead: one more token stands in front, which nothing turns (a pose token). The origin turns nothing either.
    dtype is that of the weights; angles are never kept in less than float32. Raises ValueError for head_dim < 3.
    """
    if head_dim < 3:
        raise ValueError(f"3D rotary embedding needs a head width of at least 3, not {head_dim}")
    dtype = torch.promote_types(dtype, torch.float32)
    points = positions.to(dtype)
    third = head_dim // 3
    cosines, sines, partners = [], [], []
    for axis, (start, m) in enumerate(((0, third), (third, third), (2 * third, head_dim - 2 * third))):
        half, index = (m + 1) // 2, torch.arange(m, device=points.device)
        exponents = -2 * (index % half).to(dtype) / m
        frequencies = torch.stack([torch.pow(base, exponents) for base in bases])  # (bases, m)
        angles = points[..., axis, None, None] * frequencies  # (n, N, bases, m)
        sign = torch.where(index < m - half, -1.0, 1.0).to(dtype)
        cosines.append(angles.cos().mean(-2))
        sines.append(angles.sin().mean(-2) * sign)
        partners.append(start + torch.where(index < m - half, index + half, index - (m - half)))
    cos, sin = torch.cat(cosines, -1), torch.cat(sines, -1)
    if lead:
        cos = torch.cat((torch.ones_like(cos[:, :1]), cos), 1)
        sin = torch.cat((torch.zeros_like(sin[:, :1]), sin), 1)
    return RopeTable(cos[:, None], sin[:, None], torch.cat(partners))
