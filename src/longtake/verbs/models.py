# SPDX-License-Identifier: Apache-2.0
"""`longtake models`: what can be loaded by name."""

from __future__ import annotations


def main() -> None:
    """List the models: name, number of parameters, where the weights are, and the licence of the weights."""
    from longtake.registry import model_table

    rows = model_table()
    lines = [tuple(rows[0]), *(tuple(row.values()) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        print("  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip())
