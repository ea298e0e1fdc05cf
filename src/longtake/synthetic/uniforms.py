# SPDX-License-Identifier: Apache-2.0
"""One block of uniform random numbers a take, handed out in a fixed order.

Everything random in the world is a pure function of this block, so one call to the generator decides a whole batch, and
the rest can be compiled or captured in a graph.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import torch
from torch import Tensor


@lru_cache(maxsize=128)
def constant(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """Return numbers as a tensor on a device, made once: a graph that is being captured may not copy from the host."""
    return torch.tensor(values, device=device)


class Uniforms:
    """Hand out slices of a (B, N) block of uniforms in [0, 1); every method returns (B, *shape) float32."""

    def __init__(self, block: Tensor) -> None:
        self.block = block
        self.used = 0

    @property
    def batch(self) -> int:
        return self.block.shape[0]

    def uniform(self, *shape: int, low: float = 0.0, high: float = 1.0) -> Tensor:
        """Uniform in [low, high). Raises IndexError when the block is used up (a bug: enlarge `needed`)."""
        count = 1
        for n in shape:
            count *= n
        if self.used + count > self.block.shape[1]:
            raise IndexError(f"{self.used + count} uniforms wanted, the block has {self.block.shape[1]}")
        part = self.block[:, self.used : self.used + count].reshape(self.batch, *shape)
        self.used += count
        return part * (high - low) + low

    def log_uniform(self, *shape: int, low: float, high: float) -> Tensor:
        """Log-uniform in [low, high)."""
        return low * (high / low) ** self.uniform(*shape)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal, cut at about 4 sigma."""
        return torch.erfinv((2 * self.uniform(*shape) - 1).clamp(-0.99994, 0.99994)) * 2**0.5

    def chance(self, probability: float | Tensor, *shape: int) -> Tensor:
        """Boolean, True with the given probability."""
        return self.uniform(*shape) < probability

    def integer(self, count: int, *shape: int) -> Tensor:
        """int64 in [0, count)."""
        return (self.uniform(*shape) * count).long().clamp(max=count - 1)

    def sign(self, *shape: int) -> Tensor:
        """-1 or 1."""
        return torch.where(self.uniform(*shape) < 0.5, -1.0, 1.0)


def needed(frames: int) -> int:
    """How many uniforms a take of this many frames may use, generously."""
    return 8192 + 24 * frames


def draw_uniforms(batch: int, frames: int, device: torch.device | str, generator: torch.Generator | None) -> Tensor:
    """Return the (B, N) block; `generator` None takes the device's default one (which graphs can capture)."""
    return torch.rand((batch, needed(frames)), device=device, generator=generator, dtype=torch.float32)
