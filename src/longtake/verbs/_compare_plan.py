# SPDX-License-Identifier: Apache-2.0
"""What a comparison runs: models by name, each with the rules and the bounds that its memory has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtake.catalog import find
from longtake.checkpoints.kind import kind_of
from longtake.errors import CapabilityError, InputError
from longtake.families.contract import Capabilities
from longtake.memory.keep import Keep
from longtake.registry import weights_of
from longtake.rules import get_rule

BOUNDS = {"window": "full", "budget": "cache"}  # option -> the memory that it bounds


@dataclass(frozen=True, slots=True)
class Contestant:
    """One model of a comparison."""

    name: str
    weights: Path
    rules: tuple[str, ...]  # of a recurrent memory; else the one word for how all others are written
    bounds: dict[str, int]  # of BOUNDS, those that were asked for and that the memory has


def plan(models: str, rules: str, **bounds: int | None) -> list[Contestant]:
    """Read what the user named; weights are found, or downloaded where they are to be, before anything runs.

    models: NAME or NAME=FILE, separated by commas; rules: names separated by commas, for those models that have them.
    bounds: of BOUNDS, each for those models whose memory has it. Raises InputError where nothing is named, and
    CapabilityError, CheckpointError for what there is not.
    """
    chosen = tuple(dict.fromkeys(get_rule(rule.strip()).name for rule in rules.split(",") if rule.strip()))
    named = tuple(dict.fromkeys(model.strip() for model in models.split(",") if model.strip()))
    if not chosen or not named:
        raise InputError(f"rules {rules!r}, models {models!r}: give one or more of each.")
    given = {option: value for option, value in bounds.items() if value is not None}
    plans = []
    for model in named:
        name, _, file = model.partition("=")
        module: Any = find(name).build()
        can: Capabilities = module.capabilities
        own = {option: value for option, value in given.items() if BOUNDS[option] == can.memory}
        module.writer(None, **own)  # a bound that makes no sense is named now
        path = weights_of(name, find(name), file or None)
        kind_of(path, wanted=f"the weights of {name}")
        plans.append(Contestant(name, path, chosen if can.rules else (Keep.name,), own))
    _check_used(given, plans)
    return plans


def _check_used(given: dict[str, int], plans: Sequence[Contestant]) -> None:
    for option, value in given.items():
        if not any(option in each.bounds for each in plans):
            raise CapabilityError(
                f"{option}={value}: none of {', '.join(each.name for each in plans)} has a memory of kind "
                f"{BOUNDS[option]}, which it bounds (`longtake models`)."
            )
