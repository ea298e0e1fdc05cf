# SPDX-License-Identifier: Apache-2.0
"""Several rules in one batch, one for each take, so that the state learns to bear them all."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from longtake.frame import Stats
from longtake.rules.contract import RuleStep
from longtake.rules.filt3r import Filt3R

OVERWRITE, GATED, FILTERED, DAMPED = range(4)
DAMPED_RATE = 0.5


class MixedRule:
    """rate = 1 for OVERWRITE, sigmoid(mean logit) for GATED (ttt3r), FILT3R's gain for FILTERED, 1/2 for DAMPED.

    `rules` (n,) says which for each stream, as these numbers or, where only the first two are meant, as bool.
    `filtered`: whether FILTERED may be among them; without it no buffers are carried. Gradients flow through ttt3r's
    gate, whose scale is to be learned, and not through the filter's gain, which has nothing to learn.
    """

    name: ClassVar[str] = "mixed"
    summary: ClassVar[str] = "training only: overwrite, ttt3r, filt3r or a rate of 1/2, a choice for each stream"
    wants_logit: ClassVar[bool] = True

    def __init__(self, rules: Tensor, *, filtered: bool = False) -> None:
        self.rules = rules
        self.filter = Filt3R() if filtered else None

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """The filter's buffers, of all streams."""
        return self.filter.begin(tokens) if self.filter else {}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Needs stats.mean_logit (n, S)."""
        assert stats.mean_logit is not None
        rules = self.rules[:, None]
        rate = torch.where(rules == GATED, stats.mean_logit.sigmoid(), 1.0)
        rate = torch.where(rules == DAMPED, DAMPED_RATE, rate).to(tokens.dtype)[..., None]
        if self.filter:
            with torch.no_grad():
                filtered = self.filter(tokens, proposal, stats, buffers)
            rate = torch.where(rules[..., None] == FILTERED, filtered.rate, rate)
            buffers = filtered.buffers
        return RuleStep(rate=rate, direction=proposal - tokens, buffers=buffers)


def draw_rules(takes: int, gated: float, filtered: float, damped: float, device: torch.device) -> Tensor:
    """A rule (takes,) int64 for each take, these shares of them; the rest is overwritten."""
    drawn = torch.rand(takes, device=device)
    rest = torch.where(drawn < gated + filtered + damped, DAMPED, OVERWRITE)
    return torch.where(drawn < gated, GATED, torch.where(drawn < gated + filtered, FILTERED, rest))
