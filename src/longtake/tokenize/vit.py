# SPDX-License-Identifier: Apache-2.0
"""Patch encoders: a frame (or a ray map) becomes features on a grid of 16 x 16 pixel patches.

`PatchEmbed` is the plain projection of the published models; `Stem` is ours: a small convolutional pyramid that learns
faster from scratch and whose finer maps sharpen the heads of the embedded model.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu

from longtake.frame import PATCH
from longtake.nn import EncoderBlock, Kept, RopeTable, kept_or_made, layer_norm, rope_table
from longtake.nn.rope import grid_positions


class PatchEmbed(nn.Module):
    """Projection of non-overlapping patches, no normalisation and no absolute positions."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(channels, width, PATCH, PATCH)

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(n, C, H, W) -> tokens (n, N, width), no skips."""
        return self.proj(image).flatten(2).transpose(1, 2), ()


class Stem(nn.Module):
    """Four strided convolutions; hands the maps at 1/2 and 1/4 of the resolution on to the heads."""

    def __init__(self, channels: int, width: int, stem: tuple[int, int, int]) -> None:
        super().__init__()
        half, quarter, eighth = stem
        self.to_half = nn.Conv2d(channels, half, 3, 2, 1)
        self.to_quarter = nn.Conv2d(half, quarter, 3, 2, 1)
        self.to_eighth = nn.Conv2d(quarter, eighth, 3, 2, 1)
        self.to_tokens = nn.Conv2d(eighth, width, 3, 2, 1)
        self.norm = layer_norm(width)

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(n, C, H, W) -> tokens (n, N, width) and skips (n, half, H/2, W/2), (n, quarter, H/4, W/4)."""
        # Channels last, as the convolutions of CPUs and GPUs want them; the tokens then need no copy.
        half = gelu(self.to_half(image.contiguous(memory_format=torch.channels_last)))
        quarter = gelu(self.to_quarter(half))
        tokens = self.to_tokens(gelu(self.to_eighth(quarter)))
        return self.norm(tokens.permute(0, 2, 3, 1).flatten(1, 2)), (half, quarter)


class PatchEncoder(nn.Module):
    """Patch embedding, transformer blocks with 2D rotary positions, final norm.

    `rounded_rope` reproduces the float16 rounding of the official image encoders (see nn.rope.rotate_rounded).
    """

    kept: Kept | None = None  # set by an engine: the rotary tables of every size of picture

    def __init__(
        self,
        channels: int,
        width: int,
        depth: int,
        heads: int,
        *,
        rope_base: float = 100.0,
        mlp_ratio: float = 4,
        stem: tuple[int, int, int] | None = None,
        rounded_rope: bool = False,
    ) -> None:
        super().__init__()
        self.patch = PatchEmbed(channels, width) if stem is None else Stem(channels, width, stem)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, mlp_ratio) for _ in range(depth))
        self.norm = layer_norm(width)
        self.head_dim = width // heads
        self.rope_base = rope_base
        self.rounded_rope = rounded_rope

    def forward(self, image: Tensor) -> tuple[Tensor, tuple[Tensor, ...]]:
        """(n, C, H, W), sides multiples of 16 -> features (n, N, width) and the patch embedding's skips."""
        height, width = image.shape[-2] // PATCH, image.shape[-1] // PATCH
        x, skips = self.patch(image)
        size = (height, width, image.device, self.norm.weight.dtype)
        return self.encode(x, kept_or_made(self.kept, size, self.table, *size)), skips

    def table(self, height: int, width: int, device: torch.device, dtype: torch.dtype) -> RopeTable:
        """The rotary table of a grid of patches.

        Angles in the parameters' own precision (float64 when the model is): autocast must not touch them.
        """
        return rope_table(grid_positions(height, width, device), self.head_dim, dtype, self.rope_base)

    def encode(self, x: Tensor, table: RopeTable) -> Tensor:
        """Run the blocks over embedded patches x (n, N, width)."""
        for block in self.blocks:
            x = block(x, table, self.rounded_rope)
        return self.norm(x)
