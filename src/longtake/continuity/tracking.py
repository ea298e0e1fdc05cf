# SPDX-License-Identifier: Apache-2.0
"""Whether a frame can be followed from the one before: ok, weak or lost. No weights, a few thousand multiplications.

A frame is followed if its middle is found again in the last frame that showed anything, or the last one's middle in it,
anywhere within a quarter of the picture: normalised cross-correlation of 32 x 32 thumbnails, which exposure does not
move. A cut finds nothing; a lens cap has nothing to find. Thresholds were set on held-out walks (docs/rules.md).
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, unfold

from longtake.frame import Heads

SIZE, REACH = 32, 8  # of a thumbnail; how far its middle is searched for
BLANK = 0.02  # standard deviation of the grey values in [-1, 1] below which a picture shows nothing: 2.5 grey levels
CUT, DIM = 0.78, 0.85  # similarities below which a frame is lost, or weak
FACTOR = 2.0  # and its change must be so many times the usual one, for takes with few frames a second
SETTLE = 10  # frames after a loss that are called weak
EMA = 0.1
OK, WEAK, LOST = 0, 1, 2


def begin_tracking(n: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """What tracking remembers of n streams before their first frame; part of the stream's state."""

    def full(value: float, *shape: int) -> Tensor:
        return torch.full((n, *shape), value, dtype=torch.float32, device=device)

    return {
        "thumb": full(0, 3, SIZE, SIZE),  # of the last frame that showed something
        "known": full(0),  # whether there was one
        "change": full(0.02),  # one minus the similarity of neighbours, its usual size
        "sure": full(0),  # the usual mean log confidence
        "since": full(SETTLE),  # frames since a loss
    }


def track(memory: Mapping[str, Tensor], image: Tensor, heads: Heads) -> tuple[Tensor, dict[str, Tensor]]:
    """Judge a frame of n streams: image (n, 3, H, W) in [-1, 1] -> codes (n,) int64 (OK, WEAK, LOST) and the memory.

    Lost: blank, cut from the frame before, or its pose is not finite. Weak: much change, the confidence dropped by half
    against what it usually is or is not finite for a tenth of the pixels, or a loss not long ago.
    """
    thumb = adaptive_avg_pool2d(image.float(), (SIZE, SIZE))
    blank = thumb.mean(1).flatten(1).std(1) < BLANK
    known = memory["known"] > 0
    change = 1 - torch.maximum(_found(thumb, memory["thumb"]), _found(memory["thumb"], thumb))
    sudden = known & (change > FACTOR * memory["change"])
    broken = ~heads.pose.isfinite().all(1)
    logs = heads.confidence_self.float().log().flatten(1)
    finite = logs.isfinite()
    sure = torch.where(finite, logs, 0).sum(1) / finite.sum(1).clamp_min(1)
    unsure = (known & (sure.expm1() < 0.5 * memory["sure"].expm1())) | (finite.float().mean(1) < 0.9)
    lost = blank | broken | (sudden & (1 - change < CUT))
    since = torch.where(lost, 0, memory["since"] + 1).clamp_max(SETTLE)
    weak = (sudden & (1 - change < DIM)) | unsure | (known & (since < SETTLE))
    good = ~blank & ~lost
    fresh = {
        "thumb": torch.where(blank[:, None, None, None], memory["thumb"], thumb),
        "known": torch.where(blank, memory["known"], 1.0),
        "change": torch.where(good & known, (1 - EMA) * memory["change"] + EMA * change, memory["change"]),
        "sure": torch.where(good, torch.where(known, (1 - EMA) * memory["sure"] + EMA * sure, sure), memory["sure"]),
        "since": since,
    }
    return torch.where(lost, LOST, torch.where(weak, WEAK, OK)), fresh


def _found(a: Tensor, b: Tensor) -> Tensor:
    """How well the middle of a is found in b, (n, 3, SIZE, SIZE) each: (n,) correlation, 1 = the same."""
    side = SIZE - 2 * REACH
    middle = a[:, :, REACH:-REACH, REACH:-REACH].flatten(1)
    middle = middle - middle.mean(1, keepdim=True)
    places = unfold(b, side)  # (n, 3 side^2, (2 REACH + 1)^2): every place where the middle may lie
    places = places - places.mean(1, keepdim=True)
    product = (middle[:, None] @ places)[:, 0]
    return (product / (places.norm(dim=1) * middle.norm(dim=1, keepdim=True) + 1e-2)).amax(1)
