# SPDX-License-Identifier: Apache-2.0
"""The command line from the outside: speed, help, exit codes, what goes to stdout and what to stderr."""

from __future__ import annotations

import ast
import subprocess
import sys
import time
from pathlib import Path

import pytest

from longtake import __version__, cli

VERBS_FOLDER = Path(cli.__file__).parent / "verbs"


def _longtake(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "longtake", *words],
        cwd=cwd,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )


def test_help_is_fast_and_lists_every_verb() -> None:
    seconds = []
    for _ in range(3):  # the best of three: a busy machine may be slow, a heavy import is slow each time
        start = time.perf_counter()
        result = _longtake("--help")
        seconds.append(time.perf_counter() - start)
        assert result.returncode == 0
    assert min(seconds) < 0.5
    assert all(verb in result.stdout for verb in cli.VERBS)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; from longtake.cli import main; assert main(['--help']) == 0;"
        "print({'torch', 'numpy', 'av', 'PIL', 'tyro', 'rich', 'safetensors'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "set()"


def test_verbs_and_files_agree() -> None:
    files = {path.stem for path in VERBS_FOLDER.glob("*.py")} - {"__init__"}
    assert files == {verb.replace(" ", "_") for verb in cli.VERBS}


@pytest.mark.parametrize("verb", cli.VERBS)
def test_each_verb_is_a_typed_function_with_a_contract(verb: str) -> None:
    tree = ast.parse((VERBS_FOLDER / f"{verb.replace(' ', '_')}.py").read_text(encoding="utf-8"))
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    docstring = ast.get_docstring(main)
    arguments = main.args.posonlyargs + main.args.args + main.args.kwonlyargs
    assert docstring
    assert main.returns is not None
    assert all(argument.annotation is not None for argument in arguments)
    undocumented = [argument.arg for argument in arguments if f"{argument.arg}:" not in docstring]
    assert not undocumented, "every flag needs a line of help"


@pytest.mark.parametrize("verb", cli.VERBS)
def test_each_verb_has_help_and_needs_no_torch_for_it(verb: str) -> None:
    code = (
        f"import sys; from longtake.cli import main\n"
        f"try: main({[*verb.split(), '--help']!r})\n"
        f"except SystemExit as end: print('torch' in sys.modules, end.code)"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert f"usage: longtake {verb}" in result.stdout
    assert result.stdout.splitlines()[-1] == "False 0"


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"longtake {__version__}"


def test_no_verb_is_wrong_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "reconstruct" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "suggestion"),
    [
        (["reconstrct"], "`longtake reconstruct`"),
        (["modles"], "`longtake models`"),
        (["data"], "`longtake data synthesize`"),
        (["data", "syntesize"], "`longtake data synthesize`"),
        (["zzz"], "`longtake --help`"),
    ],
)
def test_an_unknown_verb_suggests_near_ones(
    words: list[str], suggestion: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(words) == 2
    captured = capsys.readouterr()
    assert suggestion in captured.err
    assert not captured.out


def test_an_unknown_flag_is_wrong_use_and_not_a_traceback() -> None:
    result = _longtake("reconstruct", "clip.mp4", "--no-such-flag")
    assert result.returncode == 2
    assert "Traceback" not in result.stderr


def test_output_cut_by_the_reader_is_no_error() -> None:
    command = f"{sys.executable} -m longtake rules | head -c 1"
    result = subprocess.run(["bash", "-c", command], capture_output=True, text=True, check=True)
    assert not result.stderr


def test_rules_lists_the_rules(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["rules"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert {"overwrite", "ttt3r"} <= set(names)
