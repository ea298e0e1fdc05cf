# SPDX-License-Identifier: Apache-2.0
"""`longtake doctor`: what this machine has."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

    from longtake.doctor import Check

_MARKS = {"ok": ("●", "green"), "missing": ("○", "yellow"), "broken": ("✕", "bold red")}


def main(*, json: bool = False) -> int:
    """Say what this machine has: libraries, devices, decoders, extras, the embedded model, disk space.

    Ends with 1 if the main job cannot run here.

    Args:
        json: Print one JSON list instead of a table.
    """
    from longtake.doctor import examine

    checks = examine()
    if json:
        from dataclasses import asdict
        from json import dumps

        print(dumps([asdict(check) for check in checks], indent=2))
    else:
        _print(checks)
    return int(any(check.status == "broken" for check in checks))


def _print(checks: list[Check], console: Console | None = None) -> None:
    """Plain lines that programs can cut apart; on a terminal with colours, the remedies below what lacks them."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    console = console or Console(highlight=False)
    if not console.is_terminal:
        width = max(len(check.name) for check in checks)
        for check in checks:
            remedy = f"  ->  {check.remedy}" if check.remedy else ""
            print(f"{check.status:<7}  {check.name:<{width}}  {check.found}{remedy}")
        return
    table = Table.grid(padding=(0, 2))
    for check in checks:
        mark, style = _MARKS[check.status]
        found = Text(check.found, "dim" if check.status == "ok" else "")
        table.add_row(Text(mark, style), Text(check.name), found)
        if check.remedy:
            table.add_row("", "", Text(check.remedy, style))
    console.print(table)
    lacking = sum(check.status == "missing" for check in checks)
    broken = sum(check.status == "broken" for check in checks)
    if broken:
        console.print(f"\n[bold red]{broken} of these must be mended before Longtake can run.[/]")
    else:
        console.print(f"\nEverything that Longtake needs is here{'; the rest can be added' * bool(lacking)}.")
