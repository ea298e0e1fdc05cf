# SPDX-License-Identifier: Apache-2.0
"""The decoder of Fast3R (arXiv 2501.13928): the tokens of all frames attend to one another.

Nothing but a number per frame, drawn at random, tells the decoder which tokens belong together; frame 0 has number 0
and defines the world. Tokens know where they are in their image from the encoder alone.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from longtake.errors import CapabilityError
from longtake.frame import Tokens
from longtake.memory.full import ONE_SIZE, append, full_layout
from longtake.memory.keep import Keep, check_size
from longtake.nn import EncoderBlock, layer_norm

FRAMES = 1000  # rows of the published table of frame numbers
SEED = 0  # of a stream's numbers: fixed, so that runs repeat

Memory = Mapping[str, Tensor]  # of one stream, see JointMemory.layout; empty before its first frame
Layers = tuple[Tensor, Tensor, Tensor, Tensor]  # at the heads' hooks: (n, N, D), then three of (n, N, E)


@dataclass(frozen=True, slots=True)
class JointExchange:
    """One pass over all frames, the newest last."""

    layers: tuple[Layers, ...]  # per frame
    tokens: tuple[Tokens, ...]
    memory: Memory  # what is kept if the newest frame may write


def draw_seed() -> int:
    """Draw the seed of frame numbers from torch's global generator, as the published program does in each call."""
    return int(torch.randint(0, 2**32, (1,)).item())


def frame_numbers(n: int, frames: int, seed: int | None, device: torch.device | str = "cpu") -> Tensor:
    """The numbers of `frames` frames in n takes: (n, frames) int64, 0 first, then distinct ones of 1..999.

    seed: of the draw, one generator for all takes in turn; None: 0, 1, 2 and so on. Fewer frames give a prefix of one
    take's numbers. Raises CapabilityError for more than 1000 frames.
    """
    if frames > FRAMES:
        raise CapabilityError(f"{frames} frames: the decoder tells at most {FRAMES} apart. Give a window= below that.")
    if seed is None:
        return torch.arange(frames, device=device).expand(n, -1)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(FRAMES - 1, generator=generator)[: frames - 1] + 1 for _ in range(n)])
    return torch.cat((torch.zeros(n, 1, dtype=torch.int64), drawn), 1).to(device)


class JointMemory(nn.Module):
    """Full attention over the tokens of all frames."""

    def __init__(
        self,
        feature_width: int,
        width: int,
        depth: int,
        heads: int,
        *,
        random_numbers: bool = True,
        sharpened: bool = False,
        mlp_ratio: float = 4,
    ) -> None:
        super().__init__()
        self.feature_width, self.width, self.depth = feature_width, width, depth
        self.random_numbers = random_numbers
        # A steeper softmax for more frames than there were in training; the released configuration has it off.
        scale = math.sqrt(math.log(137) / math.log(20)) * (width // heads) ** -0.5 if sharpened else None
        self.embed = nn.Linear(feature_width, width)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, mlp_ratio, eps=1e-5, scale=scale) for _ in range(depth))
        self.norm = layer_norm(width)

    def read(
        self, frames: Sequence[Tokens], numbers: Tensor, *, trace: dict[str, Any] | None = None
    ) -> tuple[Layers, ...]:
        """Decode frames of any sizes that are known by numbers (n, V). trace: if given, receives every layer."""
        features = torch.cat([frame.features for frame in frames], 1)
        counts = [frame.features.shape[1] for frame in frames]
        codes = self._codes(numbers).repeat_interleave(torch.tensor(counts, device=features.device), 1)
        x = self.embed(features) + codes.to(self.norm.weight.dtype)
        hooks = (self.depth * 2 // 4, self.depth * 3 // 4)
        kept, layers = [], [features]
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            kept += [x] * hooks.count(number)
            if trace is not None:
                layers.append(x)
        final = self.norm(x)
        if trace is not None:
            trace["layers"] = [*layers[:-1], final]
        a, b, c, z = (each.split(counts, 1) for each in (features, *kept, final))
        return tuple(zip(a, b, c, z, strict=True))

    def _codes(self, numbers: Tensor) -> Tensor:
        """[sin, cos] of number * 10000^(-k / (C/2)), (n, V, C). Formed in float64 on the CPU, kept in float32."""
        half = self.width // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = numbers.cpu().to(torch.float64)[..., None] * frequencies
        return torch.cat((angles.sin(), angles.cos()), -1).to(numbers.device, torch.float32)

    # --- behind a stream ---

    def layout(self, dtype: torch.dtype) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Names, types and shapes of what is kept of one stream; -1 is any length."""
        numbers = {"numbers": (torch.int64, (1, -1)), "taken": (torch.int64, (1,))}
        return full_layout(self.feature_width, dtype) | numbers

    def exchange(self, memory: Memory, tokens: Tokens, keep: Keep) -> JointExchange:
        """One stream's new frame and all that were kept read each other; only the newest's layers if not keep.revise.

        Raises CapabilityError for a frame of another size than those kept, and for a thousand frames at once.
        """
        new = tokens.features[:, None]
        check_size(memory, tokens.size, ONE_SIZE)
        features = torch.cat((memory["features"], new), 1) if memory else new
        taken = int(memory["taken"]) if memory else 0
        number = self._number(taken, features.shape[1], features.device)
        numbers = torch.cat((memory["numbers"], number), 1) if memory else number
        frames = [replace(tokens, features=features[:, i]) for i in range(features.shape[1])]
        layers = self.read(frames, numbers)
        kept = append(features, tokens.size, keep)
        kept = {
            **kept,
            "numbers": numbers[:, keep.kept(numbers.shape[1])],
            "taken": torch.tensor([taken + 1], device=features.device),
        }
        first = 0 if keep.revise else len(frames) - 1
        return JointExchange(layers[first:], tuple(frames[first:]), kept)

    def _number(self, taken: int, at_once: int, device: torch.device) -> Tensor:
        """The number (1, 1) of the frame after `taken` others; past a thousand, of frames that left the window."""
        if at_once > FRAMES:
            raise CapabilityError(
                f"more than {FRAMES} frames at once: the decoder tells no more apart. Give a window=."
            )
        numbers = frame_numbers(1, FRAMES, SEED if self.random_numbers else None, device)
        column = taken if taken < FRAMES else 1 + (taken - 1) % (FRAMES - 1)
        return numbers[:, column : column + 1]
