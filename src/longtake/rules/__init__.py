# SPDX-License-Identifier: Apache-2.0
"""State update rules: how much of the proposal each state token takes over.

A rule is one file with one class. The loop (memory.recurrent.commit) owns the first view, resets and inactive streams.
"""

from longtake.rules.contract import Rule, RuleStep
from longtake.rules.overwrite import Overwrite
from longtake.rules.product import Product
from longtake.rules.table import get_rule, register_rule, rule_names, rule_table
from longtake.rules.ttt3r import TTT3R

__all__ = [
    "TTT3R",
    "Overwrite",
    "Product",
    "Rule",
    "RuleStep",
    "get_rule",
    "register_rule",
    "rule_names",
    "rule_table",
]
