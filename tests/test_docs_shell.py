# SPDX-License-Identifier: Apache-2.0
"""The commands on the pages run, word for word, in a folder where all that they name is small."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from itertools import groupby
from pathlib import Path

import pytest
from doc_blocks import BLOCKS, ROOT, Block, make_workshop

from longtake import cli

SHELL = [block for block in BLOCKS if block.language == "bash"]
PAGES = [(page, list(blocks)) for page, blocks in groupby(SHELL, lambda block: block.page)]
# Drawing takes is slow on a CPU, and the takes of the workshop have three frames: only the sizes of these are changed.
SMALL = {
    "longtake data synthesize": ["--takes", "1", "--frames", "2", "--size", "32", "32"],
    "longtake evaluate rgbd": ["--lengths", "2,3", "--stride", "1", "--cloud-points", "500"],
}


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_workshop(tmp_path_factory.mktemp("pages")).parent


@pytest.fixture
def workshop(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(base, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here" / "longtake")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def _run(line: str) -> None:
    """Run one line of a page, or check what must not run inside a test. Raises AssertionError where it fails."""
    words = shlex.split(line, comments=True)
    match Path(words[0]).name:
        case "longtake":
            small = next((flags for start, flags in SMALL.items() if line.startswith(start)), [])
            assert cli.main([*words[1:], *small]) == 0
        case "python":
            told = subprocess.run([sys.executable, *words[1:]], cwd=ROOT, capture_output=True, text=True, check=False)
            assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
        case "make":  # the tests are one of its targets: it says what it would do
            subprocess.run(["make", "-C", str(ROOT), "--dry-run", *words[1:]], capture_output=True, check=True)
        case "pip":  # installs nothing here, but the extra must be there
            extras = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
            assert words[1] == "install"
            for name in re.findall(r"\[([\w,]+)\]", line):
                assert set(name.split(",")) <= extras.keys()
        case other:
            pytest.fail(f"the test does not know how to run {other}")


def _run_page(blocks: list[Block], capsys: pytest.CaptureFixture[str]) -> None:
    for block in blocks:
        for line in block.lines:
            if block.why_not(line) is None:
                try:
                    _run(line)
                except (AssertionError, subprocess.CalledProcessError) as error:
                    said = capsys.readouterr()
                    pytest.fail(f"{block}: `{line}` failed: {error}\n{said.out[-2000:]}{said.err[-2000:]}")


@pytest.mark.parametrize(("page", "blocks"), PAGES, ids=lambda value: value.name if isinstance(value, Path) else "")
def test_commands_run(page: Path, blocks: list[Block], workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _run_page([block for block in blocks if not block.slow], capsys)


@pytest.mark.slow
@pytest.mark.parametrize("block", [block for block in SHELL if block.slow], ids=str)
def test_slow_commands_run(block: Block, workshop: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if "../shared/" in block.text and not (ROOT / "../shared").is_dir():
        pytest.skip("there is no ../shared here")
    _run_page([block], capsys)


def _left_out(page: Path) -> dict[str, list[str]]:
    """Reason -> what is not run for it on a page."""
    found: dict[str, list[str]] = {}
    for block in BLOCKS:
        for line in block.lines if block.language == "bash" else [block.text]:
            if block.page == page and (why := block.why_not(line)) is not None:
                found.setdefault(why, []).append(f"{block}: `{line}`")
    return found


@pytest.mark.parametrize("page", sorted({b.page for b in BLOCKS if b.skips}), ids=lambda path: path.name)
def test_what_is_not_run_says_why(page: Path) -> None:
    """Loud: the summary of the tests names, for each page, how many commands no test runs, and why."""
    for block in BLOCKS:
        for skip in block.skips if block.page == page else ():
            assert len(skip.why.split()) >= 3, f"{block}: {skip.why!r} is no reason"
            assert any(line.startswith(skip.start) for line in block.text.splitlines()), f"{block}: nothing begins so"
    left = _left_out(page)
    assert left, f"{page.name}: its markers mark nothing"
    print("\n".join(line for lines in left.values() for line in lines))
    pytest.skip(f"{page.name}: not run: " + "; ".join(f"{len(lines)} ({why})" for why, lines in left.items()))
