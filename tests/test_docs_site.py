# SPDX-License-Identifier: Apache-2.0
"""The documentation builds without a warning, asks nothing of the network, and says of each verb what its help says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

from longtake import cli

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def docs_site() -> ModuleType:
    """The hook of mkdocs.yml, which makes the pages of the verbs."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(ROOT / "tools"))
        import docs_site

        return docs_site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole site, built as `make docs` builds it, with every look-up of a host refused."""
    if find_spec("mkdocs") is None or find_spec("mkdocstrings") is None:
        pytest.skip("the documentation is not built here: pip install 'longtake[docs]'")
    out = tmp_path_factory.mktemp("docs") / "site"
    code = (
        "import socket, sys\n"
        "def refuse(*a, **k): raise RuntimeError('the build tried to reach the network')\n"
        "socket.getaddrinfo = socket.socket.connect = refuse\n"
        "from mkdocs.__main__ import cli\n"
        # Not --quiet: warnings that are not logged are not counted.
        f"cli(['build', '--strict', '--site-dir', {str(out)!r}])\n"
    )
    paths = os.pathsep.join([str(ROOT / "src"), *filter(None, [os.environ.get("PYTHONPATH")])])
    told = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env=os.environ | {"NO_MKDOCS_2_WARNING": "1", "PYTHONPATH": paths},
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stdout + told.stderr
    return out


def _text(page: Path) -> str:
    html = page.read_text(encoding="utf-8")
    return re.sub(r"<[^>]+>", "", html)


def test_every_page_is_there(site: Path) -> None:
    made = {path.relative_to(site).with_suffix(".md").as_posix() for path in site.rglob("*.html")} - {"404.md"}
    pages = {path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")}
    verbs = {f"commands/{verb.replace(' ', '-')}.md" for verb in cli.VERBS}
    assert made == pages | verbs | {"commands/index.md", "contributing.md", "changelog.md"}


def test_no_page_loads_anything_from_elsewhere(site: Path) -> None:
    loads = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*?(?:src|href)=[\"']?((?:https?:)?//[^\"' >]+)")
    found = {url for page in site.rglob("*.html") for url in loads.findall(page.read_text(encoding="utf-8"))}
    found |= {
        url for sheet in site.rglob("*.css") for url in re.findall(r"url\([\"']?(https?:[^)]+)", sheet.read_text())
    }
    assert not found


@pytest.mark.parametrize("verb", cli.VERBS)
def test_a_verbs_page_says_what_its_help_says(verb: str, docs_site: ModuleType) -> None:
    told = docs_site.read_help(verb)
    page, help_text = docs_site.verb_page(verb), docs_site.help_text(verb)
    flags = set(re.findall(r"^│ (--[\w-]+)", help_text, re.M))
    assert flags == set(re.findall(r"^`(--[\w-]+)", page, re.M))
    assert len(told.options) == len(flags) + 1, "--help itself"
    words = re.compile(r"[A-Za-z]{3,}")
    for flag in (*told.positional, *told.options):
        assert flag.text, f"{verb}: {flag.words} has no help"
        for word in words.findall(flag.text):
            assert word in help_text
        if not flag.words.startswith("-h"):
            assert flag.words in page
            assert set(words.findall(flag.text)) <= set(words.findall(page))


def test_the_pages_of_the_verbs_are_found_by_search(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text(encoding="utf-8"))
    places = {entry["location"].split("#")[0] for entry in index["docs"]}
    assert {f"commands/{verb.replace(' ', '-')}.html" for verb in cli.VERBS} <= places


def test_the_public_names_are_described(site: Path) -> None:
    import longtake

    html = (site / "api.html").read_text(encoding="utf-8")
    missing = [name for name in longtake.__all__ if not re.search(rf'id="longtake\.[\w.]*\b{name}"', html)]
    assert not missing
