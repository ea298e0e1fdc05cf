# SPDX-License-Identifier: Apache-2.0
"""The page of a benchmark."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from string import Template

from longtake.evaluation.tables import Grid


@dataclass(frozen=True, slots=True)
class Report:
    """What is written and printed."""

    title: str
    tables: list[Grid]
    facts: list[tuple[str, str]]  # everything that changes a number
    remarks: list[str]  # what was dropped or has no answer, and why
    pictures: list[tuple[str, str]]  # (file name, words)


PAGE = Template("""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>$title · Longtake</title>
<link rel="icon" href="data:,">
<style>
$css
.wide { overflow-x: auto; }
.wide td, .wide th { padding: 7px 0 7px 22px; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; border-bottom: 1px solid var(--line); width: auto; color: var(--ink); }
.wide th { color: var(--muted); font-weight: 500; }
.wide .word { text-align: left; padding-left: 0; padding-right: 22px; }
figure { margin-bottom: 26px; }
figure > img { border: 1px solid var(--line); }
</style>
</head>
<body>
<main>
<header><div><div class="brand">Longtake evaluation</div><h1>$title</h1></div></header>
$tables
$pictures
<h2>What changes a number</h2>
<table>$facts</table>
<h2>Dropped, or without a plain answer</h2>
<ul>$remarks</ul>
</main>
</body>
</html>
""")


def to_page(report: Report) -> str:
    """Return the page as one HTML text; its pictures are files beside it."""
    narrow = [each for each in report.pictures if not each[0].startswith("clouds-")]
    figures = "".join(_figure(*each) for each in narrow)
    clouds = "".join(_figure(*each) for each in report.pictures if each not in narrow)
    pictures = f'<h2>Against length</h2><div class="two">{figures}</div>' if narrow else ""
    pictures += f"<h2>Clouds</h2>{clouds}" if clouds else ""
    return PAGE.substitute(
        title=escape(report.title),
        css=resources.files("longtake.outputs").joinpath("page.css").read_text("utf-8"),
        tables="".join(_table(grid) for grid in report.tables),
        pictures=pictures,
        facts="".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in report.facts),
        remarks="".join(f"<li>{escape(line)}</li>" for line in report.remarks or ["nothing"]),
    )


def _figure(name: str, words: str) -> str:
    return f'<figure><img alt="{escape(words)}" src="{escape(name)}"><figcaption>{escape(words)}</figcaption></figure>'


def _table(grid: Grid) -> str:
    def line(cells: Sequence[str], tag: str) -> str:
        words = (f"<{tag}{' class=word' if i < grid.labels else ''}>{escape(c)}</{tag}>" for i, c in enumerate(cells))
        return f"<tr>{''.join(words)}</tr>"

    rows = line(grid.head, "th") + "".join(line(row, "td") for row in grid.rows)
    return f'<h2>{escape(grid.title)}</h2><div class="wide"><table>{rows}</table></div>'
