# SPDX-License-Identifier: Apache-2.0
"""Attention without attention maps: fused softmax attention, and the one statistic that a rule may ask for.

The mean over keys of the scaled logits is linear in the keys, mean_j q.k_j = q.mean_j(k_j), so it costs a matrix-vector
product and never a map (tests/nn/test_attention.py holds the proof against the full map).
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from longtake.nn.rope import RopeTable, rotate, rotate_rounded


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(n, N, heads * d) -> (n, heads, N, d)."""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def merge_heads(x: Tensor) -> Tensor:
    """(n, heads, N, d) -> (n, N, heads * d)."""
    return x.transpose(-3, -2).flatten(-2)


def mean_logit(query: Tensor, key: Tensor) -> Tensor:
    """Mean over heads and keys of the scaled, pre-softmax logits, one number a query.

    query (n, h, S, d), key (n, h, N, d), both already rotated -> (n, S). Accumulated in at least float32.
    """
    dtype = torch.promote_types(query.dtype, torch.float32)
    mean_key = key.to(dtype).mean(-2, keepdim=True)  # (n, h, 1, d)
    return (query.to(dtype) * mean_key).sum(-1).mean(-2) / query.shape[-1] ** 0.5


class SelfAttention(nn.Module):
    """Multi-head self-attention with optional rotary positions.

    scale multiplies the logits; None: 1 / sqrt(head width).
    """

    def __init__(self, width: int, heads: int, scale: float | None = None) -> None:
        super().__init__()
        self.heads, self.scale = heads, scale
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, table: RopeTable | None = None, rounded: bool = False) -> Tensor:
        """x (n, N, width) -> (n, N, width); `rounded` selects the official half-precision rotation."""
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)  # (3, n, heads, N, d)
        query, key, value = qkv
        if table is not None:
            query, key = (rotate_rounded if rounded else rotate)(qkv[:2], table)  # both in one pass
        return self.proj(merge_heads(scaled_dot_product_attention(query, key, value, scale=self.scale)))


class CrossAttention(nn.Module):
    """Multi-head attention of x over y, which can also report the mean logit of each query."""

    joint: tuple[Tensor, Tensor] | None = None  # weight (2 width, width) and bias of key and value, see join_weights

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.key = nn.Linear(width, width)
        self.value = nn.Linear(width, width)
        self.proj = nn.Linear(width, width)

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        table_x: RopeTable | None = None,
        table_y: RopeTable | None = None,
        want_logit: bool = False,
        probe: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """x (n, S, width) reads y (n, N, width) -> the update (n, S, width), and the mean logits (n, S) if wanted.

        probe: if given, receives the rotated queries (n, h, S, d) and keys (n, h, N, d), for other statistics.
        """
        query = split_heads(self.query(x), self.heads)
        if self.joint is not None and type(self.key) is type(self.value) is nn.Linear:  # no adapters since
            key, value = linear(y, *self.joint).unflatten(-1, (2, self.heads, -1)).permute(2, 0, 3, 1, 4)
        else:
            key, value = split_heads(self.key(y), self.heads), split_heads(self.value(y), self.heads)
        if table_x is not None and table_y is not None:
            query, key = rotate(query, table_x), rotate(key, table_y)
        logit = mean_logit(query, key) if want_logit else None
        if probe is not None:
            probe.append((query, key))
        return self.proj(merge_heads(scaled_dot_product_attention(query, key, value))), logit

    def join_weights(self) -> None:
        """From now on make keys and values by one product, for inference where the weights are and as they are.

        The weights of both layers become halves of one tensor: names and memory stay. Moving or casting the module
        undoes it.
        """
        if self.key.bias is None or self.value.bias is None:
            return
        with torch.no_grad():
            weight = torch.cat((self.key.weight, self.value.weight)).detach()
            bias = torch.cat((self.key.bias, self.value.bias)).detach()
            self.key.weight.data, self.value.weight.data = weight.chunk(2)
            self.key.bias.data, self.value.bias.data = bias.chunk(2)
        self.joint = (weight, bias)

    def _apply(self, fn: Any, recurse: bool = True) -> CrossAttention:
        self.joint = None
        return super()._apply(fn, recurse)
