# SPDX-License-Identifier: Apache-2.0
"""The rules by name, those of the library and those that a program registers."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable

from longtake.errors import CapabilityError
from longtake.rules.brake import Brake
from longtake.rules.constant import Constant
from longtake.rules.contract import Rule
from longtake.rules.filt3r import Filt3R
from longtake.rules.half import Half
from longtake.rules.keyframe import Keyframe
from longtake.rules.memix import MeMix
from longtake.rules.ortho import Ortho
from longtake.rules.overwrite import Overwrite
from longtake.rules.product import Product
from longtake.rules.recal3r import ReCal3R
from longtake.rules.ttsa3r import Ttsa3R
from longtake.rules.ttt3r import TTT3R
from longtake.rules.ttt3r_calibrated import CalibratedTTT3R

_RULES: dict[str, Callable[..., Rule]] = {  # a new rule adds a line here
    "overwrite": Overwrite,
    "ttt3r": TTT3R,
    "ttt3r-calibrated": CalibratedTTT3R,
    "constant": Constant,
    "half": Half,
    "filt3r": Filt3R,
    "ttsa3r": Ttsa3R,
    "recal3r": ReCal3R,
    "brake": Brake,
    "ortho": Ortho,
    "memix": MeMix,
    "keyframe": Keyframe,
}


def get_rule(rule: str | Rule) -> Rule:
    """A rule by name, or the rule object itself.

    A name may carry the rule's one number, where it has one, and names may be multiplied: `constant:0.1`,
    `ttt3r+memix`, `filt3r+memix:0.9+keyframe`. Raises CapabilityError with near names for an unknown one.
    """
    if not isinstance(rule, str):
        return rule
    parts = [_one(part.strip()) for part in rule.split("+")]
    return parts[0] if len(parts) == 1 else Product(parts)


def _one(text: str) -> Rule:
    name, colon, number = text.partition(":")
    if name not in _RULES:
        near = difflib.get_close_matches(name, _RULES, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise CapabilityError(f"no update rule is called {name!r}.{hint} There are: {', '.join(_RULES)}.")
    make = _RULES[name]
    if not colon:
        return make()
    if not hasattr(make, "knob"):
        knobs = ", ".join(f"{n}:{k.upper()}" for n, m in _RULES.items() if (k := getattr(m, "knob", "")))
        raise CapabilityError(f"{text!r}: the rule {name!r} takes no number. These do: {knobs}.")
    try:
        return make(float(number))
    except ValueError:
        raise CapabilityError(f"{text!r}: {number!r} is no number; write it as in {name}:0.5.") from None


def register_rule(make: Callable[[], Rule]) -> Callable[[], Rule]:
    """Add a rule of your own to the table, so that its name works wherever a rule is named; use it as a decorator.

    make: a class, or a function without arguments that makes the rule, as docs/rules.md shows. A rule object can also
    be given wherever a name can, without being registered. Raises CapabilityError where the object is no rule, or its
    name is taken or not made of letters, digits, - and _.
    """
    rule = make()
    missing = [m for m in ("name", "summary", "wants_logit", "begin", "__call__") if not hasattr(rule, m)]
    if missing:
        raise CapabilityError(f"{make!r} makes no update rule: it lacks {', '.join(missing)} (longtake.rules.Rule)")
    if not re.fullmatch(r"[A-Za-z0-9_-]+", rule.name):
        raise CapabilityError(f"a rule cannot be called {rule.name!r}: use letters, digits, - and _")
    if rule.name in _RULES:
        raise CapabilityError(f"there is an update rule called {rule.name!r} already; choose another name")
    _RULES[rule.name] = make
    return make


def rule_names() -> tuple[str, ...]:
    """All names, in the order of the table."""
    return tuple(_RULES)


def rule_table() -> dict[str, str]:
    """Each rule's one-line summary by name."""
    return {name: make().summary for name, make in _RULES.items()}
