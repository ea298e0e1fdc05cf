# SPDX-License-Identifier: Apache-2.0
"""The embedded model's dense head (ours): a small convolutional decoder with the stem's finer maps as skips."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu


def shuffle(x: Tensor) -> Tensor:
    """pixel_shuffle(x, 2) that keeps channels last in memory: (n, 4 C, h, w) -> (n, C, 2 h, 2 w)."""
    n, channels, height, width = x.shape
    cells = x.permute(0, 2, 3, 1).unflatten(-1, (channels // 4, 2, 2))  # (n, h, w, C, 2, 2)
    return cells.permute(0, 1, 4, 2, 5, 3).reshape(n, 2 * height, 2 * width, channels // 4).permute(0, 3, 1, 2)


class ConvHead(nn.Module):
    """Tokens at 1/16 -> a map at full resolution, joining the stem's maps at 1/4 and 1/2 on the way."""

    def __init__(
        self, width: int, channels: int, stem: tuple[int, int, int], hidden: tuple[int, int, int, int]
    ) -> None:
        super().__init__()
        half, quarter, _ = stem
        w16, w8, w4, w2 = hidden
        self.enter = nn.Conv2d(width, w16, 1)
        self.up8 = nn.Conv2d(w16, 4 * w8, 3, padding=1)
        self.mix8 = nn.Conv2d(w8, w8, 3, padding=1)
        self.up4 = nn.Conv2d(w8, 4 * w4, 3, padding=1)
        self.mix4 = nn.Conv2d(w4 + quarter, w4, 3, padding=1)
        self.up2 = nn.Conv2d(w4, 4 * w2, 3, padding=1)
        self.mix2 = nn.Conv2d(w2 + half, w2, 3, padding=1)
        self.out = nn.Conv2d(w2, 4 * channels, 3, padding=1)

    def forward(self, tokens: Tensor, grid: tuple[int, int], skips: tuple[Tensor, ...]) -> Tensor:
        """tokens (n, h * w, width), skips (n, ., 8h, 8w), (n, ., 4h, 4w) -> (n, channels, 16 h, 16 w)."""
        half, quarter = skips
        x = gelu(self.enter(tokens.transpose(1, 2).unflatten(-1, grid)))
        x = gelu(shuffle(self.up8(x)))
        x = x + gelu(self.mix8(x))
        x = gelu(shuffle(self.up4(x)))
        x = gelu(self.mix4(torch.cat((x, quarter), 1)))
        x = gelu(shuffle(self.up2(x)))
        x = gelu(self.mix2(torch.cat((x, half), 1)))
        return shuffle(self.out(x))
