# SPDX-License-Identifier: Apache-2.0
"""A window of frames as the adjustment sees them: small grey pictures, their gradients, and the pixels that count."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

NOTHING = 1e-6  # what stands for a depth of 0
UNKNOWN = -13.0
EDGE = 0.15  # logarithm of depth between neighbours, from which a pixel may show two surfaces


@dataclass(frozen=True, slots=True)
class Level:
    """n frames at one size. Pixels that count are as many in each frame, so that all of it is batched."""

    step: int  # pixels of the full picture along a side of one of these
    planes: Tensor  # (n, 4, h, w) grey in [0, 1], its two derivatives, and the logarithm of depth
    u: Tensor  # (n, P) columns of the pixels that count
    v: Tensor  # (n, P) rows
    grey: Tensor  # (n, P) what is there
    log_depth: Tensor  # (n, P)
    weight: Tensor  # (n, P) 0 where a frame has fewer such pixels than others
    nodes: Tensor  # (n, P, gh * gw) shares of a grid's nodes at these pixels

    @property
    def size(self) -> tuple[int, int]:
        """Height and width."""
        return self.planes.shape[-2], self.planes.shape[-1]


def make_level(grey: Tensor, depth: Tensor, halvings: int, grid: tuple[int, int], share: float) -> Level:
    """grey, depth (n, H, W), 0 where it is unknown -> the frames with their sides halved so often.

    grid: rows and columns of the nodes that depth is changed by. share: of the pixels, those with the largest
    gradients; borders and depth's edges are left out.
    """
    for _ in range(halvings):
        grey, depth = (avg_pool2d(x[:, None], 2)[:, 0] for x in (grey, depth))
    log_depth = depth.clamp_min(NOTHING).log()
    n, height, width = grey.shape
    dx, dy = _derivatives(grey)
    edges = sum(x.abs() for x in _derivatives(log_depth))
    strength = dx.square() + dy.square()
    usable = torch.zeros_like(grey, dtype=torch.bool)
    usable[:, 1:-1, 1:-1] = True
    usable &= (edges < EDGE) & (strength > 0) & (log_depth > UNKNOWN)
    count = max(1, int(share * height * width))
    best = torch.where(usable, strength, -1.0).flatten(1).topk(count, dim=1)
    v, u = (x.to(grey.dtype) for x in (best.indices // width, best.indices % width))
    return Level(
        step=2**halvings,
        planes=torch.stack((grey, dx, dy, log_depth), 1),
        u=u,
        v=v,
        grey=grey.flatten(1).gather(1, best.indices),
        log_depth=log_depth.flatten(1).gather(1, best.indices),
        weight=(best.values > 0).to(grey.dtype),
        nodes=node_shares(u, v, (height, width), grid),
    )


def _derivatives(x: Tensor) -> tuple[Tensor, Tensor]:
    """Central differences along columns and rows; 0 at the borders."""
    dx, dy = torch.zeros_like(x), torch.zeros_like(x)
    dx[..., 1:-1] = (x[..., 2:] - x[..., :-2]) / 2
    dy[..., 1:-1, :] = (x[..., 2:, :] - x[..., :-2, :]) / 2
    return dx, dy


def node_shares(u: Tensor, v: Tensor, size: tuple[int, int], grid: tuple[int, int]) -> Tensor:
    """u, v (..., P) in a picture of `size` (height, width) -> bilinear shares of a grid's nodes (..., P, gh * gw)."""
    x, y = (
        (at / (side - 1)).clamp(0, 1) * (nodes - 1)
        for at, side, nodes in zip((u, v), size[::-1], grid[::-1], strict=True)
    )
    columns, rows = (torch.arange(nodes, device=u.device, dtype=u.dtype) for nodes in grid[::-1])
    across, down = ((1 - (at[..., None] - nodes).abs()).clamp_min(0) for at, nodes in ((x, columns), (y, rows)))
    return (down[..., :, None] * across[..., None, :]).flatten(-2)
