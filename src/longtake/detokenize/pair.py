# SPDX-License-Identifier: Apache-2.0
"""Two DPT adapters, one for a view's own frame and one for the world: heads of the families without a pose token.

The pose follows from the two: the similarity that lays the own points over the world points where the model is surest
(Procrustes, as in section 3.3 of DUSt3R, arXiv 2312.14132). Its scale moves to the own points, so that both are in the
world's units.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from longtake.detokenize.dpt import DptAdapter, channels_last
from longtake.frame import PATCH, Heads
from longtake.geometry.activations import activate_confidence, activate_points
from longtake.geometry.alignment import align_maps, surest
from longtake.geometry.pose import pose7_from_matrix


class PairHeads(nn.Module):
    """Points in a view's own frame from one set of layers, points in the world from another (or from the same)."""

    def __init__(self, token_widths: Sequence[int], width: int, last: int, layers: Sequence[int]) -> None:
        super().__init__()
        self.own, self.world = (DptAdapter(token_widths, 4, width, last, layers) for _ in range(2))

    def maps(self, adapter: nn.Module, layers: Sequence[Tensor], size: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """Points (n, H, W, 3) and confidence (n, H, W) from four token sets of an image of `size` (H, W)."""
        raw = channels_last(adapter(layers, (size[0] // PATCH, size[1] // PATCH)))
        return activate_points(raw[..., :3]), activate_confidence(raw[..., 3])

    def forward(self, own: Sequence[Tensor], world: Sequence[Tensor], size: tuple[int, int]) -> Heads:
        """Read both maps and the pose."""
        return with_pose(*self.maps(self.own, own, size), *self.maps(self.world, world, size))


def with_pose(own: Tensor, own_confidence: Tensor, world: Tensor, world_confidence: Tensor) -> Heads:
    """Heads whose pose lays the own points over the world points; the own points come scaled to the world's units."""
    scale, world_from_cam = align_maps(own, world, surest(world_confidence))
    return Heads(
        points_self=own * scale[:, None, None, None],
        confidence_self=own_confidence,
        points_world=world,
        confidence_world=world_confidence,
        pose=pose7_from_matrix(world_from_cam),
    )


def stack_heads(heads: Sequence[Heads]) -> Heads:
    """Join what was said of several frames of one size along the first axis."""
    return Heads(
        points_self=torch.cat([each.points_self for each in heads]),
        confidence_self=torch.cat([each.confidence_self for each in heads]),
        points_world=torch.cat([each.points_world for each in heads]),
        confidence_world=torch.cat([each.confidence_world for each in heads]),
        pose=torch.cat([each.pose for each in heads]),
    )
