# SPDX-License-Identifier: Apache-2.0
"""The pose memory: a small associative store from how a frame looks to where its camera was (CUT3R, arXiv 2501.12387).

Slots hold [appearance, pose] side by side, each `width` wide. A frame asks with [its appearance, a placeholder] and
takes the second half of the answer as its pose token; after decoding, [appearance, pose token] is written.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from longtake.nn import DecoderBlock, drawn


class PoseMemory(nn.Module):
    """Read and write blocks over M slots of 2 * width channels.

    `token_width` is the width of the pose token; where it differs from `width` (ours), two projections join them.
    """

    def __init__(
        self, feature_width: int, token_width: int, width: int, slots: int, heads: int, depth: int, mlp_ratio: float = 4
    ) -> None:
        super().__init__()
        self.width = width
        self.start = drawn(1, slots, 2 * width)
        self.placeholder = drawn(1, 1, width)
        self.query = nn.Linear(feature_width, width)
        self.read_blocks = nn.ModuleList(DecoderBlock(2 * width, heads, mlp_ratio) for _ in range(depth))
        self.write_blocks = nn.ModuleList(DecoderBlock(2 * width, heads, mlp_ratio) for _ in range(depth))
        same = width == token_width
        self.from_token = nn.Identity() if same else nn.Linear(token_width, width)
        self.to_token = nn.Identity() if same else nn.Linear(width, token_width)

    def read(self, memory: Tensor, appearance: Tensor) -> Tensor:
        """memory (n, M, 2 * width), appearance (n, feature_width) -> pose token (n, 1, token_width)."""
        query = self.query(appearance)[:, None]
        x = torch.cat((query, self.placeholder.expand_as(query).to(query.dtype)), -1)
        for block in self.read_blocks:
            x, _ = block(x, memory)
        return self.to_token(x[..., self.width :])

    def write(self, memory: Tensor, appearance: Tensor, pose_token: Tensor) -> Tensor:
        """Return the written memory (n, M, 2 * width) for appearance (n, feature_width), pose token (n, 1, E)."""
        fact = torch.cat((self.query(appearance)[:, None], self.from_token(pose_token)), -1)
        for block in self.write_blocks:
            memory, _ = block(memory, fact)
        return memory
