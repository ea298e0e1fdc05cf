# SPDX-License-Identifier: Apache-2.0
"""The decoders of DUSt3R (arXiv 2312.14132), and what a stream keeps for them: the take's first frame.

The published model takes a pair and keeps nothing. Its world is the camera of the pair's first image, so a stream that
pairs each frame with the take's first one has one world and constant memory; frames that no longer show anything of the
first cannot be placed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from longtake.frame import PATCH, Tokens
from longtake.nn import DecoderBlock, RopeTable, grid_positions, layer_norm, rope_table

Memory = Mapping[str, Tensor]  # of one stream, see PairDecoder.layout; empty before its first frame
Layers = tuple[Tensor, Tensor, Tensor, Tensor]  # at the heads' hooks: (n, N, D), then three of (n, N, E)


@dataclass(frozen=True, slots=True)
class PairExchange:
    """One frame, as either image of a pair with its stream's first frame."""

    own: Layers  # as the first image: what is read from them is in the frame's own camera
    world: Layers | None  # as the second: in the camera of the stream's first frame; None: this is that frame
    tokens: Tokens


class PairDecoder(nn.Module):
    """Two decoders, one an image of the pair, that read each other layer by layer."""

    def __init__(
        self, feature_width: int, width: int, depth: int, heads: int, rope_base: float = 100.0, mlp_ratio: float = 4
    ) -> None:
        super().__init__()
        self.depth, self.head_dim, self.rope_base = depth, width // heads, rope_base
        self.embed = nn.Linear(feature_width, width)
        self.first, self.second = (
            nn.ModuleList(DecoderBlock(width, heads, mlp_ratio) for _ in range(depth)) for _ in range(2)
        )
        self.norm = layer_norm(width)

    def layout(self, dtype: torch.dtype) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Names, types and shapes of what is kept of one stream; -1 is any length."""
        return {"reference": (dtype, (1, -1, self.embed.in_features)), "size": (torch.int64, (2,))}

    def forward(
        self, first: Tensor, second: Tensor, first_size: tuple[int, int], second_size: tuple[int, int]
    ) -> tuple[Layers, Layers]:
        """Encoder tokens (n, N, D) of both images, each of its own size (H, W) -> what the heads read of each."""
        tables = self._table(first_size), self._table(second_size)
        a, b = self.embed(first), self.embed(second)
        hooks = (self.depth * 2 // 4, self.depth * 3 // 4)
        kept_a, kept_b = [first], [second]
        for number, (block_a, block_b) in enumerate(zip(self.first, self.second, strict=True), 1):
            (a, _), (b, _) = block_a(a, b, *tables), block_b(b, a, *tables[::-1])
            kept_a += [a] * hooks.count(number)
            kept_b += [b] * hooks.count(number)
        (a1, a2, a3), (b1, b2, b3) = kept_a, kept_b
        return (a1, a2, a3, self.norm(a)), (b1, b2, b3, self.norm(b))

    def _table(self, size: tuple[int, int]) -> RopeTable:
        weight = self.norm.weight
        positions = grid_positions(size[0] // PATCH, size[1] // PATCH, weight.device)
        return rope_table(positions, self.head_dim, weight.dtype, self.rope_base)

    def exchange(self, memory: Memory, tokens: Tokens) -> PairExchange:
        """Pair one frame (n = 1) with its stream's first one, both ways round; a first frame with itself."""
        frame, size = tokens.features, tokens.size
        if not memory:
            own, _ = self(frame, frame, size, size)
            return PairExchange(own, None, tokens)
        height, width = memory["size"].tolist()
        own, _ = self(frame, memory["reference"], size, (height, width))
        _, world = self(memory["reference"], frame, (height, width), size)
        return PairExchange(own, world, tokens)

    @staticmethod
    def write(memory: Memory, tokens: Tokens) -> Memory:
        """The memory after the frame: the first one, for ever."""
        if memory:
            return memory
        return {"reference": tokens.features, "size": torch.tensor(tokens.size, device=tokens.features.device)}
