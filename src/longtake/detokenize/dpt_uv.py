# SPDX-License-Identifier: Apache-2.0
"""The dense prediction transformer (arXiv 2103.13413) of the VGGT family.

Three things differ from the CUT3R family's: the residual units carry relu(x) on, not x; maps are resized to the next
finer map's own size, so that any grid works; and where a pixel lies in the image is added, as sines and cosines.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, relu

from longtake.detokenize.dpt import ResidualUnit


class ReluUnit(ResidualUnit):
    """relu(x) + conv(relu(conv(relu(x))))."""

    def forward(self, x: Tensor) -> Tensor:
        """(n, width, h, w) -> the same shape."""
        return super().forward(relu(x))  # relu of relu is relu


class SizedFusion(nn.Module):
    """Join a coarse path with a finer map, refine, resize to the next finer map."""

    def __init__(self, width: int, has_skip: bool) -> None:
        super().__init__()
        self.skip_unit = ReluUnit(width) if has_skip else None
        self.unit = ReluUnit(width)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, path: Tensor, skip: Tensor | None, size: tuple[int, int]) -> Tensor:
        """path, skip (n, width, h, w) -> (n, width, *size)."""
        if self.skip_unit is not None and skip is not None:
            path = path + self.skip_unit(skip)
        return self.out(resize(self.unit(path), size))


class Pyramid(nn.Module):
    """Four token sets of one width -> one map at 4 patches' worth of pixels a token, (n, out, 8 h, 8 w)."""

    def __init__(self, token_width: int, width: int, layers: Sequence[int], out: int, *, uv: bool) -> None:
        super().__init__()
        l1, l2, _, l4 = layers
        self.uv = uv
        self.norm = nn.LayerNorm(token_width, eps=1e-5)
        self.project = nn.ModuleList(nn.Conv2d(token_width, c, 1) for c in layers)
        self.up4 = nn.ConvTranspose2d(l1, l1, 4, 4)
        self.up2 = nn.ConvTranspose2d(l2, l2, 2, 2)
        self.down2 = nn.Conv2d(l4, l4, 3, 2, 1)
        self.skips = nn.ModuleList(nn.Conv2d(c, width, 3, padding=1, bias=False) for c in layers)
        self.fusions = nn.ModuleList(SizedFusion(width, has_skip=index < 3) for index in range(4))
        self.out = nn.Conv2d(width, out, 3, padding=1)

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Four token sets (n, h * w, token_width), grid (h, w), image size (H, W) -> (n, out, 8 h, 8 w)."""
        maps = []
        for project, tokens in zip(self.project, layers, strict=True):
            each = project(self.norm(tokens).transpose(1, 2).unflatten(-1, grid))
            maps.append(add_uv(each, size) if self.uv else each)
        maps = [self.up4(maps[0]), self.up2(maps[1]), maps[2], self.down2(maps[3])]
        skips = [skip(each) for skip, each in zip(self.skips, maps, strict=True)]
        sizes = [(2 * skips[0].shape[-2], 2 * skips[0].shape[-1]), *((s.shape[-2], s.shape[-1]) for s in skips[:3])]
        path = self.fusions[3](skips[3], None, sizes[3])
        for index in (2, 1, 0):
            path = self.fusions[index](path, skips[index], sizes[index])
        return self.out(path)


class UvDptHead(nn.Module):
    """Token sets -> `channels` numbers a pixel, with the place in the image added at every level."""

    def __init__(self, token_width: int, width: int, layers: Sequence[int], channels: int, last: int = 32) -> None:
        super().__init__()
        self.pyramid = Pyramid(token_width, width, layers, width // 2, uv=True)
        self.head_mid = nn.Conv2d(width // 2, last, 3, padding=1)
        self.head_out = nn.Conv2d(last, channels, 1)

    def forward(self, layers: Sequence[Tensor], grid: tuple[int, int], size: tuple[int, int]) -> Tensor:
        """Four token sets (n, h * w, token_width), grid (h, w), image size (H, W) -> (n, channels, H, W)."""
        path = add_uv(resize(self.pyramid(layers, grid, size), size), size)
        return self.head_out(relu(self.head_mid(path)))


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear, corners aligned: (n, C, h, w) -> (n, C, *size)."""
    return interpolate(x, size=size, mode="bilinear", align_corners=True)


def add_uv(x: Tensor, size: tuple[int, int], weight: float = 0.1) -> Tensor:
    """Add where each cell lies in the image: x (n, C, h, w), image size (H, W); C a multiple of 4.

    Coordinates are centred, and the image's diagonal is 2 long. The first half of the channels tells x, the second y.
    """
    height, width = x.shape[-2:]
    aspect = size[1] / size[0]
    norm = math.sqrt(aspect * aspect + 1)
    across = _waves(aspect / norm, width, x.shape[1] // 2).to(x.device, x.dtype)[:, None, :]
    down = _waves(1 / norm, height, x.shape[1] // 2).to(x.device, x.dtype)[:, :, None]
    half = x.shape[1] // 2
    return torch.cat((x[:, :half] + weight * across, x[:, half:] + weight * down), 1)


def _waves(span: float, count: int, channels: int) -> Tensor:
    """(channels, count) float32: all sines, then all cosines of centred coordinates in [-span, span]."""
    end = span * (count - 1) / count
    places = torch.linspace(-end, end, count, dtype=torch.float64)
    frequencies = 100.0 ** (-torch.arange(channels // 2, dtype=torch.float64) / (channels / 2))
    angles = frequencies[:, None] * places
    return torch.cat((angles.sin(), angles.cos())).float()
