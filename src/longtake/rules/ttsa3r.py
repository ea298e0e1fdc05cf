# SPDX-License-Identifier: Apache-2.0
"""TTSA3R (arXiv 2601.22615): what changes in time, and where the image changes, is what a token writes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor
from torch.nn.functional import cosine_similarity, pad

from longtake.frame import Stats
from longtake.rules.contract import RuleStep, needed, precise


class Ttsa3R:
    """rate_i = temporal_i * spatial_i.

    temporal_i = sigmoid(d_i / mean d - tau), d_i = |proposal_i - last proposal_i|, tau = 1.5;
    spatial_i = sigmoid(max_j |mean map_ij| D_j), D_j = 1 - cos(F_j, last F_j) on the encoder's features of patch j.
    The first view writes in full. Where the last picture had another patch grid there is no D, and spatial is 0.5.
    """

    name: ClassVar[str] = "ttsa3r"
    summary: ClassVar[str] = "rate per token: its change in time x the change it looks at (TTSA3R, arXiv 2601.22615)"
    wants_logit: ClassVar[bool] = False
    wants_map: ClassVar[bool] = True
    TAU: ClassVar[float] = 1.5

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """`last` proposal, and the `grid` (h, w) of the last picture, zero before the first."""
        return {"last": tokens.new_zeros(tokens.shape), "grid": tokens.new_zeros((len(tokens), 2))}

    def begin_features(self, tokens: Tensor, features: tuple[int, int]) -> dict[str, Tensor]:
        """`features` of the last picture (n, P, D), zero beyond its patches."""
        return {"features": tokens.new_zeros((len(tokens), *features))}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Needs stats.mean_map (n, S, N) and stats.features (n, N, D)."""
        weights, now = needed(stats, "mean_map", self.name), needed(stats, "features", self.name)
        before, grid, (height, width) = buffers["features"], buffers["grid"], stats.grid
        spare = before.shape[1] - now.shape[1]
        if spare < 0:
            raise ValueError(f"a picture of {now.shape[1]} patches where the model's largest has {before.shape[1]}")
        change = (precise(proposal) - precise(buffers["last"])).norm(dim=-1)  # (n, S)
        temporal = (change / change.mean(1, keepdim=True).clamp_min(1e-12) - self.TAU).sigmoid()
        same = (grid[:, 0] == height) & (grid[:, 1] == width)
        novelty = 1 - cosine_similarity(precise(now), precise(before[:, : now.shape[1]]), dim=-1)  # (n, N)
        novelty = torch.where(same[:, None], novelty, 0)
        spatial = (weights.abs() * novelty[:, None]).amax(-1).sigmoid()
        first = grid[:, :1] == 0
        rate = torch.where(first, 1, temporal * spatial)[..., None]
        here = torch.stack((torch.full_like(grid[:, 0], height), torch.full_like(grid[:, 0], width)), -1)
        return RuleStep(
            rate=rate.to(tokens.dtype),
            direction=proposal - tokens,
            buffers={"last": proposal, "grid": here, "features": pad(now.to(before.dtype), (0, 0, 0, spare))},
        )
