# SPDX-License-Identifier: Apache-2.0
"""TTT3R's gate with its one free number, the logits' offset, found on held-out takes. Not TTT3R as published."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from longtake.errors import CapabilityError
from longtake.frame import Stats
from longtake.rules.contract import RuleStep, needed

DEFAULT = -3.0  # for the embedded weights


class CalibratedTTT3R:
    """rate_i = sigmoid(mean logit of token i + offset).

    The literal gate rests on the absolute level of a model's attention logits, which training leaves anywhere: the
    published weights happen to give rates near 0.3. One offset puts the mean rate where the weights at hand do best,
    and leaves the differences between tokens as they are. docs/rules.md says how the default was found.
    """

    name: ClassVar[str] = "ttt3r-calibrated"
    summary: ClassVar[str] = (
        "ttt3r with one offset on the logit, found on held-out takes (ours; ttt3r-calibrated:OFFSET)"
    )
    wants_logit: ClassVar[bool] = True
    knob: ClassVar[str] = "offset"

    def __init__(self, offset: float = DEFAULT) -> None:
        if not math.isfinite(offset):
            raise CapabilityError(f"a ttt3r-calibrated offset of {offset:g}: give a finite number, such as -1")
        self.offset = offset
        if offset != DEFAULT:
            self.name = f"ttt3r-calibrated:{offset:g}"  # pyright: ignore[reportAttributeAccessIssue]

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """No buffers."""
        return {}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Needs stats.mean_logit (n, S)."""
        logit = needed(stats, "mean_logit", self.name)
        return RuleStep(rate=(logit + self.offset).sigmoid()[..., None].to(tokens.dtype), direction=proposal - tokens)
