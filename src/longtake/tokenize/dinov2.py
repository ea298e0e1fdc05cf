# SPDX-License-Identifier: Apache-2.0
"""The image encoder of the VGGT family: a DINOv2 vision transformer with registers (arXiv 2304.07193, 2309.16588)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate

from longtake.nn import ScaledBlock, drawn, layer_norm

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)


class DinoEncoder(nn.Module):
    """Normalise, embed patches, add learned positions, transform; only the patch tokens come out.

    `image_size` is the square size of the stored positions; other grids get them resized. All LayerNorms have eps 1e-6.
    """

    def __init__(
        self, image_size: int, patch: int, width: int, depth: int, heads: int, registers: int, mlp_ratio: float = 4
    ) -> None:
        super().__init__()
        self.patch, self.side = patch, image_size // patch
        self.proj = nn.Conv2d(3, width, patch, patch)
        self.class_token = drawn(1, 1, width)
        self.positions = drawn(1, 1 + self.side**2, width)
        self.registers = drawn(1, registers, width)
        self.blocks = nn.ModuleList(ScaledBlock(width, heads, mlp_ratio, eps=1e-6) for _ in range(depth))
        self.norm = layer_norm(width)

    def forward(self, image: Tensor) -> Tensor:
        """RGB (n, 3, H, W) in [0, 1], sides multiples of the patch -> features (n, H/patch * W/patch, width)."""
        # float32 constants, as the published program holds them, even where the model runs in float64.
        mean, std = (torch.tensor(v, device=image.device).to(image.dtype).view(3, 1, 1) for v in (MEAN, STD))
        patches = self.proj((image - mean) / std)
        grid = (int(patches.shape[-2]), int(patches.shape[-1]))
        x = torch.cat((self.class_token.expand(len(image), -1, -1), patches.flatten(2).transpose(1, 2)), 1)
        x = x + self._positions(grid, image.shape[-2] == image.shape[-1]).to(x.dtype)
        x = torch.cat((x[:, :1], self.registers.expand(len(image), -1, -1).to(x.dtype), x[:, 1:]), 1)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 1 + self.registers.shape[1] :]

    def _positions(self, grid: tuple[int, int], square: bool) -> Tensor:
        """Learned positions (1, 1 + h * w, width) for a grid; as stored only for a square image of the stored size."""
        if square and grid[0] * grid[1] == self.side**2:
            return self.positions
        # float32, and antialiased also when enlarging: that is another kernel (a = -0.5, borders renormalised).
        stored = self.positions[:, 1:].float().unflatten(1, (self.side, self.side)).permute(0, 3, 1, 2)
        resized = interpolate(stored, size=grid, mode="bicubic", antialias=True, align_corners=False)
        patches = resized.flatten(2).transpose(1, 2).to(self.positions.dtype)
        return torch.cat((self.positions[:, :1], patches), 1)
