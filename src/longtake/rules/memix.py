# SPDX-License-Identifier: Apache-2.0
"""MeMix (arXiv 2603.15330): the tokens that match the frame best already are frozen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor

from longtake.errors import CapabilityError
from longtake.frame import Stats
from longtake.rules.contract import RuleStep, needed, precise


class MeMix:
    """rate = 1 for the share of tokens whose proposal matches the frame least, 0 for the rest.

    The match is proposal_i . mean_j embed(F_j) over the patches j; of 768 tokens the published program writes 708, and
    that ratio, 0.922, is kept for any number of tokens. Alone it is CUT3R with a mask; as `ttt3r+memix` it masks any
    other rule's rate.
    """

    name: ClassVar[str] = "memix"
    summary: ClassVar[str] = "mask: freeze the 8 % of tokens that match the frame best; e.g. ttt3r+memix (2603.15330)"
    wants_logit: ClassVar[bool] = False
    knob: ClassVar[str] = "share"

    def __init__(self, share: float = 0.922) -> None:
        if not 0 < share <= 1:
            raise CapabilityError(
                f"a memix share of {share:g}: give the share of tokens that write, above 0 and up to 1"
            )
        self.share = share
        if share != 0.922:
            self.name = f"memix:{share:g}"  # pyright: ignore[reportAttributeAccessIssue]

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """No buffers."""
        return {}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Needs the embedded patches."""
        frame = precise(needed(stats, "image_in", self.name))[:, 1:].mean(1)  # (n, E)
        score = (precise(proposal) * frame[:, None]).sum(-1)
        rank = score.argsort(dim=-1, stable=True).argsort(-1)
        writes = rank < round(self.share * tokens.shape[1])
        return RuleStep(writes.to(tokens.dtype)[..., None], proposal - tokens)
