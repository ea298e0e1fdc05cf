# SPDX-License-Identifier: Apache-2.0
"""Alternating attention of the VGGT family (arXiv 2503.11738): within each frame, then over all frames, layer by layer.

Nothing tells the layers which frame is which, except that the first has special tokens of its own: the others may come
in any order.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor, nn

from longtake.nn import KeysValues, RopeTable, ScaledBlock, drawn, grid_positions, rope_table


class AlternatingAttention(nn.Module):
    """Camera and register tokens in front of every frame's patches, `depth` pairs of frame and global blocks."""

    def __init__(
        self, width: int, depth: int, heads: int, registers: int, mlp_ratio: float = 4, rope_base: float = 100.0
    ) -> None:
        super().__init__()
        self.depth, self.head_dim, self.rope_base = depth, width // heads, rope_base
        self.camera_token = drawn(1, 2, 1, width)  # slot 0: first frame, 1: all others
        self.register_token = drawn(1, 2, registers, width)

        def stack() -> nn.ModuleList:
            return nn.ModuleList(ScaledBlock(width, heads, mlp_ratio, normed=True) for _ in range(depth))

        self.frame_blocks, self.global_blocks = stack(), stack()

    @property
    def special(self) -> int:
        """How many tokens stand before the patches of a frame."""
        return 1 + self.register_token.shape[2]

    def enter(self, features: Tensor, *, first: bool) -> Tensor:
        """Put the special tokens before the patches: (n, S, N, C) -> (n, S, special + N, C).

        first: whether features[:, 0] is the first frame of its take.
        """
        n, frames = features.shape[:2]
        both = torch.cat((self.camera_token, self.register_token), 2)  # (1, 2, special, C)
        slot = torch.ones(frames, dtype=torch.long, device=features.device)
        if first:
            slot[0] = 0
        return torch.cat((both[:, slot].expand(n, -1, -1, -1).to(features.dtype), features), 2)

    def table(self, grid: tuple[int, int]) -> RopeTable:
        """Rotary table of one frame: special tokens at (0, 0), patch (r, c) at (r + 1, c + 1)."""
        weight = self.camera_token
        patches = grid_positions(*grid, weight.device) + 1
        positions = torch.cat((patches.new_zeros(self.special, 2), patches))
        return rope_table(positions, self.head_dim, weight.dtype, self.rope_base, angles_in=torch.float32)

    def forward(
        self, tokens: Tensor, grid: tuple[int, int], wanted: Collection[int], *, causal: bool = False
    ) -> dict[int, Tensor]:
        """All frames of n takes at once: tokens (n, S, M, C) -> layer index: (n, S, M, 2C) for the layers wanted.

        The first C channels of a layer are its frame block's output, the last C its global block's. causal: a frame
        sees itself and earlier ones.
        """
        n, frames, count, _ = tokens.shape
        table = self.table(grid)
        all_table = RopeTable(table.cos.repeat(frames, 1), table.sin.repeat(frames, 1))
        mask = causal_mask(frames, count, tokens.device) if causal else None
        layers: dict[int, Tensor] = {}
        for i in range(self.depth):
            tokens = self.frame_blocks[i](tokens.flatten(0, 1), table).unflatten(0, (n, frames))
            within = tokens
            tokens = self.global_blocks[i](tokens.flatten(1, 2), all_table, mask).unflatten(1, (frames, count))
            if i in wanted:
                layers[i] = torch.cat((within, tokens), -1)
        return layers

    def step(
        self, tokens: Tensor, grid: tuple[int, int], wanted: Collection[int], past: list[KeysValues] | None
    ) -> tuple[dict[int, Tensor], list[KeysValues]]:
        """One more frame of n takes: tokens (n, 1, M, C) -> its layers as `forward`, and all keys and values so far."""
        table = self.table(grid)
        x = tokens[:, 0]
        layers: dict[int, Tensor] = {}
        caches: list[KeysValues] = []
        for i in range(self.depth):
            within = self.frame_blocks[i](x, table)
            block = self.global_blocks[i]
            assert isinstance(block, ScaledBlock)
            x, cache = block.step(within, past[i] if past else None, table)
            caches.append(cache)
            if i in wanted:
                layers[i] = torch.cat((within, x), -1)[:, None]
        return layers, caches


def causal_mask(frames: int, count: int, device: torch.device | str = "cpu") -> Tensor:
    """Who sees whom: (frames * count, frames * count) bool, true for tokens of the same or an earlier frame."""
    frame = torch.arange(frames, device=device).repeat_interleave(count)
    return frame[:, None] >= frame[None, :]
