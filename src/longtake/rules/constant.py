# SPDX-License-Identifier: Apache-2.0
"""One rate for every token and every frame: the plain exponential average."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from longtake.errors import CapabilityError
from longtake.frame import Stats
from longtake.rules.contract import RuleStep


class Constant:
    """rate = a number in [0, 1], 0.15 by default.

    The size of the rate matters more than how it is made: the best published gates settle between 0.1 and 0.2 (FILT3R,
    arXiv 2603.18493, measures 0.145 to 0.167 for its own). Too small a rate (0.05 there) costs local rotation.
    """

    name: ClassVar[str] = "constant"
    summary: ClassVar[str] = "one rate for all tokens, 0.15 by default (constant:RATE; ablation of FILT3R, 2603.18493)"
    wants_logit: ClassVar[bool] = False
    knob: ClassVar[str] = "rate"

    def __init__(self, rate: float = 0.15) -> None:
        if not 0 <= rate <= 1:
            raise CapabilityError(f"a constant rate of {rate:g}: give one from 0 (never write) to 1 (overwrite)")
        self.rate = rate
        if rate != 0.15:
            self.name = f"constant:{rate:g}"  # pyright: ignore[reportAttributeAccessIssue]

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """No buffers."""
        return {}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """The same rate for every token."""
        return RuleStep(rate=tokens.new_full((*tokens.shape[:2], 1), self.rate), direction=proposal - tokens)
