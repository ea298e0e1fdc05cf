# SPDX-License-Identifier: Apache-2.0
"""The wheel: all that is needed is in it, and without an extra every verb works or names the extra to install."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
import venv
import zipfile
from collections.abc import Mapping
from email.parser import Parser
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from longtake import __version__, cli

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = ROOT / "tests" / "wheel_verbs.py"
VIDEO = ROOT / "examples" / "office_walk.mp4"
MODULES = {  # that an extra brings and Longtake imports
    "eval": ("scipy",),
    "solve": ("cv2", "yaml"),
    "hub": ("huggingface_hub",),
    "view": ("viser",),
    "rerun": ("rerun", "rerun_sdk"),
    "mesh": ("open3d",),
    "serve": ("fastapi", "uvicorn", "websockets", "starlette"),
}
NEEDS = {  # which extra a run wants; all others want none
    "evaluate": "eval",
    "export mesh": "mesh",
    "export rrd": "rerun",
    "reconstruct --camera solve": "solve",
    "reconstruct --distortion": "solve",
    "reconstruct --lens YAML": "solve",
    "reconstruct --loop-closure": "eval",
    "reconstruct --weights hub": "hub",
    "view": "view",
    "serve": "serve",
}
SAYS = {  # what ends in an error in any case, as it must
    "live": "cannot be read",
    "convert": "no such file",
    "view": "no such folder",
    "serve": "token",
    "reconstruct --weights hub": "",  # no network here: whatever the hub's library says of that
}
SLOW = ("train", "finetune", "data synthesize", "data check", "evaluate")


def extras() -> list[str]:
    """The extras of pyproject.toml that bring something to run."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    return [name for name in project["optional-dependencies"] if name in MODULES]


def build(kind: str, folder: Path) -> Path:
    """Build the wheel or the sdist with the backend itself, which reaches no network."""
    words = [sys.executable, "-m", "hatchling", "build", "--target", kind, "--directory", str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    (made,) = (path for path in folder.iterdir() if path.suffix in (".whl", ".gz"))
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if find_spec("hatchling") is None:
        pytest.skip("needs hatchling, which the extra dev brings")
    return build("wheel", tmp_path_factory.mktemp("wheel"))


def run_verbs(
    python: str, work: Path, absent: tuple[str, ...], left_out: tuple[str, ...], **env: str
) -> dict[str, Any]:
    """Run the verbs in a process of their own, in their own folder; return how each ended."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "PIP_TARGET"))}
    done = subprocess.run(
        [python, str(PROGRAM), str(work), str(VIDEO), ",".join(absent), ",".join(left_out)],
        cwd=work,
        env=clean | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "XDG_CACHE_HOME": str(work / "cache")} | env,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def judge(ended: Mapping[str, Any], present: frozenset[str]) -> None:
    """Every run worked, or said what is wrong and, where that is an extra, how to install it."""
    for name, (code, out, err, _) in ended.items():
        wanted = NEEDS.get(name)
        if wanted is not None and wanted not in present:
            assert code == 2 and f"pip install 'longtake[{wanted}]'" in err, f"{name}: {code} {err}"
        elif name in SAYS:
            assert code == 2 and SAYS[name] in err and "pip install" not in err, f"{name}: {code} {err}"
        else:
            assert code == 0, f"{name}: {code} {out} {err}"
    for extra in MODULES:
        named = f"pip install 'longtake[{extra}]'" in ended["doctor"][1]
        assert named == (extra not in present), f"doctor: {extra}"


def test_the_wheel_holds_all_that_it_needs_and_no_more(wheel: Path) -> None:
    assert wheel.name == f"longtake-{__version__}-py3-none-any.whl"
    assert wheel.stat().st_size < 40_000_000
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = f"longtake-{__version__}.dist-info"
        metadata = Parser().parsestr(archive.read(f"{about}/METADATA").decode())
        scripts = archive.read(f"{about}/entry_points.txt").decode()
        weights = archive.read("longtake/weights/longtake-small.safetensors")
        for name in ("LICENSE", "NOTICE"):
            assert archive.read(f"{about}/licenses/{name}") == (ROOT / name).read_bytes()
    files = {f"longtake/{path.relative_to(ROOT / 'src/longtake').as_posix()}" for path in sources()}
    assert {name for name in names if not name.startswith(about)} == files, "the package, whole, and nothing else"
    assert {"longtake/py.typed", "longtake/serve/pages/page.html", "longtake/outputs/viewer.js"} <= names
    assert weights == (ROOT / "src/longtake/weights/longtake-small.safetensors").read_bytes()
    assert metadata["License-Expression"] == "Apache-2.0" and metadata["Requires-Python"] == ">=3.11"
    assert set(extras()) == set(MODULES) and set(extras()) <= set(metadata.get_all("Provides-Extra") or [])
    assert "longtake = longtake.cli:main" in scripts
    core = [line for line in metadata.get_all("Requires-Dist") or [] if "extra ==" not in line]
    assert not [line for line in core if "<" in line], "no upper bounds"


def sources() -> list[Path]:
    """Files of the package, without what Python leaves beside them."""
    return [path for path in (ROOT / "src/longtake").rglob("*") if path.is_file() and "__pycache__" not in path.parts]


def test_without_extras_every_verb_works_or_names_its_extra(wheel: Path, tmp_path: Path) -> None:
    unpacked, work = tmp_path / "site", tmp_path / "work"
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(unpacked)
    work.mkdir()
    absent = tuple(module for each in MODULES.values() for module in each) + ("trimesh", "pycolmap", "beartype")
    ended = run_verbs(sys.executable, work, absent, SLOW, PYTHONPATH=str(unpacked))
    assert ended.pop("where") == str(unpacked / "longtake"), "what was run is the wheel"
    names = {" ".join(verb.split()[:2]) for verb in cli.VERBS}
    assert names <= {*ended, *SLOW}, "every verb is run"
    judge(ended, frozenset())


@pytest.mark.slow
@pytest.mark.parametrize("extra", ["", *MODULES])
def test_installed_alone(wheel: Path, extra: str, tmp_path: Path, base: Path) -> None:
    """In an environment of its own with the core's libraries, and those of one extra beside them."""
    python = environment(tmp_path / "venv", base)
    if extra:
        install(python, f"{wheel}[{extra}]")
    work = tmp_path / "work"
    work.mkdir()
    ended = run_verbs(str(python), work, (), ("train", "finetune") if extra else ())  # no extra is of use to them
    assert "site-packages" in ended.pop("where")
    judge(ended, frozenset([extra]) if extra else frozenset())


@pytest.mark.slow
def test_the_sdist_builds_the_same_package(wheel: Path, tmp_path: Path) -> None:
    sdist = build("sdist", tmp_path)
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    (folder,) = (tmp_path / "unpacked").iterdir()
    assert (folder / "tests" / "test_wheel.py").is_file() and (folder / "examples" / VIDEO.name).is_file()
    words = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", str(tmp_path / "again")]
    subprocess.run(words, cwd=folder, check=True, capture_output=True)
    (again,) = (tmp_path / "again").iterdir()
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(again) as two:
        assert {(each.filename, each.CRC) for each in one.infolist()} == {(e.filename, e.CRC) for e in two.infolist()}


@pytest.fixture(scope="module")
def base(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clean environment with the wheel and nothing but what it asks for; its site-packages."""
    python = environment(tmp_path_factory.mktemp("base") / "venv")
    install(python, str(wheel))
    return site_of(python)


def environment(folder: Path, below: Path | None = None) -> Path:
    """Make a virtual environment that sees another's packages, or none but its own; return its Python."""
    venv.create(folder, with_pip=True, symlinks=os.name != "nt")
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if below is not None:
        (site_of(python) / "base.pth").write_text(f"{below}\n", "utf-8")
    return python


def site_of(python: Path) -> Path:
    code = "import sysconfig; print(sysconfig.get_path('purelib'))"
    return Path(subprocess.check_output([python, "-I", "-c", code], text=True).strip())


def install(python: Path, what: str) -> None:
    """Install with pip as it is set up here; skip where it reaches no registry."""
    words = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*words, "--constraint", str(ROOT / "constraints.txt"), what], capture_output=True, text=True, check=False
    )
    if done.returncode and "No matching distribution" in done.stderr:
        pytest.skip(f"pip cannot install {what.rpartition('/')[2]} here")
    assert done.returncode == 0, done.stderr[-2000:]
