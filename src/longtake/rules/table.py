# SPDX-License-Identifier: Apache-2.0
"""The rules by name."""

from __future__ import annotations

import difflib

from longtake.errors import CapabilityError
from longtake.rules.contract import Rule
from longtake.rules.overwrite import Overwrite
from longtake.rules.ttt3r import TTT3R

_RULES = {rule.name: rule for rule in (Overwrite, TTT3R)}  # a new rule adds its class here


def get_rule(rule: str | Rule) -> Rule:
    """A rule by name, or the rule object itself. Raises CapabilityError with near names for an unknown one."""
    if not isinstance(rule, str):
        return rule
    if rule not in _RULES:
        near = difflib.get_close_matches(rule, _RULES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise CapabilityError(f"no update rule is called {rule!r}.{hint} There are: {', '.join(_RULES)}.")
    return _RULES[rule]()


def rule_names() -> tuple[str, ...]:
    """All names, in the order of the table."""
    return tuple(_RULES)


def rule_table() -> dict[str, str]:
    """Each rule's one-line summary by name."""
    return {name: rule.summary for name, rule in _RULES.items()}
