# SPDX-License-Identifier: Apache-2.0
"""TTT3R's rule (arXiv 2509.26645): how well a state token matches the frame sets its learning rate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from longtake.frame import Stats
from longtake.rules.contract import RuleStep, needed


class TTT3R:
    """rate_i = sigmoid(mean over layers, heads and image tokens of the scaled cross-attention logits of token i).

    The paper writes a sum over image positions; its program takes the mean, pose token included, which is what the
    published figures come from (a sum would saturate). Nothing is learned and there is no temperature, so the rate
    depends on the absolute offset of the model's logits.
    """

    name: ClassVar[str] = "ttt3r"
    summary: ClassVar[str] = "rate per token: sigmoid of its mean cross-attention logit (TTT3R, arXiv 2509.26645)"
    wants_logit: ClassVar[bool] = True

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """No buffers."""
        return {}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Needs stats.mean_logit (n, S)."""
        return RuleStep(rate=gate(stats, self.name).to(tokens.dtype), direction=proposal - tokens)


def gate(stats: Stats, rule: str) -> Tensor:
    """TTT3R's rate (n, S, 1) in at least float32, which other rules build on. `rule` is who asks, for the error."""
    return needed(stats, "mean_logit", rule).sigmoid()[..., None]
