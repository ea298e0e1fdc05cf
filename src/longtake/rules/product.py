# SPDX-License-Identifier: Apache-2.0
"""Rules multiplied: a rate per token, a mask over tokens, a scalar per frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor

from longtake.frame import Stats
from longtake.rules.contract import Rule, RuleStep, wants


class Product:
    """rate = the product of the parts' rates; the direction is the first part's. Named as in ttt3r+memix."""

    name: ClassVar[str] = "product"
    summary: ClassVar[str] = "the product of several rules' rates"

    wants_logit: ClassVar[bool] = False

    def __init__(self, parts: Sequence[Rule]) -> None:
        self.parts = tuple(parts)
        self.name = "+".join(part.name for part in self.parts)  # pyright: ignore[reportAttributeAccessIssue]
        self.wants_logit = any(part.wants_logit for part in self.parts)  # pyright: ignore[reportAttributeAccessIssue]
        self.wants_entropy, self.wants_map, self.wants_heads = (
            any(wants(part, statistic) for part in self.parts) for statistic in ("entropy", "map", "heads")
        )

    def begin(self, tokens: Tensor) -> dict[str, Tensor]:
        """The buffers of each part, named by its place: 0.last, 1.usual."""
        return _named([part.begin(tokens) for part in self.parts])

    def begin_features(self, tokens: Tensor, features: tuple[int, int]) -> dict[str, Tensor]:
        """The same for buffers that follow the features' shape."""
        begins = [getattr(part, "begin_features", None) for part in self.parts]
        return _named([begin(tokens, features) if begin else {} for begin in begins])

    def __call__(self, tokens: Tensor, proposal: Tensor, stats: Stats, buffers: Mapping[str, Tensor]) -> RuleStep:
        """Needs what its parts need."""
        steps = []
        for place, part in enumerate(self.parts):
            start = f"{place}."
            own = {name.removeprefix(start): t for name, t in buffers.items() if name.startswith(start)}
            steps.append(part(tokens, proposal, stats, own))
        rate = steps[0].rate
        for step in steps[1:]:
            rate = rate * step.rate
        return RuleStep(rate, steps[0].direction, _named([step.buffers for step in steps]))


def _named(parts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    return {f"{place}.{name}": tensor for place, part in enumerate(parts) for name, tensor in part.items()}
