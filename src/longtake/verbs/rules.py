# SPDX-License-Identifier: Apache-2.0
"""`longtake rules`: the update rules of the recurrent memory."""

from __future__ import annotations


def main() -> None:
    """List the update rules of the recurrent memory, one a line, with their source.

    Rules multiply with +, and some take a number: ttt3r+memix, filt3r+keyframe, constant:0.1.
    """
    from longtake.rules import rule_table

    rules = rule_table()
    width = max(map(len, rules))
    for name, summary in rules.items():
        print(f"{name:<{width}}  {summary}")
