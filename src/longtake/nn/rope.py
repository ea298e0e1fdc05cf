# SPDX-License-Identifier: Apache-2.0
"""Two-dimensional rotary position embedding (RoFormer, arXiv 2104.09864, applied per axis).

The first half of a head's channels carries the row, the second half the column. Inside a half of 2Q channels, channel j
is paired with j + Q and turned by position * base^(-j / Q). Positions are integers and may be negative: a pose token
sits at (-1, -1).
"""

# No `from __future__ import annotations` here: a named tuple's annotations as text belong to no module, and the tests'
# type checker could not resolve them.
from collections.abc import Callable, Hashable
from typing import Any, NamedTuple

import torch
from torch import Tensor


class RopeTable(NamedTuple):
    """Cosines and sines for one set of positions, computed once and shared by all blocks of a pass."""

    cos: Tensor  # (..., N, head_dim)
    sin: Tensor  # (..., N, head_dim), signed so that rotate() is one multiply-add
    partner: Tensor | None = None  # (head_dim,) which channel each is mixed with; None: the pairs of the 2D embedding


class Kept(dict[Hashable, Any]):
    """Rotary tables (or pairs of them) that depend on sizes alone, kept from frame to frame by an engine that asks so.

    A module without one, which is the rule, makes them for every frame: some sixty small launches on a GPU.
    """

    def __deepcopy__(self, memo: Any) -> "Kept":
        return Kept()


def kept_or_made(kept: Kept | None, key: Hashable, make: Callable[..., Any], *given: Any) -> Any:
    """make(*given), or what it made before for this key; without `kept`, or with None as the key, always anew.

    The key must name all that the result depends on, device and dtype included.
    """
    if kept is None or key is None:
        return make(*given)
    if key not in kept:
        kept[key] = make(*given)
    return kept[key]


def grid_positions(height: int, width: int, device: torch.device | str = "cpu") -> Tensor:
    """Row-major (row, column) of a patch grid: (height * width, 2) int64."""
    rows = torch.arange(height, device=device)
    columns = torch.arange(width, device=device)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).reshape(-1, 2)


def rope_table(
    positions: Tensor, head_dim: int, dtype: torch.dtype, base: float = 100.0, *, angles_in: torch.dtype | None = None
) -> RopeTable:
    """Tabulate the rotation of each position: positions (..., N, 2) -> two tensors (..., N, head_dim).

    dtype is that of the weights; angles are never kept in less than float32, where positions would blur.
    angles_in: form the angles in this precision instead (VGGT: always float32), cosines and sines as above.
    Raises ValueError unless head_dim is a multiple of 4.
    """
    if head_dim % 4:
        raise ValueError(f"2D rotary embedding needs a head width that is a multiple of 4, not {head_dim}")
    quarter, dtype = head_dim // 4, torch.promote_types(dtype, torch.float32)
    formed = angles_in or dtype
    exponents = torch.arange(quarter, device=positions.device, dtype=formed) / quarter
    frequencies = torch.pow(base, -exponents)
    angles = (positions[..., None].to(formed) * frequencies).to(dtype)  # (..., N, 2, Q)
    cos, sin = angles.cos(), angles.sin()
    # Per axis: (u, v) -> (u cos - v sin, v cos + u sin). Doubling the tables makes that x * cos + swap(x) * sin.
    return RopeTable(
        torch.cat((cos, cos), -1).flatten(-2),
        torch.cat((-sin, sin), -1).flatten(-2),
    )


def rotate(x: Tensor, table: RopeTable) -> Tensor:
    """Turn queries or keys x (..., heads, N, head_dim) by their table, (N, head_dim) or (..., 1, N, head_dim)."""
    if table.partner is None:
        u_row, v_row, u_column, v_column = x.chunk(4, -1)
        swapped = torch.cat((v_row, u_row, v_column, u_column), -1)
    else:
        swapped = x[..., table.partner]
    return x * table.cos.to(x.dtype) + swapped * table.sin.to(x.dtype)


def rotate_rounded(x: Tensor, table: RopeTable) -> Tensor:
    """Rotate as the official image encoders do: round to float16, turn in float32, round to float16 again.

    The published CUT3R family was trained and run with this rounding; it moves outputs by about 5e-4.
    """
    half = x.to(torch.float16).to(torch.float32)
    return rotate(half, table).to(torch.float16).to(x.dtype)
