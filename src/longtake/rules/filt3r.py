# SPDX-License-Identifier: Apache-2.0
"""FILT3R (arXiv 2603.18493): each state token is filtered as Kalman would, with a scalar variance."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from longtake.frame import Stats
from longtake.rules.contract import RuleStep, precise


class Filt3R:
    """rate_i = k_i, the gain of a scalar Kalman filter whose process noise grows where proposals change.

    D_i = |proposal_i - last proposal_i|; E <- (1 - l) E + l mean_i D_i, begun with the first mean, at least FLOOR;
    q_i = Q_MIN + (Q_MAX - Q_MIN) sigmoid(a (D_i / (E + eps) - tau)); p- = p + q;
    k = clamp(p- / (p- + r + eps)); p <- (1 - k)^2 p- + k^2 r. The first view writes in full and leaves p at P0.
    It needs no attention statistic.
    """

    name: ClassVar[str] = "filt3r"
    summary: ClassVar[str] = "rate per token: the gain of a scalar Kalman filter (FILT3R, arXiv 2603.18493)"
    wants_logit: ClassVar[bool] = False
    P0: ClassVar[float] = 1.5
    R: ClassVar[float] = 1.0
    Q_MIN: ClassVar[float] = 0.02
    Q_MAX: ClassVar[float] = 0.5
    SLOPE: ClassVar[float] = 20.0
    TAU: ClassVar[float] = 3.0
    EMA: ClassVar[float] = 0.05
    FLOOR: ClassVar[float] = 0.01
    GAIN: ClassVar[tuple[float, float]] = (0.01, 0.99)
    EPS: ClassVar[float] = 1e-6

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """`last` proposal, `variance` p, `scale` E, and how many views were `written`, counted to two."""
        n, count, _ = tokens.shape
        dtype = torch.promote_types(tokens.dtype, torch.float32)
        return {
            "last": tokens.new_zeros(tokens.shape),
            "variance": tokens.new_full((n, count, 1), self.P0, dtype=dtype),
            "scale": tokens.new_zeros((n, 1, 1), dtype=dtype),
            "written": tokens.new_zeros((n, 1, 1), dtype=dtype),
        }

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """No statistics."""
        variance, scale, written = buffers["variance"], buffers["scale"], buffers["written"]
        first = written < 1
        change = (precise(proposal) - precise(buffers["last"])).norm(dim=-1, keepdim=True)  # (n, S, 1)
        mean = change.mean(1, keepdim=True)
        new_scale = torch.where(written < 2, mean, (1 - self.EMA) * scale + self.EMA * mean).clamp_min(self.FLOOR)
        surprise = (self.SLOPE * (change / (new_scale + self.EPS) - self.TAU)).sigmoid()
        before = variance + self.Q_MIN + (self.Q_MAX - self.Q_MIN) * surprise
        gain = (before / (before + self.R + self.EPS)).clamp(*self.GAIN)
        after = (1 - gain).square() * before + gain.square() * self.R
        return RuleStep(
            rate=torch.where(first, 1, gain).to(tokens.dtype),
            direction=proposal - tokens,
            buffers={
                "last": proposal,
                "variance": torch.where(first, variance, after),
                "scale": torch.where(first, scale, new_scale),
                "written": (written + 1).clamp_max(2),
            },
        )
