# SPDX-License-Identifier: Apache-2.0
"""Dense prediction transformer adapter (DPT, arXiv 2103.13413) in the CUT3R family: four token sets in, a map out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu


class ResidualUnit(nn.Module):
    """x + conv(relu(conv(relu(x))))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, h, w) -> the same shape."""
        return x + self.conv2(relu(self.conv1(relu(x))))


class Fusion(nn.Module):
    """Join a coarse path with a finer map, refine, double the resolution."""

    def __init__(self, width: int, has_skip: bool) -> None:
        super().__init__()
        self.skip_unit = ResidualUnit(width) if has_skip else None
        self.unit = ResidualUnit(width)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, path: Tensor, skip: Tensor | None = None) -> Tensor:
        """path, skip (n, width, h, w) -> (n, width, 2h, 2w)."""
        if self.skip_unit is not None and skip is not None:
            path = path + self.skip_unit(skip)
        return self.out(double(self.unit(path)))


def double(x: Tensor) -> Tensor:
    """Bilinear upsampling by 2 with aligned corners."""
    return interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)


class DptAdapter(nn.Module):
    """Reassemble four token sets at four scales, fuse from coarse to fine, predict `channels` per pixel."""

    compiles: ClassVar[bool] = True  # see engine.compiled

    def __init__(
        self, token_widths: Sequence[int], channels: int, width: int, last: int, layers: Sequence[int]
    ) -> None:
        super().__init__()
        l1, l2, _, l4 = layers
        self.project = nn.ModuleList(nn.Conv2d(t, c, 1) for t, c in zip(token_widths, layers, strict=True))
        self.up4 = nn.ConvTranspose2d(l1, l1, 4, 4)
        self.up2 = nn.ConvTranspose2d(l2, l2, 2, 2)
        self.down2 = nn.Conv2d(l4, l4, 3, 2, 1)
        self.skips = nn.ModuleList(nn.Conv2d(c, width, 3, padding=1, bias=False) for c in layers)
        self.fusions = nn.ModuleList(Fusion(width, has_skip=index < 3) for index in range(4))
        self.head_in = nn.Conv2d(width, width // 2, 3, padding=1)
        self.head_mid = nn.Conv2d(width // 2, last, 3, padding=1)
        self.head_out = nn.Conv2d(last, channels, 1)

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Four token sets (n, h * w, width_i), grid (h, w) -> (n, channels, 16 h, 16 w)."""
        height, width = grid
        maps = [
            project(tokens.transpose(1, 2).unflatten(-1, grid))
            for project, tokens in zip(self.project, layers, strict=True)
        ]
        maps = [self.up4(maps[0]), self.up2(maps[1]), maps[2], self.down2(maps[3])]
        skips = [skip(each) for skip, each in zip(self.skips, maps, strict=True)]
        path = self.fusions[3](skips[3])[..., :height, :width]
        for index in (2, 1, 0):
            path = self.fusions[index](path, skips[index])
        return self.head_out(relu(self.head_mid(double(self.head_in(path)))))


def channels_last(x: Tensor) -> Tensor:
    """(n, C, H, W) -> (n, H, W, C), in at least float32: activations come next."""
    return x.permute(0, 2, 3, 1).to(torch.promote_types(x.dtype, torch.float32))
