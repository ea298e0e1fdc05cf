# SPDX-License-Identifier: Apache-2.0
"""Every snippet in the README and in docs/ works: Python runs, shell lines name what exists."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from doc_blocks import BLOCKS, PAGES, ROOT, Block, make_clip

from longtake import cli

LINK = re.compile(r"\]\(([^)#]+)(?:#[^)]*)?\)|<img[^>]+src=\"([^\"]+)\"")
PYTHON = [block for block in BLOCKS if block.language == "python"]
SHELL = [(block, line) for block in BLOCKS if block.language == "bash" for line in block.lines]


def test_the_readme_has_snippets_and_two_commands() -> None:
    readme = [block for block in BLOCKS if block.page.name == "README.md"]
    lines = [line.split("#")[0].strip() for block in readme for line in block.text.splitlines()]
    assert "make demo" in lines
    assert "make test" in lines
    assert any(block.language == "python" for block in readme)


def test_the_readme_names_every_verb() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert not [verb for verb in cli.VERBS if f"`{verb}`" not in text]


def test_every_block_is_of_a_known_kind() -> None:
    kinds = {block.language for block in BLOCKS}
    assert kinds <= {"python", "bash", "text", "json"}, "a block of another kind would go unchecked"


@pytest.fixture
def workshop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with what the snippets name: clip.mp4, a short take of moving stripes."""
    make_clip(tmp_path / "clip.mp4")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", sorted({block.page for block in PYTHON}), ids=lambda path: path.name)
def test_python_snippets_run(page: Path, workshop: Path) -> None:
    """The blocks of one page run in order and share their names, as a reader would type them."""
    names: dict[str, object] = {"__name__": "__snippet__"}
    for block in PYTHON:
        if block.page == page:
            # Padded so that a failure shows the line on the page.
            code = compile("\n" * block.line + block.text, str(page), "exec", dont_inherit=True)
            if not block.whole:
                exec(code, names)


@cache
def _help(verb: str) -> str:
    result = subprocess.run(
        [sys.executable, "-m", "longtake", *verb.split(), "--help"], capture_output=True, text=True, check=True
    )
    return result.stdout


@pytest.mark.parametrize(("block", "line"), SHELL, ids=lambda value: str(value) if isinstance(value, Block) else "")
def test_shell_lines_name_what_exists(block: Block, line: str) -> None:
    words = shlex.split(line, comments=True)
    while words and re.fullmatch(r"[A-Z_]+=\S*", words[0]):  # VARIABLE=value in front of a command
        words.pop(0)
    command = Path(words[0]).name
    names = [Path(word).name for word in words]
    if command in {"longtake", "python", "torchrun"} and "longtake" in names:
        arguments = words[names.index("longtake") + 1 :]
        if arguments[0].startswith("-"):
            assert cli.main(arguments) == 0
            return
        verb, rest = cli.split_verb(arguments)
        for word in rest:
            if word.startswith("--"):
                flag = word.split("=")[0]
                assert re.search(rf"(?<![\w-]){re.escape(flag)}(?![\w-])", _help(verb)), f"{verb} has no {flag}"
    elif command == "make":
        targets = [word for word in words[1:] if "=" not in word]
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert all(re.search(rf"^{re.escape(target)}:", makefile, re.M) for target in targets)
    elif command in ("python", "torchrun"):
        script = next((word for word in words[1:] if word.endswith(".py")), None)
        assert script is None or (ROOT / script).is_file()
    else:
        assert command in {"pip", "git", "cd", "pre-commit"}, f"the test does not know how to check `{line}`"


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_inside_the_repository_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    targets = [target for match in LINK.finditer(text) for target in match.groups() if target]
    missing = [t for t in targets if "://" not in t and not (page.parent / t).exists()]
    assert not missing
