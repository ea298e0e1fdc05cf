# SPDX-License-Identifier: Apache-2.0
"""DDD3R's direction split: what drifts along a token's mean direction is written less than what is new."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from longtake.frame import Stats
from longtake.rules.contract import RuleStep, precise
from longtake.rules.ttt3r import gate


class Ortho:
    """S <- S + g (0.5 perp + 0.05 par), g TTT3R's gate: par is the part of delta along the token's mean direction.

    The mean direction is normalise(0.95 direction + 0.05 delta / |delta|), delta = proposal - state, updated first.
    Best of its family in small rooms and behind plain ttt3r in large ones, so nobody's default.
    """

    name: ClassVar[str] = "ortho"
    summary: ClassVar[str] = "ttt3r's rate, little along each token's mean drift, half across it (ortho of DDD3R)"
    wants_logit: ClassVar[bool] = True
    EMA: ClassVar[float] = 0.95
    ACROSS: ClassVar[float] = 0.5
    ALONG: ClassVar[float] = 0.05

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """`drift`: each token's mean direction, a unit vector, zero before the first update (n, S, E)."""
        return {"drift": tokens.new_zeros(tokens.shape, dtype=torch.promote_types(tokens.dtype, torch.float32))}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Needs stats.mean_logit (n, S)."""
        delta = precise(proposal - tokens)
        drift = _unit(self.EMA * buffers["drift"] + (1 - self.EMA) * _unit(delta))
        along = (delta * drift).sum(-1, keepdim=True) * drift
        direction = self.ACROSS * (delta - along) + self.ALONG * along
        rate = gate(stats, self.name)
        return RuleStep(rate.to(tokens.dtype), direction.to(tokens.dtype), {"drift": drift})


def _unit(x: Tensor) -> Tensor:
    """Directions of length one; zero stays zero."""
    return x / x.norm(dim=-1, keepdim=True).clamp_min(1e-12)
