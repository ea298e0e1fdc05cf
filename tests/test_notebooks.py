# SPDX-License-Identifier: Apache-2.0
"""The example notebooks run from top to bottom: small in each run of the tests, as they are among the slow ones.

A notebook is JSON: its code cells are read and executed as Python in one namespace, as a kernel would. A kernel itself
(nbclient, ipykernel, two dozen libraries and a process with sockets) would test Jupyter and not the notebooks, as no
cell has magic; and the handful of fields that Jupyter wants is checked here without a library for it.
"""

from __future__ import annotations

import ast
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from doc_blocks import make_clip

ROOT = Path(__file__).resolve().parents[1]
NOTEBOOKS = sorted((ROOT / "examples").glob("*.ipynb"))
SMALL: dict[str, dict[str, Any]] = {  # what stands in the cell tagged `parameters`, in the run of every day
    "compare_rules": {"FRAMES": 4, "RULES": ["overwrite", "ttt3r"]},
    "video_to_point_cloud": {"FRAMES": 3},
    "your_own_rule": {"FRAMES": 4},
}
notebooks = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def _read(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


def _source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def _cells(path: Path) -> list[dict[str, Any]]:
    return [cell for cell in _read(path)["cells"] if cell["cell_type"] == "code"]


def _sets_parameters(cell: dict[str, Any]) -> bool:
    return "parameters" in cell["metadata"].get("tags", [])


def _execute(source: str, where: str, names: dict[str, Any]) -> None:
    """Run a cell; what its last line is worth is shown as a notebook shows it, a picture as a PNG."""
    lines = ast.parse(source).body
    shown = [lines.pop()] if isinstance(lines[-1], ast.Expr) else []
    exec(compile(ast.Module(lines, []), where, "exec", dont_inherit=True), names)
    for line in shown:
        assert isinstance(line, ast.Expr)
        worth = eval(compile(ast.Expression(line.value), where, "eval", dont_inherit=True), names)
        picture = getattr(worth, "_repr_png_", None)
        assert picture() if picture else repr(worth), f"{where} shows nothing"


def test_there_is_a_small_form_of_each() -> None:
    assert [path.stem for path in NOTEBOOKS] == sorted(SMALL)


@notebooks
def test_a_notebook_is_sound_and_carries_no_outputs(path: Path) -> None:
    book = _read(path)
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    names = [cell["id"] for cell in book["cells"]]
    assert len(set(names)) == len(names), "every cell has an id of its own (nbformat 4.5)"
    assert all(re.fullmatch(r"[\w-]{1,64}", name) for name in names)
    assert all(
        cell["cell_type"] in ("code", "markdown") and cell["metadata"].keys() <= {"tags"} for cell in book["cells"]
    )
    for cell in _cells(path):
        assert cell["outputs"] == []
        assert cell["execution_count"] is None
        ast.parse(_source(cell))  # no magic: it would need a kernel
    (parameters,) = filter(_sets_parameters, _cells(path))
    lines = ast.parse(_source(parameters)).body
    named = {word.id for line in lines for word in ast.walk(line) if isinstance(word, ast.Name)}
    assert SMALL[path.stem].keys() <= named


@notebooks
def test_a_notebook_runs(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_clip(tmp_path / "office_walk.mp4")
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {"__name__": "__notebook__"}
    for number, cell in enumerate(_cells(path)):
        _execute(_source(cell), f"{path.name}, code cell {number}", names)
        if _sets_parameters(cell):
            names |= SMALL[path.stem]


@pytest.mark.slow
@notebooks
def test_a_notebook_runs_as_it_is(path: Path, tmp_path: Path) -> None:
    shutil.copy(ROOT / "examples" / "office_walk.mp4", tmp_path)
    script = tmp_path / "notebook.py"
    script.write_text("\n\n".join(_source(cell) for cell in _cells(path)), encoding="utf-8")
    told = subprocess.run([sys.executable, str(script)], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stdout[-2000:] + told.stderr[-2000:]
