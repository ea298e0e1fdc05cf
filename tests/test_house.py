# SPDX-License-Identifier: Apache-2.0
"""The walls of the house: who may import whom, what every file looks like, what the public face is."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import longtake

ROOT = Path(__file__).resolve().parents[1]
SRC = ROOT / "src" / "longtake"
MODULES = sorted(SRC.rglob("*.py"))

TYPES = {"background", "errors", "files", "frame"}
SHARED = TYPES | {"nn", "geometry"}
STEPS = {"tokenize", "memory", "rules", "detokenize"}
LEAVES = {"viewer", "serve", "training", "evaluation", "synthetic", "datasets"}
MAY_READ_DATA_SETS = {"datasets", "training", "evaluation", "verbs"}

# What a room may import beside itself. Rooms that are not listed (the loop, the registry, the leaves, the verbs) bring
# others together; the tests below hold them by what they must not import.
MAY_IMPORT: dict[str, set[str]] = {
    "background": set(),
    "errors": set(),
    "files": set(),
    "frame": TYPES,
    "nn": TYPES,
    "geometry": TYPES,
    **{step: SHARED for step in STEPS},
    "families": SHARED | STEPS,
    "sources": TYPES | {"geometry"},
    "outputs": TYPES | {"geometry"},
    "datasets": TYPES | {"geometry", "sources"},
    "meter": TYPES,
    "continuity": SHARED,
    "engine": SHARED,
    "checkpoints": TYPES | {"families"},
    "doctor": TYPES | {"registry", "sources"},
}
CORE_LIBRARIES = {"torch", "numpy", "safetensors", "av", "PIL", "tyro", "rich"}
EXTRAS_OF = {  # triton comes with PyTorch for CUDA
    "checkpoints": {"huggingface_hub"},
    "continuity": {"scipy"},
    "evaluation": {"scipy"},
    "geometry": {"cv2"},
    "outputs": {"open3d", "rerun"},
    "synthetic": {"triton"},
    "serve": {"fastapi", "uvicorn", "websockets"},
    "sources": {"yaml"},
    "viewer": {"viser"},
}
NETWORK = {"socket", "ssl", "http", "urllib", "ftplib", "smtplib", "xmlrpc", "requests", "httpx", "huggingface_hub"}


def _imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, anywhere in it."""
    package = path.relative_to(ROOT / "src").with_suffix("").parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join(package[: -node.level]) + "." if node.level else ""
            module = base + (node.module or "")
            yield module
            if module.rstrip(".") == "longtake":
                yield from (f"longtake.{alias.name}" for alias in node.names)


def _room(path: Path) -> str:
    return path.relative_to(SRC).parts[0].removesuffix(".py")


def _rooms_imported(path: Path) -> set[str]:
    names = (name.split(".") for name in _imports(path))
    return {name[1] for name in names if name[0] == "longtake" and len(name) > 1 and name[1]} - {_room(path)}


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_walls(path: Path) -> None:
    room, imported = _room(path), _rooms_imported(path)
    if room in MAY_IMPORT:
        assert imported <= MAY_IMPORT[room], f"{room} may not import {imported - MAY_IMPORT[room]}"
    if room not in LEAVES | {"verbs"}:
        assert not imported & LEAVES, "the main job runs without the leaves"
    if room not in MAY_READ_DATA_SETS:
        assert "datasets" not in imported, "only evaluation, training and verbs read data sets"
    if room != "__main__":
        assert "cli" not in imported, "nothing imports the command line"
    if room not in {"cli"}:
        assert "verbs" not in imported, "a verb is called by the command line only"


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_libraries(path: Path) -> None:
    used = {name.split(".")[0] for name in _imports(path)} - {"longtake", *sys.stdlib_module_names}
    assert used <= CORE_LIBRARIES | EXTRAS_OF.get(_room(path), set())


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_no_module_reaches_the_network(path: Path) -> None:
    names = set(_imports(path)) - {"urllib.parse"}
    if _name(path) == "src/longtake/checkpoints/hub.py":  # reached by weights="hub" alone
        names = {name for name in names if name.split(".")[0] != "huggingface_hub"}
    assert not {name for name in names if name.split(".")[0] in NETWORK}
    assert not any(name.startswith("torch.hub") for name in names)
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and ast.unparse(node) == "torch.hub"]


def _tracked() -> list[Path]:
    """Files that git tracks or would track; in an unpacked archive, the files of the folders that we write."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode == 0 and listed.stdout:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    folders = ("src", "tests", "docs", "examples", "benchmarks", ".ci")
    return [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]


TRACKED = _tracked()
PYTHON = [path for path in TRACKED if path.suffix == ".py"]
TEXT = [p for p in TRACKED if p.suffix in {".py", ".md", ".toml", ".txt", ".yaml", ".json", ".jsonl", ".sh", ""}]


@pytest.mark.parametrize("path", PYTHON, ids=_name)
def test_every_file_is_short_and_names_its_licence(path: Path) -> None:
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines
    assert lines[0] == "# SPDX-License-Identifier: Apache-2.0"
    assert len(lines) <= 400, "split it: one idea a file"


def test_no_file_names_a_machine_or_a_registry() -> None:
    # Written in pieces so that this file does not find itself.
    folders = "|".join(["work", "root", "home", "Users", "mnt", "tmp" + "/venv"])
    hosts = [r"py" + r"pi\.org", r"python" + r"hosted\.org", r"download\.py" + r"torch\.org", r"anaconda\.org"]
    pattern = re.compile(rf"(?<![\w.~/<])/(?:{folders})/|{'|'.join(hosts)}")
    found = []
    for path in TEXT:
        for number, line in enumerate(path.read_text(encoding="utf-8", errors="replace").splitlines(), 1):
            if match := pattern.search(line):
                found.append(f"{_name(path)}:{number}: {match[0]}")
    assert not found


@pytest.mark.parametrize("path", MODULES, ids=_name)
def test_double_precision_is_left_to_the_cpu(path: Path) -> None:
    assert ".double().cpu()" not in path.read_text(encoding="utf-8"), "Apple's MPS has no float64: .cpu().double()"


def test_no_large_files() -> None:
    large = {_name(path): path.stat().st_size for path in TRACKED if path.stat().st_size > 25_000_000}
    assert not large


def test_public_names_are_pinned() -> None:
    assert sorted(longtake.__all__) == [
        "Frame",
        "LongtakeError",
        "Prediction",
        "Scene",
        "images",
        "load",
        "reconstruct",
        "register_rule",
        "video",
    ]
    assert set(longtake.__all__) == set(longtake._HOME)


@pytest.mark.parametrize("name", longtake.__all__)
def test_every_public_name_can_be_imported_and_says_what_it_is(name: str) -> None:
    value = getattr(longtake, name)
    assert value.__doc__
    assert value is getattr(import_module(longtake._HOME[name]), name)


def test_an_unknown_public_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="reconstruct"):
        _ = longtake.recontsruct  # pyright: ignore[reportAttributeAccessIssue]


def test_import_is_cheap() -> None:
    code = "import sys, longtake; sys.exit(bool({'torch', 'numpy', 'av'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
