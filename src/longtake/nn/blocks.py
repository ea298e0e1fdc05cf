# SPDX-License-Identifier: Apache-2.0
"""Pre-norm transformer blocks: encoder, decoder (two token sets), and the pose-conditioned block of the heads."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import gelu, silu

from longtake.nn.attention import CrossAttention, SelfAttention
from longtake.nn.rope import RopeTable


class InnerNorm(nn.LayerNorm):
    """A LayerNorm in front of linear layers: under autocast it hands over the narrow type, cast once for all."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(..., width) -> (..., width)."""
        x, device = super().forward(input), input.device.type
        return x.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else x


def layer_norm(width: int) -> nn.LayerNorm:
    """Every LayerNorm of the CUT3R family: affine, eps 1e-6."""
    return nn.LayerNorm(width, eps=1e-6)


def inner_norm(width: int, eps: float = 1e-6) -> InnerNorm:
    """The same inside a block."""
    return InnerNorm(width, eps=eps)


class Mlp(nn.Module):
    """Two linear layers around an exact (erf) GELU."""

    def __init__(self, width: int, hidden: int, out: int | None = None) -> None:
        super().__init__()
        self.fc1 = nn.Linear(width, hidden)
        self.fc2 = nn.Linear(hidden, width if out is None else out)

    def forward(self, x: Tensor) -> Tensor:
        """(..., width) -> (..., out)."""
        return self.fc2(gelu(self.fc1(x)))


class EncoderBlock(nn.Module):
    """Self-attention, then MLP."""

    def __init__(
        self, width: int, heads: int, mlp_ratio: float = 4, *, eps: float = 1e-6, scale: float | None = None
    ) -> None:
        super().__init__()
        self.norm1, self.norm2 = inner_norm(width, eps), inner_norm(width, eps)
        self.attn = SelfAttention(width, heads, scale)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, table: RopeTable | None = None, rounded: bool = False) -> Tensor:
        """(n, N, width) -> (n, N, width)."""
        x = x + self.attn(self.norm1(x), table, rounded)
        return x + self.mlp(self.norm2(x))


class DecoderBlock(nn.Module):
    """Self-attention over x, cross-attention of x over y, then MLP; y is only read."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4) -> None:
        super().__init__()
        self.norm1, self.norm2, self.norm3, self.norm_y = (inner_norm(width) for _ in range(4))
        self.attn = SelfAttention(width, heads)
        self.cross = CrossAttention(width, heads)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(
        self,
        x: Tensor,
        y: Tensor,
        table_x: RopeTable | None = None,
        table_y: RopeTable | None = None,
        want_logit: bool = False,
        probe: list[tuple[Tensor, Tensor]] | None = None,
    ) -> tuple[Tensor, Tensor | None]:
        """x (n, S, width), y (n, N, width) -> x (n, S, width) and, if wanted, mean cross-attention logits (n, S)."""
        x = x + self.attn(self.norm1(x), table_x)
        read, logit = self.cross(self.norm2(x), self.norm_y(y), table_x, table_y, want_logit, probe)
        x = x + read
        return x + self.mlp(self.norm3(x)), logit


class Modulation(nn.Module):
    """LayerNorm whose shift and scale come from a conditioning vector."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = layer_norm(width)
        self.shift_scale = nn.Linear(width, 2 * width)

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """x (n, N, width), condition (n, width) -> (n, N, width)."""
        shift, scale = self.shift_scale(silu(condition))[:, None].chunk(2, -1)
        return self.norm(x) * (1 + scale) + shift


class ConditionedBlock(nn.Module):
    """Encoder block modulated by the pose token (no gate on the residuals)."""

    def __init__(self, width: int, heads: int, mlp_ratio: float = 4) -> None:
        super().__init__()
        self.norm1, self.norm2 = Modulation(width), Modulation(width)
        self.attn = SelfAttention(width, heads)
        self.mlp = Mlp(width, int(width * mlp_ratio))

    def forward(self, x: Tensor, condition: Tensor, table: RopeTable | None = None) -> Tensor:
        """x (n, N, width), condition (n, width) -> (n, N, width)."""
        x = x + self.attn(self.norm1(x, condition), table)
        return x + self.mlp(self.norm2(x, condition))
