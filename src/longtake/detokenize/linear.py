# SPDX-License-Identifier: Apache-2.0
"""Linear head: each token's MLP predicts all pixels of its patch."""

from __future__ import annotations

from torch import Tensor, nn

from longtake.frame import PATCH
from longtake.nn import Mlp


class PatchHead(nn.Module):
    """MLP from tokens to channels x 16 x 16 pixels, ordered channel, row, column."""

    def __init__(self, width: int, channels: int) -> None:
        super().__init__()
        self.mlp = Mlp(width, 4 * width, channels * PATCH * PATCH)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """tokens (n, h * w, width), grid (h, w) -> (n, channels, 16 h, 16 w)."""
        patches = self.mlp(tokens).unflatten(-1, (-1, PATCH, PATCH)).unflatten(1, grid)  # (n, h, w, C, 16, 16)
        return patches.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)
