# SPDX-License-Identifier: Apache-2.0
"""Whether a frame can be followed from the one before: ok, weak or lost. No weights, a few thousand multiplications.

A frame is followed if one of its parts (the middle, or half way to a side) is found again anywhere in the last frame
that showed anything, or one of the last one's in it: normalised cross-correlation of small, softened pictures, which
exposure does not move. So a camera may turn by nearly half of what it sees. A cut finds nothing; a lens cap has nothing
to find. Both are told by pictures alone, whatever the confidence of a model means. Thresholds: docs/rules.md.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d, avg_pool2d, pad, unfold

from longtake.frame import Heads

SIZE, PART = 24, 12  # of a thumbnail and of its parts, along a side
EDGE, MIDDLE = SIZE - PART, (SIZE - PART) // 2
PARTS = ((MIDDLE, MIDDLE), (MIDDLE, 0), (MIDDLE, EDGE), (0, MIDDLE), (EDGE, MIDDLE))  # their first rows and columns
BLANK = 0.02  # standard deviation of the grey values in [-1, 1] below which a picture shows nothing: 2.5 grey levels
CUT, DIM = 0.88, 0.93  # similarities below which a frame is lost, or weak
FACTOR, NONE = 5.0, 0.7  # if it has changed so many times as much as usual, or is less alike than any neighbours are
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
    thumb = _soft(thumb)  # or a texture finer than its pixels would be another one half a pixel on
    known = memory["known"] > 0
    change = 1 - torch.maximum(_found(thumb, memory["thumb"]), _found(memory["thumb"], thumb))
    sudden = known & (change > (FACTOR * memory["change"]).clamp_max(1 - NONE))
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
        "change": torch.where(~blank & known, (1 - EMA) * memory["change"] + EMA * change, memory["change"]),
        "sure": torch.where(good, torch.where(known, (1 - EMA) * memory["sure"] + EMA * sure, sure), memory["sure"]),
        "since": since,
    }
    return torch.where(lost, LOST, torch.where(weak, WEAK, OK)), fresh


def _soft(thumb: Tensor) -> Tensor:
    """Mix each pixel of (n, 3, SIZE, SIZE) with its neighbours, (1 2 1) / 4 along both sides."""
    padded = pad(thumb, (1, 1, 1, 1), mode="replicate")
    return avg_pool2d(avg_pool2d(padded, 2, 1), 2, 1)


def _found(a: Tensor, b: Tensor) -> Tensor:
    """How well the part of a that is found best is found in b, (n, 3, SIZE, SIZE) each: (n,), 1 = the same."""
    parts = torch.stack([a[:, :, y : y + PART, x : x + PART].flatten(1) for y, x in PARTS], 1)
    parts = parts - parts.mean(2, keepdim=True)
    places = unfold(b, PART)  # (n, 3 PART^2, (EDGE + 1)^2): every place where a part may lie
    places = places - places.mean(1, keepdim=True)
    sizes = parts.norm(dim=2, keepdim=True) * places.norm(dim=1, keepdim=True)
    return (parts @ places / (sizes + 1e-2)).flatten(1).amax(1)
