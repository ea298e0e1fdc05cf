# SPDX-License-Identifier: Apache-2.0
"""What mkdocs adds to docs/ while it builds the site: a page for each verb, from the help that its parser prints.

Nothing of it is kept in the repository, so no page can lag behind a flag. CONTRIBUTING.md and CHANGELOG.md come along
from the root. `make docs` builds the site; mkdocs.yml names this file as a hook.
"""

from __future__ import annotations

import contextlib
import html
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from longtake import cli

ROOT = Path(__file__).resolve().parents[1]
FROM_THE_ROOT = ("CONTRIBUTING.md", "CHANGELOG.md")
COMMANDS = "Commands"  # the entry of the navigation that the pages of the verbs go under
_WIDE = "4000"  # columns: each flag's help then stands on the lines of its docstring, not broken by the terminal


@dataclass(frozen=True, slots=True)
class Flag:
    """A flag or a positional word, as the help prints it."""

    words: str  # `--out PATH`
    text: str
    default: str  # "" where there is none


@dataclass(frozen=True, slots=True)
class Help:
    """What `longtake VERB --help` says."""

    usage: str
    text: str
    positional: tuple[Flag, ...]
    options: tuple[Flag, ...]


def help_text(verb: str) -> str:
    """Return what `longtake VERB --help` prints in a very wide terminal without colours."""
    before = {name: os.environ.get(name) for name in ("COLUMNS", "NO_COLOR")}
    os.environ.update(COLUMNS=_WIDE, NO_COLOR="1")
    said = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # its encoding decides how boxes are drawn
    try:
        with contextlib.redirect_stdout(said), contextlib.suppress(SystemExit):
            cli.run(verb, ["--help"])
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
    said.seek(0)
    return re.sub(r"\x1b\[[0-9;]*m", "", said.read())


def read_help(verb: str) -> Help:
    """Take a verb's help apart. Raises ValueError where it has another form than this file knows."""
    head, *boxes = re.split(r"^╭─ (.+?) ─*╮$", help_text(verb), flags=re.M)
    match = re.match(r"usage: (.+?)\n\n(.*)", head, re.S)
    if not match:
        raise ValueError(f"the help of `longtake {verb}` begins in an unknown way: {head[:80]!r}")
    found = {title: tuple(_flags(body)) for title, body in zip(boxes[::2], boxes[1::2], strict=True)}
    if unknown := found.keys() - {"positional arguments", "options"}:
        raise ValueError(f"the help of `longtake {verb}` has parts that no page shows: {sorted(unknown)}")
    text = re.sub(r"\n{3,}", "\n\n", match[2]).strip()
    return Help(" ".join(match[1].split()), text, found.get("positional arguments", ()), found.get("options", ()))


def _flags(box: str) -> Iterator[Flag]:
    entries: list[list[str]] = []
    for line in re.findall(r"^│ (.*?) *│$", box, re.M):
        if line[:1].strip():
            entries.append(re.split(r" {2,}", line, maxsplit=1))
        elif line.strip():
            entries[-1].append(line.strip())
    for words, *told in entries:
        text = " ".join(told)
        default = re.search(r" ?\((?:default: (.*)|required|optional|repeatable)\)$", text)
        value = (default[1] or "") if default else ""
        text = text[: default.start()] if default else text
        yield Flag(words.replace("{None}|", ""), text, "" if value in ("None", "False") else value)


def verb_page(verb: str) -> str:
    """Return the Markdown page of a verb."""
    told = read_help(verb)
    parts = [f"# longtake {verb}", _prose(told.text), f"```text\n{told.usage.replace('[-h] ', '')}\n```"]
    for title, flags in (("Arguments", told.positional), ("Options", told.options)):
        shown = [flag for flag in flags if not flag.words.startswith("-h")]
        if shown:
            parts += [f"## {title}", *(f"`{flag.words}`\n:   {_told(flag)}" for flag in shown)]
    parts.append(f"This page is what `longtake {verb} --help` prints.")
    return "\n\n".join(parts) + "\n"


def _prose(text: str) -> str:
    """Escape what Markdown would take for tags; words between backticks stay."""
    parts = text.split("`")
    return "`".join(
        part if i % 2 else html.escape(part, quote=False).replace("*", r"\*") for i, part in enumerate(parts)
    )


def _told(flag: Flag) -> str:
    default = f" *Default:* `{flag.default}`." if flag.default else ""
    return (_prose(flag.text) + default).strip() or "."


def page_name(verb: str) -> str:
    """Return the path of a verb's page below docs/."""
    return f"commands/{verb.replace(' ', '-')}.md"


def overview_page() -> str:
    """Return the page that lists the verbs."""
    rows = "\n".join(f"| [`{verb}`]({Path(page_name(verb)).name}) | {text} |" for verb, text in cli.VERBS.items())
    return (
        "# Commands\n\nOne verb a job: `longtake VERB`. Ctrl-C keeps what is done.\n\n"
        f"| verb | what it does |\n|---|---|\n{rows}\n\n"
        "Exit codes: 0 done, 1 a check failed, 2 wrong use or an error with a remedy, 130 stopped with Ctrl-C.\n"
    )


def pages() -> dict[str, str]:
    """Return every page that is made here: path below docs/ -> Markdown."""
    made = {"commands/index.md": overview_page()} | {page_name(verb): verb_page(verb) for verb in cli.VERBS}
    for name in FROM_THE_ROOT:
        text = (ROOT / name).read_text(encoding="utf-8")
        made[name.lower()] = text.replace("](docs/", "](").replace("](README.md", "](index.md")
    return made


def on_config(config: Any) -> Any:
    """Put the verbs under their entry of the navigation."""
    verbs = [{verb: page_name(verb)} for verb in cli.VERBS]
    for entry in config.nav:
        if COMMANDS in entry:
            entry[COMMANDS] = ["commands/index.md", *verbs]
    return config


def on_files(files: Any, *, config: Any) -> Any:
    """Add the pages."""
    from mkdocs.structure.files import File

    for name, text in pages().items():
        files.append(File.generated(config, name, content=text))
    return files
