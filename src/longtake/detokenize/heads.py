# SPDX-License-Identifier: Apache-2.0
"""The heads of the CUT3R family: own-camera points, world points, colour and pose from one exchange.

Published variants: `dpt` and `linear`. Ours: `conv`, whose own-camera points are a depth along the rays of one
predicted focal length, so that straight walls stay straight, and whose colour head is left out.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn

from longtake.detokenize.conv import ConvHead
from longtake.detokenize.dpt import DptAdapter, channels_last
from longtake.detokenize.linear import PatchHead
from longtake.frame import PATCH, Exchange, Heads
from longtake.geometry.activations import activate_confidence, activate_points, activate_pose, activate_rgb
from longtake.geometry.camera import pixel_grid
from longtake.nn import ConditionedBlock, Kept, Lanes, Mlp, kept_or_made, rope_table

CONFIDENCES = (1, 5)  # channels of the conv head's map: of depth, of world points
USUAL_METRES = 2.2  # in a unit, the mean depth of a first frame: the geometric mean over the world that training draws


class WorldTokens(nn.Module):
    """Image tokens seen from the pose token: what the world points are read from."""

    kept: Kept | None = None  # set by an engine: the rotary tables of every size of picture

    def __init__(self, width: int, heads: int, depth: int, rope_base: float, mlp_ratio: float) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(ConditionedBlock(width, heads, mlp_ratio) for _ in range(depth))
        self.head_dim, self.rope_base = width // heads, rope_base

    def forward(
        self, tokens: Tensor, pose_token: Tensor, positions: Tensor, size: tuple[int, int] | None = None
    ) -> Tensor:
        """tokens (n, N, E), pose_token (n, E), positions (N, 2), those of a picture of `size` -> (n, N, E)."""
        dtype = next(self.blocks.parameters()).dtype
        key = None if size is None else (size, tokens.device, dtype)
        table = kept_or_made(self.kept, key, rope_table, positions, self.head_dim, dtype, self.rope_base)
        for block in self.blocks:
            tokens = block(tokens, pose_token, table)
        return tokens


class SurePoints(nn.Module):
    """What turns four raw numbers a pixel into a point and a confidence: a module, so that it can be compiled."""

    compiles: ClassVar[bool] = True  # see engine.compiled

    def forward(self, raw: Tensor, positive_z: bool) -> tuple[Tensor, Tensor]:
        """raw (n, H, W, 4) -> points (n, H, W, 3) and confidence (n, H, W)."""
        return activate_points(raw[..., :3], positive_z=positive_z), activate_confidence(raw[..., 3])


class PublishedHeads(nn.Module):
    """The heads of the official CUT3R checkpoints.

    lanes: set by an engine, lets the two point maps be read side by side (lane 1 is the own camera's).
    """

    lanes: Lanes | None = None

    def __init__(
        self,
        kind: str,
        feature_width: int,
        width: int,
        heads: int,
        *,
        color: bool = True,
        dpt_width: int = 256,
        dpt_last: int = 128,
        dpt_layers: Sequence[int] = (96, 192, 384, 768),
        rope_base: float = 100.0,
        mlp_ratio: float = 4,
    ) -> None:
        super().__init__()
        self.kind = kind

        def dense(channels: int) -> nn.Module:
            if kind == "linear":
                return PatchHead(width, channels)
            return DptAdapter((feature_width, width, width, width), channels, dpt_width, dpt_last, dpt_layers)

        self.own, self.world = dense(4), dense(4)
        self.activate = SurePoints()
        self.color = dense(3) if color else None
        self.world_tokens = WorldTokens(width, heads, 2, rope_base, mlp_ratio)
        self.pose = Mlp(width, 4 * width, 7)

    def forward(self, exchange: Exchange) -> Heads:
        """Read all outputs from one exchange of n views."""
        a, b, c, z = exchange.layers
        pose_token, tokens = z[:, 0], z[:, 1:]
        height, width = exchange.tokens.size
        grid = (height // PATCH, width // PATCH)
        # Only the linear head forces its own-camera points in front of the camera.
        begin = (self.points, self.own, (a, b, c, tokens), grid, self.kind == "linear")
        own = begin[0](*begin[1:]) if self.lanes is None else self.lanes.run(1, a.device, *begin)
        world = self.world_tokens(tokens, pose_token, exchange.tokens.positions, exchange.tokens.size)
        far = self.points(self.world, (a, b, c, world), grid, False)
        pose = activate_pose(_wide(self.pose(pose_token)))
        color = None if self.color is None else activate_rgb(self.dense(self.color, (a, b, c, tokens), grid))
        if self.lanes is not None:
            self.lanes.join(a.device, 1)
        return Heads(
            points_self=own[0],
            confidence_self=own[1],
            points_world=far[0],
            confidence_world=far[1],
            pose=pose,
            color=color,
        )

    def dense(self, head: nn.Module, layers: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
        """Raw numbers (n, H, W, channels), in at least float32, of one head."""
        return channels_last(head(layers[-1] if self.kind == "linear" else layers, grid))

    def points(
        self, head: nn.Module, layers: Sequence[Tensor], grid: tuple[int, int], positive_z: bool
    ) -> tuple[Tensor, Tensor]:
        """Points (n, H, W, 3) and confidence (n, H, W) of one head."""
        return self.activate(self.dense(head, layers, grid), positive_z)


class ConvHeads(nn.Module):
    """The heads of the embedded model: depth, two confidences and world points from one decoder; focal; pose."""

    def __init__(
        self,
        width: int,
        stem: tuple[int, int, int],
        hidden: tuple[int, int, int, int],
        *,
        confidence_limit: float = 50.0,
        metric_scale: bool = False,
    ) -> None:
        super().__init__()
        self.dense = ConvHead(width, 6, stem, hidden)
        self.pose = Mlp(width, 4 * width, 7)
        self.focal = Mlp(2 * width, width, 1)
        self.confidence_limit = confidence_limit
        self.scale = Mlp(2 * width, width, 1) if metric_scale else None
        if self.scale is not None and not self.scale.fc2.weight.is_meta:
            with torch.no_grad():
                self.scale.fc2.weight.zero_()
                self.scale.fc2.bias.fill_(math.log(USUAL_METRES))

    @torch.no_grad()
    def begin_confidence(self, confidence: float) -> None:
        """Forget what was learned of confidence: this number > 1 everywhere, for training to go on from.

        On its floor the exponential has no gradient left, so what has been there for long can only be begun anew.
        """
        for channel in CONFIDENCES:
            rows = slice(4 * channel, 4 * channel + 4)  # each channel's four pixels of a cell
            self.dense.out.weight[rows].zero_()
            self.dense.out.bias[rows].fill_(math.log(confidence - 1))  # pyright: ignore[reportOptionalSubscript]

    def forward(self, exchange: Exchange) -> Heads:
        """Read all outputs from one exchange of n views."""
        z = exchange.layers[-1]
        height, width = exchange.tokens.size
        # Clamped so that no exponential overflows: one infinity would turn all gradients into nan.
        dense = channels_last(self.dense(z[:, 1:], (height // PATCH, width // PATCH), exchange.tokens.skips))
        depth = dense[..., 0].clamp(-7, 7).exp()
        return Heads(
            points_self=self.rays(z, height, width) * depth[..., None],
            confidence_self=activate_confidence(dense[..., 1].clamp(max=20), high=self.confidence_limit),
            points_world=activate_points(dense[..., 2:5].clamp(-5, 5)),
            confidence_world=activate_confidence(dense[..., 5].clamp(max=20), high=self.confidence_limit),
            pose=activate_pose(self.pose_raw(z)),
            metric_scale=None if self.scale is None else self.log_scale(z).clamp(-7, 7).exp(),
        )

    def log_scale(self, z: Tensor) -> Tensor:
        """Logarithm of the metres in a unit, (n,), from the pose token and the mean image token."""
        assert self.scale is not None
        return _wide(self.scale(torch.cat((z[:, 0], z[:, 1:].mean(1)), -1)))[:, 0]

    def pose_raw(self, z: Tensor) -> Tensor:
        """Raw pose (n, 7); the identity is the origin of what the layer has to learn."""
        raw = _wide(self.pose(z[:, 0]))
        return torch.cat((raw[:, :3], raw[:, 3:4] + 1, raw[:, 4:]), -1)

    def log_focal(self, z: Tensor) -> Tensor:
        """Logarithm of focal length / longest side, (n,), from the pose token and the mean image token."""
        return _wide(self.focal(torch.cat((z[:, 0], z[:, 1:].mean(1)), -1)))[:, 0]

    def rays(self, z: Tensor, height: int, width: int) -> Tensor:
        """Directions with z = 1 of every pixel: (n, H, W, 3), principal point (W div 2, H div 2)."""
        focal = self.log_focal(z).clamp(-2, 2).exp() * max(height, width)
        grid = pixel_grid(height, width, dtype=focal.dtype, device=focal.device)
        offset = torch.stack((grid[..., 0] - width // 2, grid[..., 1] - height // 2), -1)
        directions = offset / focal[:, None, None, None]
        return torch.cat((directions, torch.ones_like(directions[..., :1])), -1)


def _wide(x: Tensor) -> Tensor:
    """At least float32: what follows is geometry."""
    return x.to(torch.promote_types(x.dtype, torch.float32))
