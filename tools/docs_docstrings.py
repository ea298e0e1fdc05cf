# SPDX-License-Identifier: Apache-2.0
"""Docstrings on the site: lines such as `reset_every: start over ...` become a list, as they are read in the source."""

from __future__ import annotations

import re
from typing import Any

import griffe

_ENTRY = re.compile(r"^(?P<names>[a-z_]\w*(?:, [a-z_]\w*)*): (?P<told>\S)")


def as_list(text: str) -> str:
    """Return a docstring with its `name: what it is` lines as items of a Markdown list; the rest stays as it is.

    An item goes on with the lines below it up to a blank one. Text after a full stop that begins another entry on the
    same line stays where it is.
    """
    lines, inside = [], False
    for line in text.splitlines():
        if match := _ENTRY.match(line):
            if not inside:
                lines.append("")
            names = ", ".join(f"`{name}`" for name in match["names"].split(", "))
            lines.append(f"- {names}: {line[match.start('told') :]}")
            inside = True
        elif inside and line.strip():
            lines.append("    " + line.strip())
        else:
            lines.append(line)
            inside = False
    return "\n".join(lines)


class Entries(griffe.Extension):
    """The extension that mkdocs.yml names."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Rewrite the docstring of a class, a function or a property."""
        if obj.docstring:
            obj.docstring.value = as_list(obj.docstring.value)
