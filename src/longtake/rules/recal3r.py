# SPDX-License-Identifier: Apache-2.0
"""ReCal3R (arXiv 2607.05356v2), as released: who has drifted far, and looks nowhere in particular, is held back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from longtake.frame import Stats
from longtake.rules.contract import RuleStep, needed, precise
from longtake.rules.ttt3r import gate


class ReCal3R:
    """rate = mean of beta and of its mean over tokens, beta = (1 - R) BASE + R r g exp(-h), clamped to [0, 1].

    d: rank of |S_i - S0_i| over tokens in (0, 1], S0 the state before the first view; the prior is 1 - d, and 0.5
    before anything was written. e: rank of the row entropy in [0, 1]. rho = prior (1 - e) / (prior (1 - e) +
    (1 - prior) e), 0 where both are 0; R = rho (2 rho - 1)^2. g is TTT3R's gate, h <- 0.95 h + 0.05 g its average,
    begun at 0. r = sigmoid(mean_j |x_j - y_j| / mean_j |x_j| - 0.2), x and y the patches before and after decoding.

    The paper normalises d and e by their range and makes r from image values; the released program does as said here.
    """

    name: ClassVar[str] = "recal3r"
    summary: ClassVar[str] = "ttt3r's rate, recalibrated by drift and attention entropy (ReCal3R, arXiv 2607.05356)"
    wants_logit: ClassVar[bool] = True
    wants_entropy: ClassVar[bool] = True
    BASE: ClassVar[float] = 0.1
    EMA: ClassVar[float] = 0.95
    SHIFT: ClassVar[float] = 0.2

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """`start`: S0; `habit`: h; whether a view was `written`."""
        dtype = torch.promote_types(tokens.dtype, torch.float32)
        return {
            "start": tokens.clone(),
            "habit": tokens.new_zeros((*tokens.shape[:2], 1), dtype=dtype),
            "written": tokens.new_zeros((len(tokens), 1, 1), dtype=dtype),
        }

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Needs stats.mean_logit, stats.row_entropy (n, S) and the image tokens before and after."""
        g, entropy = gate(stats, self.name), needed(stats, "row_entropy", self.name)
        before = precise(needed(stats, "image_in", self.name))[:, 1:]
        after = precise(needed(stats, "image_out", self.name))[:, 1:]
        last, count = buffers["habit"], tokens.shape[1]
        drift = (precise(tokens) - precise(buffers["start"])).norm(dim=-1)
        prior = torch.where(buffers["written"] > 0, 1 - (_rank(drift) + 1) / count, 0.5)
        vague = _rank(entropy) / max(count - 1, 1)
        sure, unsure = prior * (1 - vague), (1 - prior) * vague
        rho = sure / (sure + unsure).clamp_min(1e-12)
        trust = rho * (2 * rho - 1).square()
        residual = (before - after).norm(dim=-1).mean(1) / before.norm(dim=-1).mean(1).clamp_min(1e-12)
        score = (residual - self.SHIFT).sigmoid()[:, None, None]
        habit = self.EMA * last + (1 - self.EMA) * g
        beta = (1 - trust) * self.BASE + trust * score * g * (-habit).exp()
        rate = (0.5 * beta + 0.5 * beta.mean(1, keepdim=True)).clamp(0, 1)
        buffers = {"start": buffers["start"], "habit": habit, "written": torch.ones_like(buffers["written"])}
        return RuleStep(rate.to(tokens.dtype), proposal - tokens, buffers)


def _rank(values: Tensor) -> Tensor:
    """Ranks 0 .. S - 1 of (n, S) values over S, smallest first, ties in the order of the tokens: (n, S, 1) floats."""
    order = values.argsort(dim=-1, stable=True)
    return order.argsort(-1).to(values.dtype)[..., None]
