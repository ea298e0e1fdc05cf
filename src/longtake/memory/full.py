# SPDX-License-Identifier: Apache-2.0
"""The memory of full attention: every frame's encoder features. Nothing else can be kept, for keys and values of old
frames change when a new frame arrives: all is read again, and the cost of frame t grows with t squared.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

from longtake.frame import Tokens
from longtake.memory.alternating import AlternatingAttention
from longtake.memory.keep import Keep, check_size

Memory = Mapping[str, Tensor]
ONE_SIZE = "full attention reads all of them at once, so all have one size"


def full_layout(width: int, dtype: torch.dtype) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
    """Names, types and shapes of what is kept of one stream; -1 is any length."""
    return {"features": (dtype, (1, -1, -1, width)), "size": (torch.int64, (2,))}


def read_all(
    attention: AlternatingAttention, memory: Memory, tokens: Tokens, grid: tuple[int, int], wanted: Collection[int]
) -> tuple[dict[int, Tensor], Tensor]:
    """One stream's new frame and all that were kept read each other.

    Returns the layers wanted (1, T, M, 2C), the new frame last, and the features of all T frames (1, T, N, C).
    Raises CapabilityError for a frame of another size than those kept.
    """
    new = tokens.features[:, None]
    check_size(memory, tokens.size, ONE_SIZE)
    features = torch.cat((memory["features"], new), 1) if memory else new
    return attention(attention.enter(features, first=True), grid, wanted), features


def append(features: Tensor, size: tuple[int, int], keep: Keep) -> Memory:
    """What is kept of the features (1, T, N, C) of all frames so far."""
    kept = keep.kept(features.shape[1])
    if len(kept) < features.shape[1]:
        features = features[:, kept]
    return {"features": features, "size": torch.tensor(size, device=features.device)}
