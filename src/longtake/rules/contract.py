# SPDX-License-Identifier: Apache-2.0
"""What an update rule promises, and what it may ask for.

A rule must have the members of `Rule`. It may have more, each of which means no where it is absent:

    wants_entropy, wants_map, wants_heads   class flags: it reads stats.row_entropy, stats.mean_map, stats.heads
    begin_features(tokens, (P, D))          buffers whose shape follows the encoder's features, P patches of the largest
                                            picture, D channels; called beside begin() and with the same duties
    knob                                    class attribute: what the one number of its constructor is called, so that
                                            the rule can be named with it, as in constant:0.1

Statistics that no rule wants are not computed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import torch
from torch import Tensor

from longtake.frame import Stats


@dataclass(frozen=True, slots=True)
class RuleStep:
    """A rule's answer for one view of n streams: the new state is tokens + rate * direction.

    The loop owns the first view of a stream and the view after a reset: they write the proposal in full.
    """

    rate: Tensor  # (n, S, 1), usually in [0, 1]
    direction: Tensor  # (n, S, E), usually proposal - tokens
    buffers: Mapping[str, Tensor] = field(default_factory=dict)  # same names and shapes as begin() gave


@runtime_checkable
class Rule(Protocol):
    """A state update rule. Pure tensors, no branches on values: batches and captured graphs run the same code."""

    name: ClassVar[str]  # what `longtake rules` calls it; an instance may shadow it, as constant:0.1 does
    summary: ClassVar[str]  # one line, with the source
    wants_logit: ClassVar[bool]  # whether it reads stats.mean_logit

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """Buffers before the first view of n streams with tokens (n, S, E); first axis n. Part of the state.

        They are saved, moved, and reset with the stream, and advance only on views that really write.
        """
        ...

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """tokens, proposal (n, S, E) -> rate, direction, new buffers."""
        ...


def wants(rule: Rule, statistic: str) -> bool:
    """Whether a rule reads one of the statistics that cost something: logit, entropy, map, heads."""
    return bool(getattr(rule, f"wants_{statistic}", False))


def begin_buffers(rule: Rule, tokens: Tensor, features: tuple[int, int]) -> dict[str, Tensor]:
    """All buffers of a rule for n streams: tokens (n, S, E), and (P, D) of the largest picture's features."""
    more = getattr(rule, "begin_features", None)
    return rule.begin(tokens) | (more(tokens, features) if more else {})


def precise(x: Tensor) -> Tensor:
    """The same numbers in at least float32: sums and norms over channels are never left to half precision."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def needed(stats: Stats, statistic: str, rule: str) -> Tensor:
    """Return a statistic that a rule cannot do without. Raises ValueError where it was not measured."""
    value = getattr(stats, statistic)
    if value is None:
        wish = {"mean_logit": "want_logit", "row_entropy": "want_entropy", "mean_map": "want_map"}.get(statistic)
        how = f"run the exchange with {wish}=True" if wish else "give it the stats of an exchange"
        raise ValueError(f"the {rule} rule needs stats.{statistic}: {how}")
    return value
