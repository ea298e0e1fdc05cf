# SPDX-License-Identifier: Apache-2.0
"""Two rules in one batch: some takes are overwritten, others gated as TTT3R does, so the state learns to bear both."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from longtake.frame import Stats
from longtake.rules.contract import RuleStep


class MixedRule:
    """rate = sigmoid(mean logit) where `gated` (n,) is true, else 1. Gradients flow through the gate."""

    name: ClassVar[str] = "mixed"
    summary: ClassVar[str] = "training only: ttt3r for some streams of the batch, overwrite for the others"
    wants_logit: ClassVar[bool] = True

    def __init__(self, gated: Tensor) -> None:
        self.gated = gated

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """No buffers."""
        return {}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Needs stats.mean_logit (n, S)."""
        assert stats.mean_logit is not None
        rate = torch.where(self.gated[:, None], stats.mean_logit.sigmoid(), 1.0)
        return RuleStep(rate=rate.to(tokens.dtype)[..., None], direction=proposal - tokens)
