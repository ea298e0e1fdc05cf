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
    setup: list[str]  # what was measured on what, a line each
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
.wide table { font-size: 14.5px; }
.wide td, .wide th { padding: 6px 0 6px 14px; text-align: right; white-space: nowrap;
  font-variant-numeric: tabular-nums; border-bottom: 1px solid var(--line); width: auto; color: var(--ink); }
.wide th { color: var(--muted); font-weight: 500; }
.wide .word { text-align: left; padding-left: 0; padding-right: 14px; }
.wide tr.first td { border-top: 2px solid var(--line); }
.note { margin: 10px 0 0; color: var(--muted); font-size: 14px; max-width: 96ch; }
figure img { display: block; width: 100%; height: auto; border: 1px solid var(--line); border-radius: 12px; }
h2 small { margin-left: 10px; color: var(--muted); font-size: 15px; font-weight: 400; letter-spacing: 0; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(420px, 100%), 1fr)); gap: 24px; }
.clouds figure { margin-bottom: 26px; }
</style>
</head>
<body>
<main>
<header>
<div><div class="brand">Longtake evaluation</div><h1>$title</h1></div>
<div class="setup">$setup</div>
</header>
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
    plots = "".join(_picture(*each) for each in narrow)
    clouds = "".join(_figure(*each) for each in report.pictures if each not in narrow)
    pictures = f'<h2>Against length</h2><div class="plots">{plots}</div>' if narrow else ""
    pictures += f'<h2>Clouds</h2><div class="clouds">{clouds}</div>' if clouds else ""
    return PAGE.substitute(
        title=escape(report.title),
        setup="".join(f"<div>{escape(line)}</div>" for line in report.setup),
        css=resources.files("longtake.outputs").joinpath("page.css").read_text("utf-8"),
        tables="".join(_table(grid) for grid in report.tables),
        pictures=pictures,
        facts="".join(f"<tr><td>{escape(a)}</td><td>{escape(b)}</td></tr>" for a, b in report.facts),
        remarks="".join(f"<li>{escape(line)}</li>" for line in report.remarks or ["nothing"]),
    )


def _picture(name: str, words: str) -> str:
    """A picture that explains itself; a click shows it in full."""
    return f'<figure><a href="{escape(name)}"><img alt="{escape(words)}" src="{escape(name)}"></a></figure>'


def _figure(name: str, words: str) -> str:
    return _picture(name, words).replace("</figure>", f"<figcaption>{escape(words)}</figcaption></figure>")


def _table(grid: Grid) -> str:
    """Rows of the same length stand together."""
    at = grid.head.index("frames") if "frames" in grid.head else None

    def line(cells: Sequence[str], tag: str, first: bool = False) -> str:
        words = (f"<{tag}{' class=word' if i < grid.labels else ''}>{escape(c)}</{tag}>" for i, c in enumerate(cells))
        return f"<tr{' class=first' if first else ''}>{''.join(words)}</tr>"

    rows = [line(grid.head, "th")]
    for before, row in zip((None, *grid.rows), grid.rows, strict=False):
        rows.append(line(row, "td", at is not None and before is not None and before[at] != row[at]))
    note = f'<p class="note">{escape(grid.note)}</p>' if grid.note else ""
    title, _, about = grid.title.partition(": ")
    title = escape(title) + (f" <small>{escape(about)}</small>" if about else "")
    return f'<h2>{title}</h2><div class="wide"><table>{"".join(rows)}</table></div>{note}'
