# SPDX-License-Identifier: Apache-2.0
"""The memory of DUSt3R (arXiv 2312.14132) in a stream: the first frame, to which every later frame is paired.

The published model takes a pair and keeps nothing. Its world is the camera of the pair's first image, so a stream that
pairs each frame with the take's first one has one world and constant memory; frames that no longer show anything of the
first cannot be placed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from longtake.frame import PATCH, Flags, Tokens
from longtake.nn import DecoderBlock, RopeTable, grid_positions, layer_norm, rope_table

Layers = tuple[Tensor, Tensor, Tensor, Tensor]  # at the heads' hooks: (n, N, D), then three of (n, N, E)


@dataclass(frozen=True, slots=True)
class ReferenceState:
    """n streams between two frames. Rows of `reference` beyond a stream's first frame are zeros."""

    reference: Tensor  # (n, R, D) encoder tokens of the first frame
    size: Tensor  # (n, 2) int64: (H, W) of the first frame; 0 before it
    seen: Tensor  # (n,) bool: False until the first view after a start or a reset is written
    world_from_chunk: Tensor  # (n, 4, 4): pose chain over the resets so far

    def with_(self, **changes: Any) -> ReferenceState:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_tensors(cls, named: Mapping[str, Tensor]) -> ReferenceState:
        """Build a state from what `tensors` returned."""
        return cls(**named)

    def map(self, function: Callable[[Tensor], Tensor]) -> ReferenceState:
        """Apply a function to every tensor."""
        return ReferenceState(**{name: function(tensor) for name, tensor in self.tensors().items()})

    def to(self, device: torch.device | str) -> ReferenceState:
        """Move to a device."""
        return self.map(lambda tensor: tensor.to(device))

    @property
    def nbytes(self) -> int:
        """Bytes that all tensors take."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())


@dataclass(frozen=True, slots=True)
class PairExchange:
    """n frames, each as either image of a pair with its stream's first frame."""

    own: Layers  # as the first image: what is read from them is in the frame's own camera
    world: Layers  # as the second image: in the camera of the stream's first frame
    first: Tensor  # (n,) bool: this is the stream's first frame, whose camera is the world
    tokens: Tokens


class PairDecoder(nn.Module):
    """Two decoders, one an image of the pair, that read each other layer by layer."""

    def __init__(
        self, feature_width: int, width: int, depth: int, heads: int, rope_base: float = 100.0, mlp_ratio: float = 4
    ) -> None:
        super().__init__()
        self.depth, self.head_dim, self.rope_base = depth, width // heads, rope_base
        self.embed = nn.Linear(feature_width, width)
        self.first, self.second = (
            nn.ModuleList(DecoderBlock(width, heads, mlp_ratio) for _ in range(depth)) for _ in range(2)
        )
        self.norm = layer_norm(width)

    def begin(self, n: int) -> ReferenceState:
        """The state of n streams before their first frame."""
        weight = self.embed.weight
        precise = torch.promote_types(weight.dtype, torch.float32)
        return ReferenceState(
            reference=weight.new_zeros(n, 0, self.embed.in_features),
            size=torch.zeros(n, 2, dtype=torch.int64, device=weight.device),
            seen=torch.zeros(n, dtype=torch.bool, device=weight.device),
            world_from_chunk=torch.eye(4, dtype=precise, device=weight.device).expand(n, 4, 4),
        )

    def table(self, size: tuple[int, int]) -> RopeTable:
        """Rotary table of an image of `size` (H, W)."""
        weight = self.norm.weight
        positions = grid_positions(size[0] // PATCH, size[1] // PATCH, weight.device)
        return rope_table(positions, self.head_dim, weight.dtype, self.rope_base)

    def forward(
        self, first: Tensor, second: Tensor, first_size: tuple[int, int], second_size: tuple[int, int]
    ) -> tuple[Layers, Layers]:
        """Encoder tokens (n, N, D) of both images -> what the heads read of each."""
        tables = self.table(first_size), self.table(second_size)
        a, b = self.embed(first), self.embed(second)
        hooks = (self.depth * 2 // 4, self.depth * 3 // 4)
        kept_a, kept_b = [first], [second]
        for number, (block_a, block_b) in enumerate(zip(self.first, self.second, strict=True), 1):
            (a, _), (b, _) = block_a(a, b, *tables), block_b(b, a, *tables[::-1])
            kept_a += [a] * hooks.count(number)
            kept_b += [b] * hooks.count(number)
        (a1, a2, a3), (b1, b2, b3) = kept_a, kept_b
        return (a1, a2, a3, self.norm(a)), (b1, b2, b3, self.norm(b))

    def exchange(self, state: ReferenceState, tokens: Tokens) -> PairExchange:
        """Pair each frame with its stream's first one, both ways round. A first frame is paired with itself."""
        groups: dict[tuple[int, int], list[int]] = {}
        for i, (seen, (height, width)) in enumerate(zip(state.seen.tolist(), state.size.tolist(), strict=True)):
            groups.setdefault((height, width) if seen else (0, 0), []).append(i)
        parts: list[tuple[Tensor, ...]] = []
        for size, members in groups.items():
            index = torch.tensor(members, device=tokens.features.device)
            frame = tokens.features[index]
            count = size[0] // PATCH * (size[1] // PATCH)
            reference = state.reference[index, :count].to(frame.dtype) if count else frame
            there = size if count else tokens.size
            own, _ = self(frame, reference, tokens.size, there)
            _, world = self(reference, frame, there, tokens.size)
            parts.append((*own, *world))
        order = torch.tensor([i for members in groups.values() for i in members]).argsort().to(tokens.features.device)
        o0, o1, o2, o3, w0, w1, w2, w3 = (torch.cat(each)[order] for each in zip(*parts, strict=True))
        return PairExchange((o0, o1, o2, o3), (w0, w1, w2, w3), ~state.seen, tokens)

    @staticmethod
    def commit(state: ReferenceState, tokens: Tokens, flags: Flags, start: ReferenceState) -> ReferenceState:
        """The state after the view: a stream's first frame is kept, later ones are not. Resets act after it. Pure."""
        reset = flags.active & flags.reset
        writes = flags.active & flags.update & tokens.has_image & ~state.seen
        rows = max(state.reference.shape[1], tokens.features.shape[1] if bool(writes.any()) else 0)
        old, new = (
            pad(x[:, :rows], (0, 0, 0, rows - min(rows, x.shape[1]))) for x in (state.reference, tokens.features)
        )

        def pick(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
            return torch.where(condition.view(-1, *[1] * (no.dim() - 1)), yes.to(no.dtype), no)

        kept = pick(writes, new, old)
        size = pick(writes, state.size.new_tensor(tokens.size).expand_as(state.size), state.size)
        return ReferenceState(
            reference=pick(reset, torch.zeros_like(kept), kept),
            size=pick(reset, start.size, size),
            seen=(state.seen | writes) & ~reset,
            world_from_chunk=state.world_from_chunk,
        )
