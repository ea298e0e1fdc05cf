# SPDX-License-Identifier: Apache-2.0
"""TTT3R's gate, halved by a constant (DDD3R, an independent study of CUT3R's update rules)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from longtake.frame import Stats
from longtake.rules.contract import RuleStep
from longtake.rules.ttt3r import gate


class Half:
    """rate = g / 2 with TTT3R's gate g: the plainest damping, and a strong baseline over a thousand frames."""

    name: ClassVar[str] = "half"
    summary: ClassVar[str] = "half of ttt3r's rate (the constant damping of DDD3R)"
    wants_logit: ClassVar[bool] = True

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """No buffers."""
        return {}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Needs stats.mean_logit (n, S)."""
        return RuleStep(rate=(gate(stats, self.name) / 2).to(tokens.dtype), direction=proposal - tokens)
