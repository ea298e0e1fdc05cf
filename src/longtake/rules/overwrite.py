# SPDX-License-Identifier: Apache-2.0
"""CUT3R's own rule (arXiv 2501.12387): the proposal replaces the state."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from longtake.frame import Stats
from longtake.rules.contract import RuleStep


class Overwrite:
    """rate = 1: every frame writes in full, which is why long takes are forgotten."""

    name: ClassVar[str] = "overwrite"
    summary: ClassVar[str] = "rate 1: the proposal replaces the state (CUT3R, arXiv 2501.12387)"
    wants_logit: ClassVar[bool] = False

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """No buffers."""
        return {}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Rate 1 for every token."""
        return RuleStep(rate=tokens.new_ones(*tokens.shape[:2], 1), direction=proposal - tokens)
