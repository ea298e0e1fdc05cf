# SPDX-License-Identifier: Apache-2.0
"""When a memory should start over: it has been written too often, it is no longer sure, or the take was cut.

In the spirit of Info3R (arXiv 2609.21938), whose formula is not public: the accumulated rate says how often the state
has been replaced, and the confidence whether that hurts. The thresholds are ours.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from longtake.continuity.tracking import LOST
from longtake.errors import InputError


@dataclass(frozen=True, slots=True)
class ResetTrigger:
    """A reset is due once the mean rates since the last one add up to `spent` and the confidence is down to the share
    `confidence` of its best since then; at twice `spent` whatever the confidence; and after a cut, if `on_cut`.

    With `overwrite` the rates add up to the number of frames, with rates of 0.15 to a seventh of it. A due reset acts
    on the next frame, so a stream never waits for its own frame's figures.
    """

    spent: float = 60.0
    confidence: float = 0.7
    on_cut: bool = True

    @property
    def name(self) -> str:
        """The trigger in words, as `read_trigger` reads them."""
        spent = f"spent:{self.spent:.12g}:{self.confidence:.12g}"
        if self.on_cut and math.isinf(self.spent):
            spent = ""
        return "+".join(word for word in (spent, "cut" if self.on_cut else "") if word)


def read_trigger(words: str | ResetTrigger | None) -> ResetTrigger | None:
    """A trigger from words: `spent`, `cut`, or both as `spent+cut`; None and triggers pass.

    spent:N:SHARE resets once the rates add up to N (60) and the confidence is down to SHARE (0.7) of its best; cut
    after a cut. Raises InputError for other words.
    """
    if words is None or isinstance(words, ResetTrigger):
        return words
    numbers, parts = [math.inf, 0.7], words.split("+")
    for part in parts:
        name, *given = part.strip().split(":")
        try:
            wrong = any(not float(number) >= 0 for number in given) or float([*given, 1][0]) == 0
        except ValueError:
            wrong = True
        if wrong or len(given) > {"spent": 2, "cut": 0}.get(name, -1):
            raise InputError(f"reset_when={words!r}: give spent, spent:N, spent:N:SHARE, cut, or two joined by +")
        if name == "spent":
            numbers = [*map(float, given), *(60.0, 0.7)[len(given) :]]
    return ResetTrigger(*numbers, on_cut=any(part.strip() == "cut" for part in parts))


def spell_resets(every: int | None, when: str | None, join: str) -> str:
    """Say in words when memories start over and how chunks then meet."""
    words = [f"every {every} frames"] if every else []
    words += [f"at {when}"] if when else []
    return f"{' and '.join(words)}, joined by {join}" if words else "none"


def begin_trigger(n: int, device: torch.device | str = "cpu") -> dict[str, Tensor]:
    """What the trigger remembers of n streams: part of the stream's state."""
    zeros = torch.zeros(n, dtype=torch.float32, device=device)
    return {"spent": zeros, "best": zeros.clone(), "due": torch.zeros(n, dtype=torch.bool, device=device)}


def pull(
    trigger: ResetTrigger, memory: Mapping[str, Tensor], rate: Tensor, sure: Tensor, tracking: Tensor, reset: Tensor
) -> dict[str, Tensor]:
    """The trigger's memory after a frame of n streams.

    rate (n,): mean rate at which the frame was written; sure (n,): its usual mean log confidence; tracking (n,): codes;
    reset (n,) bool: the stream started over after this frame.
    """
    spent, best = memory["spent"] + rate, torch.maximum(memory["best"], sure)
    unsure = sure.expm1() < trigger.confidence * best.expm1()
    due = ((spent >= trigger.spent) & unsure) | (spent >= 2 * trigger.spent)
    if trigger.on_cut:
        due = due | (tracking == LOST)
    return {
        "spent": torch.where(reset, 0, spent),
        "best": torch.where(reset, 0, best),
        "due": due & ~reset,
    }
