# SPDX-License-Identifier: Apache-2.0
"""Rows of figures for a terminal (aligned, plain where it is no terminal) and for Markdown."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from longtake.evaluation.summary import Summary

PLAIN_WIDTH = 160  # of a pipe or a file, which has no width of its own


@dataclass(frozen=True, slots=True)
class Grid:
    """A table of text cells under a title."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    labels: int = 1  # leading columns of words, aligned to the left
    note: str = ""  # what the columns mean, for pages that have room for it


FIGURES = ("AbsRel", "d<1.25", "rotation", "/identity", "direction", "ATE/spread", "(mean)", "focal %", "lost")


def number(value: float, digits: int) -> str:
    """Return a figure with its digits, or a dash where there is none."""
    return f"{value:.{digits}f}" if math.isfinite(value) else "-"


def summary_cells(s: Summary) -> tuple[str, ...]:
    """Return the cells under FIGURES. `lost`: predictions that could not be used, pixels + poses."""
    return (
        number(s.abs_rel, 3),
        number(s.delta, 3),
        number(s.rotation, 2),
        number(s.rotation_ratio, 3),
        number(s.direction, 1),
        number(s.ate_over_spread, 3),
        number(s.ate_over_spread_mean, 3),
        number(s.focal_error, 1),
        f"{s.unusable_pixels}+{s.unusable_poses}",
    )


def naive_cells(s: Summary) -> tuple[str, ...]:
    """Return the cells that a constant depth and a camera that never moves score on the same takes."""
    return (number(s.const, 3), "-", number(s.identity, 2), "1.000", "90.0", "1.000", "1.000", "-", "-")


def print_grid(grid: Grid, console: Console | None = None) -> None:
    """Print a table; without a terminal, aligned plain text."""
    console = console or make_console()
    table = Table(title=grid.title, title_justify="left", box=SIMPLE if console.is_terminal else None, pad_edge=False)
    for column, name in enumerate(grid.head):
        table.add_column(name, justify="left" if column < grid.labels else "right", no_wrap=True)
    for row in grid.rows:
        table.add_row(*row)
    console.print(table, markup=False)
    console.print()


def make_console() -> Console:
    """Return a console on standard output that is wide enough where it is no terminal."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=PLAIN_WIDTH)


def to_markdown(grids: Sequence[Grid]) -> str:
    """Return tables as Markdown, each under its title in bold."""
    parts = []
    for grid in grids:
        rule = tuple("---" if column < grid.labels else "---:" for column in range(len(grid.head)))
        lines = ["| " + " | ".join(row) + " |" for row in (grid.head, rule, *grid.rows)]
        parts.append("\n".join((f"**{grid.title}**", "", *lines, *(("", grid.note) if grid.note else ()))))
    return "\n\n".join(parts) + "\n"
