# SPDX-License-Identifier: Apache-2.0
"""The memory of Fast3R (arXiv 2501.13928): every frame's encoder tokens, read again by all frames when one arrives.

Nothing but a number per frame, drawn at random, tells the decoder which tokens belong together; frame 0 has number 0
and defines the world. So earlier frames are predicted anew each time: t frames cost O(t^2) attention. A window bounds
it: the first frame and the latest ones stay.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from longtake.errors import CapabilityError
from longtake.frame import Flags, Tokens
from longtake.nn import EncoderBlock, layer_norm

FRAMES = 1000  # rows of the published table of frame numbers


@dataclass(frozen=True, slots=True)
class JointState:
    """n takes between two frames, stepped together: all have seen the same number of frames, of the same sizes."""

    features: tuple[Tensor, ...]  # one a frame: (n, N_v, D)
    sizes: Tensor  # (V, 2) int64: (H, W) of each frame
    numbers: Tensor  # (n, V) int64: what the decoder knows each frame by
    order: Tensor  # (n, FRAMES) int64: the numbers to come, 0 first
    taken: Tensor  # () int64: frames seen so far, those that left the window included

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name; features are named `features.0` and so on."""
        named = {name: getattr(self, name) for name in ("sizes", "numbers", "order", "taken")}
        return named | {f"features.{i}": tensor for i, tensor in enumerate(self.features)}

    @classmethod
    def from_tensors(cls, named: Mapping[str, Tensor]) -> JointState:
        """Build a state from what `tensors` returned."""
        count = len(named) - 4
        rest = {name: tensor for name, tensor in named.items() if not name.startswith("features.")}
        return cls(features=tuple(named[f"features.{i}"] for i in range(count)), **rest)

    def to(self, device: torch.device | str) -> JointState:
        """Move to a device."""
        return JointState.from_tensors({name: tensor.to(device) for name, tensor in self.tensors().items()})

    def with_(self, **changes: Any) -> JointState:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)

    @property
    def nbytes(self) -> int:
        """Bytes that all tensors take."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())


@dataclass(frozen=True, slots=True)
class JointExchange:
    """One pass over all frames, the newest last."""

    layers: tuple[tuple[Tensor, Tensor, Tensor, Tensor], ...]  # per frame, at the heads' hooks: (n, N_v, D), then E
    tokens: tuple[Tokens, ...]


def draw_seed() -> int:
    """Draw the seed of a take's frame numbers from torch's global generator, as the published program does."""
    return int(torch.randint(0, 2**32, (1,)).item())


def frame_numbers(n: int, frames: int, seed: int | None, device: torch.device | str = "cpu") -> Tensor:
    """The numbers of `frames` frames in n takes: (n, frames) int64, 0 first, then distinct ones of 1..999.

    seed: of the draw, one generator for all takes in turn; None: 0, 1, 2 and so on. Fewer frames give a prefix.
    Raises CapabilityError for more than 1000 frames.
    """
    if frames > FRAMES:
        raise CapabilityError(f"{frames} frames: the decoder tells at most {FRAMES} apart. Give a window= below that.")
    if seed is None:
        return torch.arange(frames, device=device).expand(n, -1)
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.stack([torch.randperm(FRAMES - 1, generator=generator)[: frames - 1] + 1 for _ in range(n)])
    return torch.cat((torch.zeros_like(drawn[:, :1]) if frames > 1 else drawn.new_zeros(n, 1), drawn), 1).to(device)


class JointMemory(nn.Module):
    """Full attention over the tokens of all frames."""

    def __init__(
        self,
        feature_width: int,
        width: int,
        depth: int,
        heads: int,
        *,
        sharpened: bool = False,
        mlp_ratio: float = 4,
    ) -> None:
        super().__init__()
        self.depth = depth
        # The published programs can sharpen the softmax for more views than they were trained on; the weights do not.
        scale = math.sqrt(math.log(137) / math.log(20)) * (width // heads) ** -0.5 if sharpened else None
        self.embed = nn.Linear(feature_width, width)
        self.blocks = nn.ModuleList(EncoderBlock(width, heads, mlp_ratio, eps=1e-5, scale=scale) for _ in range(depth))
        self.norm = layer_norm(width)
        self.width = width

    def begin(self, n: int, seed: int | None = 0) -> JointState:
        """The state of n takes before their first frame. seed: see `frame_numbers`."""
        weight = self.norm.weight
        order = frame_numbers(n, FRAMES, seed, weight.device)
        none = order.new_zeros(0, 2)
        return JointState((), none, order[:, :0], order, torch.zeros((), dtype=torch.int64, device=weight.device))

    def exchange(self, state: JointState, tokens: Tokens, *, trace: dict[str, Any] | None = None) -> JointExchange:
        """All frames so far and the new one read each other."""
        earlier = tuple(
            replace(tokens, features=features, positions=tokens.positions[:0], size=(height, width))
            for features, (height, width) in zip(state.features, state.sizes.tolist(), strict=True)
        )
        numbers = torch.cat((state.numbers, self._next(state)), 1)
        return self.read((*earlier, tokens), numbers, trace=trace)

    def read(self, frames: Sequence[Tokens], numbers: Tensor, *, trace: dict[str, Any] | None = None) -> JointExchange:
        """Decode frames that are known by numbers (n, V). trace: if given, receives every layer's tokens."""
        features = torch.cat([frame.features for frame in frames], 1)
        counts = [frame.features.shape[1] for frame in frames]
        index = self._codes(numbers).repeat_interleave(torch.tensor(counts, device=features.device), 1)
        x = self.embed(features) + index.to(self.norm.weight.dtype)
        hooks = (self.depth * 2 // 4, self.depth * 3 // 4)
        kept, layers = [], [features]
        for number, block in enumerate(self.blocks, 1):
            x = block(x)
            if number in hooks:
                kept += [x] * hooks.count(number)
            if trace is not None:
                layers.append(x)
        final = self.norm(x)
        if trace is not None:
            trace["layers"] = [*layers[:-1], final]
        parts = [each.split(counts, 1) for each in (features, *kept, final)]
        return JointExchange(tuple(zip(*parts, strict=True)), tuple(frames))

    def _codes(self, numbers: Tensor) -> Tensor:
        """[sin, cos] of number * 10000^(-k / (C/2)), (n, V, C). Formed in float64 on the CPU, kept in float32."""
        half = self.width // 2
        frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64) / half)
        angles = numbers.cpu().to(torch.float64)[..., None] * frequencies
        return torch.cat((angles.sin(), angles.cos()), -1).to(numbers.device, torch.float32)

    @staticmethod
    def _next(state: JointState) -> Tensor:
        """The number of the frame to come, (n, 1): after 1000 frames, those come again that left the window first."""
        taken = int(state.taken)
        if taken >= FRAMES and state.numbers.shape[1] >= FRAMES:
            raise CapabilityError(f"more than {FRAMES} frames at once: begin the stream with a window= below that.")
        column = taken if taken < FRAMES else 1 + (taken - 1) % (FRAMES - 1)
        return state.order[:, column : column + 1]

    def commit(self, state: JointState, tokens: Tokens, flags: Flags, window: int | None = None) -> JointState:
        """The state with the new frame appended; of more than `window` frames the first and the latest stay. Pure.

        Takes are stepped together: flags hold for all of them or for none. Raises CapabilityError where they differ.
        """
        for name, flag in (("active", flags.active), ("update", flags.update), ("reset", flags.reset)):
            if len(set(flag.tolist())) > 1:
                raise CapabilityError(f"flags.{name} differs between takes: takes with full attention move together")
        if bool(flags.active[0] & flags.reset[0]):
            return replace(
                state, features=(), sizes=state.sizes[:0], numbers=state.numbers[:, :0], taken=state.taken * 0
            )
        if not bool(flags.active[0] & flags.update[0]):
            return state
        sizes = torch.cat((state.sizes, state.sizes.new_tensor([tokens.size])))
        numbers = torch.cat((state.numbers, self._next(state)), 1)
        features = (*state.features, tokens.features)
        if window is not None and len(features) > max(window, 2):
            features, sizes = (features[0], *features[2:]), torch.cat((sizes[:1], sizes[2:]))
            numbers = torch.cat((numbers[:, :1], numbers[:, 2:]), 1)
        return replace(state, features=features, sizes=sizes, numbers=numbers, taken=state.taken + 1)
