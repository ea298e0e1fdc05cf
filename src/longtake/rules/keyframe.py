# SPDX-License-Identifier: Apache-2.0
"""A gate on whole frames: what shows nothing new writes little. Ours, in the spirit of arXiv 2605.16981."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor

from longtake.frame import Stats
from longtake.rules.contract import RuleStep, precise


class Keyframe:
    """rate = v^2 / (v^2 + E^2), one number a frame. OURS: the closed form of arXiv 2605.16981 is not public.

    v = mean_i |proposal_i - R_i| / mean_i |R_i| is how far the frame's proposal is from the reference R, which follows
    the frames that write: R <- R + rate (proposal - R), begun with the first proposal. E <- 0.98 E + 0.02 v is what v
    usually is, begun with the first v. So an ordinary frame gets a half, the k-th repetition of the last keyframe about
    1 / (2 k), and a new view nearly one; frames between keyframes add up, because R waits. Use it as `filt3r+keyframe`.
    """

    name: ClassVar[str] = "keyframe"
    summary: ClassVar[str] = (
        "scalar per frame: little where nothing is new; e.g. filt3r+keyframe (ours, after 2605.16981)"
    )
    wants_logit: ClassVar[bool] = False
    EMA: ClassVar[float] = 0.02

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """`reference` R, `usual` E, and how many views were `written`, counted to two."""
        dtype = torch.promote_types(tokens.dtype, torch.float32)
        scalar = tokens.new_zeros((len(tokens), 1, 1), dtype=dtype)
        return {"reference": tokens.new_zeros(tokens.shape, dtype=dtype), "usual": scalar, "written": scalar.clone()}

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """No statistics."""
        reference, usual, written = buffers["reference"], buffers["usual"], buffers["written"]
        first, new = written < 1, precise(proposal)
        away = (new - reference).norm(dim=-1, keepdim=True).mean(1, keepdim=True)
        novelty = away / reference.norm(dim=-1, keepdim=True).mean(1, keepdim=True).clamp_min(1e-12)
        level = torch.where(written < 2, novelty, (1 - self.EMA) * usual + self.EMA * novelty)
        share = novelty.square() / (novelty.square() + level.square()).clamp_min(1e-12)
        share = torch.where(first, 1, share)
        return RuleStep(
            rate=share.expand(-1, tokens.shape[1], 1).to(tokens.dtype),
            direction=proposal - tokens,
            buffers={
                "reference": reference + share * (new - reference),
                "usual": torch.where(first, usual, level),
                "written": (written + 1).clamp_max(2),
            },
        )
