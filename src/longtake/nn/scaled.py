# SPDX-License-Identifier: Apache-2.0
"""The block of the VGGT family and of DINOv2: pre-norm, each residual scaled channel by channel (LayerScale).

Queries and keys may be normalised per head before they are turned. `step` runs the same block over keys and values that
earlier frames left behind; what it caches is normalised and turned already, so nothing old is computed again.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from longtake.nn.attention import merge_heads
from longtake.nn.blocks import InnerNorm, Mlp
from longtake.nn.rope import RopeTable, rotate

KeysValues = tuple[Tensor, Tensor]  # each (n, heads, T, head_dim)


class NormedAttention(nn.Module):
    """Multi-head self-attention with optional normalisation of queries and keys, and optional rotary positions."""

    def __init__(self, width: int, heads: int, *, eps: float, normed: bool) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.q_norm = nn.LayerNorm(width // heads, eps=eps) if normed else nn.Identity()
        self.k_norm = nn.LayerNorm(width // heads, eps=eps) if normed else nn.Identity()

    def project(self, x: Tensor, table: RopeTable | None) -> tuple[Tensor, Tensor, Tensor]:
        """x (n, N, width) -> queries, keys and values (n, heads, N, head_dim), ready for attention."""
        query, key, value = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        query, key = self.q_norm(query), self.k_norm(key)
        if table is not None:
            query, key = rotate(query, table), rotate(key, table)
        return query.to(value.dtype), key.to(value.dtype), value

    def attend(self, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None = None) -> Tensor:
        """Queries read keys and values; mask (N, T), true where a query may look -> (n, N, width)."""
        return self.proj(merge_heads(scaled_dot_product_attention(query, key, value, attn_mask=mask)))


class ScaledBlock(nn.Module):
    """Self-attention and MLP, both with LayerScale."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: float = 4, *, eps: float = 1e-5, normed: bool = False
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = InnerNorm(width, eps=eps), InnerNorm(width, eps=eps)
        self.attn = NormedAttention(width, heads, eps=eps, normed=normed)
        self.mlp = Mlp(width, int(width * mlp_ratio))
        self.scale1, self.scale2 = (nn.Parameter(torch.full((width,), 0.01)) for _ in range(2))

    def forward(self, x: Tensor, table: RopeTable | None = None, mask: Tensor | None = None) -> Tensor:
        """(n, N, width) -> (n, N, width); mask (N, N), true where a token may look."""
        x = x + self.scale1 * self.attn.attend(*self.attn.project(self.norm1(x), table), mask)
        return x + self.scale2 * self.mlp(self.norm2(x))

    def step(self, x: Tensor, past: KeysValues | None, table: RopeTable | None = None) -> tuple[Tensor, KeysValues]:
        """x (n, N, width) reads itself and `past` -> the new x, and the keys and values of both together."""
        query, key, value = self.attn.project(self.norm1(x), table)
        if past is not None:
            key, value = torch.cat((past[0], key), -2), torch.cat((past[1], value), -2)
        x = x + self.scale1 * self.attn.attend(query, key, value)
        return x + self.scale2 * self.mlp(self.norm2(x)), (key, value)
