# SPDX-License-Identifier: Apache-2.0
"""Rates that are trained: the learned counterparts of TTT3R's closed form (its paper's ablation, arXiv 2509.26645).

Each is a rule and a torch module. Give it to a stream as it is, train it with `longtake.rate_fit.fit_rate` while the
model stays frozen, keep it with its `state_dict`. A fresh one has the same rate, `start`, everywhere.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from longtake.errors import CapabilityError
from longtake.frame import Stats
from longtake.rules.contract import RuleStep, needed, precise


class LearnedRate(nn.Module):
    """A rate that is one trainable number for all tokens and frames: sigmoid(bias)."""

    name: ClassVar[str] = "learned-scalar"
    summary: ClassVar[str] = "one trained rate for all tokens and frames"
    wants_logit: ClassVar[bool] = False

    def __init__(self, start: float = 0.3) -> None:
        super().__init__()
        if not 0 < start < 1:
            raise CapabilityError(f"a learned rate that starts at {start:g}: it lies between 0 and 1, both excluded")
        self.bias = nn.Parameter(torch.tensor(math.log(start / (1 - start))))

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """No buffers."""
        return {}

    def logit(self, tokens: Tensor, stats: Stats) -> Tensor:
        """What the sigmoid is taken of, broadcast to (n, S, 1)."""
        return self.bias

    def forward(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """The rate (n, S, 1), differentiable in this module's parameters."""
        rate = self.logit(tokens, stats).sigmoid().to(tokens.dtype).expand(*tokens.shape[:2], 1)
        return RuleStep(rate, proposal - tokens)


class LearnedFrameRate(LearnedRate):
    """One rate a frame: sigmoid(bias + w . mean_j x_j), x the decoded patches of the frame, normed.

    Decoded patches have read the state, so they can tell what is new in the picture from what is known.
    """

    name: ClassVar[str] = "learned-frame"
    summary: ClassVar[str] = "a trained rate per frame, from its tokens"

    def __init__(self, width: int, start: float = 0.3) -> None:
        super().__init__(start)
        self.weight = nn.Parameter(torch.zeros(width))

    def logit(self, tokens: Tensor, stats: Stats) -> Tensor:
        """(n, 1, 1)."""
        frame = _mean_patch(needed(stats, "image_out", self.name))
        return self.bias + (frame * self.weight).sum(-1)[:, None, None]


class LearnedTokenRate(LearnedRate):
    """A rate per state token: sigmoid(bias + mean_j (Q s_i) . (K x_j) / sqrt(d)), s and x normed.

    How the m image tokens become n rates is ours: every state token scores every decoded patch, and the scores are
    averaged before the sigmoid. The mean of the scores is the score of the mean patch, so no n x m map is made. It is
    TTT3R's gate with a query and a key of its own in place of those of the decoder's layers, and a bias that says where
    the rate lies when nothing is known.
    """

    name: ClassVar[str] = "learned-token"
    summary: ClassVar[str] = "a trained rate per state token, from it and the frame's tokens"

    def __init__(self, width: int, inner: int = 64, start: float = 0.3) -> None:
        super().__init__(start)
        self.query = nn.Linear(width, inner, bias=False)
        self.key = nn.Linear(width, inner, bias=False)
        nn.init.zeros_(self.key.weight)

    def logit(self, tokens: Tensor, stats: Stats) -> Tensor:
        """(n, S, 1)."""
        key = self.key(_mean_patch(needed(stats, "image_out", self.name)))  # (n, d)
        query = self.query(layer_norm(precise(tokens), tokens.shape[-1:]))  # (n, S, d)
        return self.bias + (query * key[:, None]).sum(-1, keepdim=True) / query.shape[-1] ** 0.5


def _mean_patch(image: Tensor) -> Tensor:
    """The mean of the normed patches (n, E) of (n, 1 + N, E) tokens, the pose token left out."""
    patches = precise(image)[:, 1:]
    return layer_norm(patches, patches.shape[-1:]).mean(1)
