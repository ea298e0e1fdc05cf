# SPDX-License-Identifier: Apache-2.0
"""Whatever comes in, the end is a named error with a remedy or a partial result that says so: never a traceback.

Each case runs through the command line and through Python. Disks that are full and Ctrl-C are in test_cut_short.py.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from clips import picture, write_clip
from model_files import our_file
from odd_inputs import REFUSED, TAKEN, Maker
from PIL import Image

from longtake import cli
from longtake.errors import InputError, LongtakeError, OutputError
from longtake.outputs import read_cameras, read_tum
from longtake.scene import Scene, reconstruct


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(our_file(tmp_path_factory.mktemp("model") / "tiny.safetensors"))


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A video of 60 frames with its index in front."""
    return write_clip(tmp_path_factory.mktemp("clip") / "good.mp4", 60).read_bytes()


class Run:
    """Runs one source through the command line and through Python; their outcomes must agree."""

    def __init__(self, weights: str, out: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.weights, self.out, self.capsys = weights, out, capsys

    def command(self, *words: str) -> tuple[int, str, str]:
        """Return exit code, stdout and stderr."""
        given = ["--weights", self.weights, "--out", str(self.out), "--device", "cpu"]
        code = cli.main(["reconstruct", *words, *given])
        captured = self.capsys.readouterr()
        return code, captured.out, captured.err

    def python(self, source: str) -> Scene:
        """Return the scene; it lies in a folder of its own."""
        return reconstruct(
            source, weights=self.weights, device="cpu", report=False, out=self.out.with_name("from python")
        )

    def refused(self, source: str, *texts: str, error: type[LongtakeError] = InputError) -> None:
        """Both ways end in the same named error, and nothing is left behind."""
        code, out, err = self.command(source)
        assert code == 2 and out == "", (out, err)
        (line,) = [line for line in err.splitlines() if line.startswith("longtake: ")]
        assert line == err.strip()
        for text in texts:
            assert text in line
        with pytest.raises(error) as caught:
            self.python(source)
        assert f"longtake: {caught.value}" == line
        assert not self.out.exists()
        code, out, err = self.command(source, "--json")
        assert code == 2 and json.loads(out) == {"status": "failed", "error": str(caught.value)}

    def taken(self, source: str, frames: int, *, note: str = "") -> Scene:
        """Both ways give the same frames, and say what is missing."""
        code, out, err = self.command(source, "--json", "--quiet")
        told = json.loads(out)
        assert code == 0 and err == "" and told["status"] == ("complete, with notes" if note else "complete")
        assert told["frames"] == frames
        assert (note in "; ".join(told["notes"])) if note else told["notes"] == []
        scene = self.python(source)
        assert scene.frames == frames and list(scene.notes) == told["notes"]
        assert len(read_cameras(self.out / "cameras.json")["frames"]) == frames
        assert len(read_tum(self.out / "trajectory.txt").times) == frames
        return scene


@pytest.fixture
def run(weights: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    return Run(weights, tmp_path / "results" / "out", capsys)


@pytest.mark.parametrize(("make", "texts"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_what_cannot_be_used_is_named_with_a_remedy(
    make: Maker, texts: tuple[str, ...], run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    run.refused(make(folder), *texts)


@pytest.mark.parametrize(("make", "frames"), TAKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_unusual_pictures_are_taken(make: Maker, frames: int, run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    run.taken(make(folder), frames)


def test_pictures_of_mixed_sizes_are_one_take(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    sizes = [(96, 64), (64, 96), (50, 50), (96, 64), (1, 1)]
    for i, (width, height) in enumerate(sizes):
        Image.fromarray(picture(i, width, height)).save(folder / f"{i}.png")
    run.taken(str(folder), 5)
    cameras = read_cameras(run.out / "cameras.json")["frames"]
    assert [tuple(camera["original_size"]) for camera in cameras] == sizes
    assert cameras[0]["size"] == [64, 32] and cameras[1]["size"] == [32, 64] and cameras[2]["size"] == [64, 64]
    assert json.loads((run.out / "depth" / "depth.json").read_text())["sizes"] == [[32, 64], [64, 32], [64, 64]]


def test_a_cut_off_video_gives_what_is_there_and_says_so(clip: bytes, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "cut.mp4"
    path.write_bytes(clip[: int(len(clip) * 0.6)])
    code, out, _ = run.command(str(path))
    frames = int(out.split(" frames")[0])
    assert code == 0 and 20 < frames < 50
    assert "note: the file is cut off or damaged: its header promises 4.00 s" in out
    run.taken(str(path), frames, note="the file is cut off or damaged")
    code, out, err = run.command(str(path), "--quiet")
    assert code == 0 and out == "" and "longtake: note: the file is cut off" in err  # quiet is not silent about damage
    told = json.loads((run.out / "manifest.json").read_text())
    assert told["status"] == "complete, with notes" and "cut off or damaged" in told["notes"][0]
    assert "cut off or damaged" in (run.out / "report.html").read_text()


def test_a_video_damaged_in_the_middle_gives_the_rest_and_says_so(clip: bytes, run: Run, tmp_path: Path) -> None:
    path = tmp_path / "damaged.mp4"
    data = bytearray(clip)
    middle = len(data) // 2
    data[middle : middle + len(data) // 20] = np.random.default_rng(0).bytes(len(data) // 20)
    path.write_bytes(data)
    code, out, _ = run.command(str(path), "--json", "--quiet")
    told = json.loads(out)
    assert code == 0 and 40 <= told["frames"] < 60
    assert any("damaged packet" in note or "broken frame" in note for note in told["notes"])
    assert run.python(str(path)).frames == told["frames"]


def test_unreadable_pictures_in_a_folder_are_skipped_and_named(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "input"
    folder.mkdir()
    for i in range(4):
        Image.fromarray(picture(i)).save(folder / f"{i}.png")
    (folder / "1.png").write_text("no picture\n")
    (folder / "2.png").write_bytes((folder / "2.png").read_bytes()[:300])
    scene = run.taken(str(folder), 2, note="2 unreadable picture(s) skipped")
    assert "1.png: this is text" in scene.notes[0] and "2.png: the picture is damaged" in scene.notes[0]
    assert [frame["index"] for frame in read_cameras(run.out / "cameras.json")["frames"]] == [0, 3]
    for name in ("manifest.json", "report.html", "cameras.json"):  # strangers may see the files, not the machine
        assert str(tmp_path) not in (run.out / name).read_text()
    assert "1.png: this is text" in (run.out / "report.html").read_text()


def test_names_that_are_no_text(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    try:
        folder.mkdir()
    except OSError:
        pytest.skip("this system takes only names that are text")
    Image.fromarray(picture(0)).save(folder / os.fsdecode(b"\xe9.png"))
    (folder / os.fsdecode(b"\xe9\xe9.png")).write_text("no picture\n")
    run.taken(str(folder), 1, note="1 unreadable picture(s) skipped")
    code, out, _ = run.command(str(folder))
    assert code == 0 and "?" in read_cameras(run.out / "cameras.json")["frames"][0]["name"]
    assert json.loads((run.out / "manifest.json").read_text())["source"]["name"] == "caf?"


@contextmanager
def nobody() -> Iterator[None]:
    """Give up root's right to read everything, if this is root."""
    if not hasattr(os, "geteuid"):
        pytest.skip("this system has no permissions of the POSIX kind")
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["a.mp4", "a.png", ""])
def test_files_and_folders_that_may_not_be_read(name: str, run: Run, tmp_path: Path) -> None:
    for folder in (tmp_path, *tmp_path.parents, Path(run.weights).parent):
        if "pytest" in str(folder):  # pytest keeps them private; nobody has to pass through
            folder.chmod(0o755)
    Path(run.weights).chmod(0o644)
    folder = tmp_path / "input"
    folder.mkdir()
    Image.fromarray(picture(0)).save(folder / "a.png")
    write_clip(folder / "a.mp4", 3)
    (folder / name).chmod(0)
    try:
        with nobody():
            run.refused(str(folder / name), "may not be read (permission denied)", "Change its permissions")
        (folder / name).chmod(0o755)
        folder.chmod(0o600)  # may be listed, but nothing in it may be looked at
        with nobody():
            run.refused(str(folder), "may not be read (permission denied)")
            run.refused(str(folder / "a.mp4"), "may not be read (permission denied)", "of its folder")
    finally:
        folder.chmod(0o755)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--stride", "0"], "stride=0; it must be a whole number, 1 or more"),
        (["--start", "3", "--end", "2"], "the end must come after the start"),
        (["--start", "99"], "none of its 60 frames is selected by start=99"),
        (["--fps", "0"], "fps=0"),
        (["--max-frames", "0"], "max_frames=0"),
        (["--reset-every", "0"], "reset_every=0; give the number of frames"),
        (["--size", "100"], "size 100: the longer side must be a multiple of 16"),
        (["--rule", "ttt4r"], "ttt3r"),
        (["--model", "longtake-smal"], "Did you mean 'longtake-small'"),
        (["--model", "cut3r-512"], "cut3r-512"),
    ],
)
def test_options_that_make_no_sense_are_named(
    words: list[str], text: str, clip: bytes, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "a.mp4").write_bytes(clip)
    code, out, err = run.command(str(tmp_path / "a.mp4"), *words)
    assert code == 2 and out == "" and text in err and err.startswith("longtake: ")
    assert not run.out.exists()


def test_a_folder_for_results_that_is_a_file(clip: bytes, run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(clip)
    run.out.parent.mkdir()
    run.out.write_text("I was here first")
    code, _, err = run.command(str(tmp_path / "a.mp4"))
    assert code == 2 and "results cannot be written here (File exists). Give a folder" in err
    assert run.out.read_text() == "I was here first"
    with pytest.raises(OutputError, match="Give a folder"):
        reconstruct(tmp_path / "a.mp4", weights=run.weights, out=run.out, device="cpu")
