# SPDX-License-Identifier: Apache-2.0
"""Real processes that are stopped from outside: Ctrl-C, files that may not grow, a disk that is full."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from clips import write_clip
from model_files import our_file
from waiting import PATIENCE

from longtake.outputs import read_cameras, read_depth, read_ply, read_tum
from longtake.outputs.manifest import read_manifest

pytestmark = pytest.mark.skipif(os.name != "posix", reason="signals and limits of the POSIX kind")
LENGTH = 1500


@pytest.fixture(scope="module")
def command(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A command line that reconstructs a long video with a tiny model; it lacks --out."""
    folder = tmp_path_factory.mktemp("long")
    clip, weights = write_clip(folder / "long.mp4", LENGTH), our_file(folder / "tiny.safetensors")
    words = ["reconstruct", str(clip), "--weights", str(weights), "--device", "cpu", "--json"]
    return [sys.executable, "-m", "longtake", *words]


def start(command: list[str], out: Path, before: Callable[[], None] = lambda: None) -> subprocess.Popen[str]:
    def prepare() -> None:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # a shell lets its background jobs, and their children, ignore it
        before()

    return subprocess.Popen(
        [*command, "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        preexec_fn=prepare,  # noqa: PLW1509 (this process has no threads of its own that hold locks)
    )


def frames_in(out: Path) -> int:
    """Read the whole take, and return how many frames all its files agree on."""
    cameras = read_cameras(out / "cameras.json")["frames"]
    assert len(read_tum(out / "trajectory.txt").times) == len(cameras)
    assert len(read_ply(out / "cloud.ply").points) == sum(camera["cloud"][1] for camera in cameras)
    assert len(list((out / "depth").glob("*.png"))) == len(cameras)
    assert read_depth(out / cameras[-1]["depth"]).shape == (32, 64)
    return len(cameras)


def status_of(out: Path) -> str:
    found = read_manifest(out / "manifest.json")
    assert found is not None
    return found["status"]


def wait_for(condition: Callable[[], Any], process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None or condition(), process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_ctrl_c_in_the_middle_leaves_a_whole_take(command: list[str], tmp_path: Path) -> None:
    process = start(command, tmp_path)
    wait_for((tmp_path / "depth" / "000020.png").exists, process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    told = json.loads(out)
    assert process.returncode == 130 and "Traceback" not in err
    assert f"stopped after {told['frames']} frames; they are complete and readable in" in err
    assert told["status"] == "interrupted" == status_of(tmp_path)
    assert 20 <= frames_in(tmp_path) == told["frames"] < LENGTH
    assert (tmp_path / "report.html").is_file() and (tmp_path / "report.png").is_file()
    assert not list(tmp_path.glob("*.part"))


def test_ctrl_c_twice_gives_up_the_report_only(command: list[str], tmp_path: Path) -> None:
    process = start(command, tmp_path)
    wait_for((tmp_path / "depth" / "000020.png").exists, process)
    process.send_signal(signal.SIGINT)
    wait_for(lambda: (tmp_path / "manifest.json").is_file() and status_of(tmp_path) == "interrupted", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and "Traceback" not in err
    assert json.loads(out)["frames"] == frames_in(tmp_path)


def test_ctrl_c_before_the_first_frame_leaves_nothing(command: list[str], tmp_path: Path) -> None:
    process = start(command, tmp_path / "out")
    maps = Path(f"/proc/{process.pid}/maps")
    if maps.exists():  # Linux shows when torch begins to load, which is after the command line is read
        wait_for(lambda: "libtorch" in maps.read_text(), process)
    else:
        time.sleep(0.5)  # torch alone takes longer to import
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and err == "longtake: stopped\n" and out == ""
    assert not (tmp_path / "out").exists()


def limit_files(size: int) -> Callable[[], None]:
    """Forbid the process files larger than `size` bytes."""

    def act() -> None:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))

    return act


def test_a_file_that_may_not_grow_ends_the_take_with_what_is_done(command: list[str], tmp_path: Path) -> None:
    process = start(command, tmp_path, limit_files(300_000))
    out, err = process.communicate(timeout=300)
    assert process.returncode == 2 and "Traceback" not in err
    frames = frames_in(tmp_path)
    assert 2 <= frames < LENGTH
    (line,) = [line for line in err.splitlines() if line.startswith("longtake: ")]
    assert f"frame {frames} could not be written (File too large). Free some room" in line
    assert f"Complete and readable: the first {frames} frames" in line
    assert line == "longtake: " + json.loads(out)["error"]
    assert status_of(tmp_path).startswith("failed: ")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = shutil.which("mount") and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if not made or made.returncode:
        pytest.skip("a small disk cannot be mounted here (that takes root); RLIMIT_FSIZE stands in for it")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_ends_the_take_with_what_is_done(command: list[str], small_disk: Path) -> None:
    out = small_disk / "out"
    process = start(command, out)
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2 and "Traceback" not in err
    assert "could not be written (No space left on device). Free some room or choose a folder on another disk" in err
    frames = frames_in(out)
    assert frames >= 5 and f"Complete and readable: the first {frames} frames" in err
    assert status_of(out).startswith("failed: ")


def test_a_disk_that_was_full_before(command: list[str], small_disk: Path) -> None:
    with pytest.raises(OSError, match="No space"), (small_disk / "filler").open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    process = start(command, small_disk / "out")
    _, err = process.communicate(timeout=300)
    assert process.returncode == 2 and "Traceback" not in err
    assert "results cannot be written here (No space left on device). Give a folder" in err
