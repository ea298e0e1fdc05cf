# SPDX-License-Identifier: Apache-2.0
"""Which pixels of a frame become points of the cloud."""

from __future__ import annotations

import torch
from torch import Tensor

from longtake.frame import Prediction

_MASK = 0xFFFFFFFF


def scramble(values: Tensor, salt: int) -> Tensor:
    """Return a 32-bit hash of each integer, the same on every device: a fixed shuffle without a generator.

    Multiply and shift, twice (the mixing of MurmurHash3, public domain), in int64 so that nothing overflows.
    """
    mixed = (values + salt * 0x9E3779B1) & _MASK
    for factor in (0x45D9F3B, 0x119DE1F3):
        mixed = ((mixed ^ (mixed >> 16)) * factor) & _MASK
    return mixed ^ (mixed >> 16)


def pick_pixels(prediction: Prediction, *, keep_percentile: float, budget: int, salt: int) -> Tensor:
    """Return flat indices, ascending, of at most `budget` pixels that are finite and among the frame's surest.

    keep_percentile: the surest so many percent of the finite pixels may be chosen, in (0, 100]; ties stay.
    salt: the frame's number, so that neighbouring frames choose different pixels and fill each other's gaps.
    """
    confidence = prediction.confidence.reshape(-1).float()
    finite = torch.isfinite(confidence) & torch.isfinite(prediction.points.reshape(-1, 3)).all(-1)
    candidates = finite.nonzero()[:, 0]
    if len(candidates) and keep_percentile < 100:
        sureness = confidence[candidates]
        rank = min(int(len(candidates) * (1 - keep_percentile / 100)) + 1, len(candidates))
        candidates = candidates[sureness >= sureness.kthvalue(rank).values]
    if len(candidates) > budget:
        order = scramble(candidates, salt).topk(budget, largest=False, sorted=False).indices
        candidates = candidates[order].sort().values
    return candidates
