# SPDX-License-Identifier: Apache-2.0
"""The transformer inside the tracker: tracks exchange over time, and over space by way of a few virtual tracks."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, scaled_dot_product_attention

from longtake.nn import Mlp, SelfAttention, drawn
from longtake.nn.attention import merge_heads, split_heads


class JointCrossAttention(nn.Module):
    """Multi-head attention of x over y, with the three projections in one weight (queries, keys, values)."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """x (n, N, width) reads y (n, M, width) -> (n, N, width)."""
        width = x.shape[-1]
        weight, bias = self.qkv.weight, self.qkv.bias
        query = linear(x, weight[:width], bias[:width])
        key, value = linear(y, weight[width:], bias[width:]).chunk(2, -1)
        query, key, value = (split_heads(each, self.heads) for each in (query, key, value))
        return self.proj(merge_heads(scaled_dot_product_attention(query, key, value)))


class TrackBlock(nn.Module):
    """Attention and MLP whose residual starts from the normalised input: x = norm1(x); x + attn(x); then + mlp.

    With `cross`, attention is over a context instead of over x itself.
    """

    def __init__(self, width: int, heads: int, *, cross: bool = False, mlp_ratio: float = 4) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=1e-5), nn.LayerNorm(width, eps=1e-5)
        self.norm_context = nn.LayerNorm(width, eps=1e-5) if cross else None
        self.attn = JointCrossAttention(width, heads) if cross else SelfAttention(width, heads)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, context: Tensor | None = None) -> Tensor:
        """x (n, N, width), context (n, M, width) -> (n, N, width)."""
        x = self.norm1(x)
        seen = () if context is None or self.norm_context is None else (self.norm_context(context),)
        x = x + self.attn(x, *seen)
        return x + self.mlp(self.norm2(x))


class TrackFormer(nn.Module):
    """Tokens of all tracks in all frames -> how each track's place and feature should change."""

    def __init__(self, wide: int, width: int, out: int, depth: int, heads: int, virtual: int) -> None:
        super().__init__()
        self.input_norm = nn.LayerNorm(wide, eps=1e-5)
        self.enter = nn.Linear(wide, width)
        self.virtual = drawn(1, virtual, 1, width)

        def stack(cross: bool) -> nn.ModuleList:
            return nn.ModuleList(TrackBlock(width, heads, cross=cross) for _ in range(depth))

        self.time_blocks, self.virtual_blocks = stack(False), stack(False)
        self.gather_blocks, self.spread_blocks = stack(True), stack(True)  # virtual from points, points from virtual
        self.output_norm = nn.LayerNorm(width, eps=1e-5)
        self.leave = nn.Linear(width, out)

    def forward(self, tokens: Tensor) -> Tensor:
        """tokens (n, tracks, S, wide) -> (n, tracks, S, out)."""
        n, tracks, frames, _ = tokens.shape
        entered = self.enter(self.input_norm(tokens))
        x = torch.cat((entered, self.virtual.expand(n, -1, frames, -1).to(entered.dtype)), 1)
        for time, gather, among, spread in zip(
            self.time_blocks, self.gather_blocks, self.virtual_blocks, self.spread_blocks, strict=True
        ):
            x = time(x.flatten(0, 1)).unflatten(0, (n, -1))
            each = x.transpose(1, 2).flatten(0, 1)  # (n * S, tracks + virtual, width)
            points, virtual = each[:, :tracks], each[:, tracks:]
            virtual = among(gather(virtual, points))
            points = spread(points, virtual)
            x = torch.cat((points, virtual), 1).unflatten(0, (n, frames)).transpose(1, 2)
        return self.leave(self.output_norm(x[:, :tracks] + entered))
