# SPDX-License-Identifier: Apache-2.0
"""What an update rule promises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

from torch import Tensor

from longtake.frame import Stats


@dataclass(frozen=True, slots=True)
class RuleStep:
    """A rule's answer for one view of n streams: the new state is tokens + rate * direction."""

    rate: Tensor  # (n, S, 1), usually in [0, 1]
    direction: Tensor  # (n, S, E), usually proposal - tokens
    buffers: Mapping[str, Tensor] = field(default_factory=dict)  # same names and shapes as begin() gave


@runtime_checkable
class Rule(Protocol):
    """A state update rule. Pure tensors, no branches on values: batches and captured graphs run the same code."""

    name: ClassVar[str]
    summary: ClassVar[str]  # one line, with the source
    wants_logit: ClassVar[bool]  # whether it reads stats.mean_logit; statistics nobody wants are not computed

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """Buffers before the first view of n streams with tokens (n, S, E); first axis n. Part of the state."""
        ...

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """tokens, proposal (n, S, E) -> rate, direction, new buffers."""
        ...
