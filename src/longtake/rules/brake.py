# SPDX-License-Identifier: Apache-2.0
"""DDD3R's brake: a token whose update keeps its direction is slowed, one that turns back is let go."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor
from torch.nn.functional import cosine_similarity

from longtake.frame import Stats
from longtake.rules.contract import RuleStep, precise
from longtake.rules.ttt3r import gate


class Brake:
    """rate_i = g_i sigmoid(-tau cos(delta_i, delta_i of the last update)) with delta = proposal - state, tau = 1.

    g is TTT3R's gate. Before there is a last update its delta is zero and so is the cosine: half of the gate.
    """

    name: ClassVar[str] = "brake"
    summary: ClassVar[str] = "ttt3r's rate, less where a token keeps drifting one way (brake of DDD3R)"
    wants_logit: ClassVar[bool] = True
    TAU: ClassVar[float] = 1.0

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """`last`: the last update's direction (n, S, E)."""
        return {"last": tokens.new_zeros(tokens.shape)}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Needs stats.mean_logit (n, S)."""
        delta = proposal - tokens
        turn = cosine_similarity(delta.to(precise(delta)), buffers["last"].to(precise(delta)), dim=-1)
        rate = gate(stats, self.name) * (-self.TAU * turn).sigmoid()[..., None]
        return RuleStep(rate=rate.to(tokens.dtype), direction=delta, buffers={"last": delta})
