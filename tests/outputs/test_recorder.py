# SPDX-License-Identifier: Apache-2.0
"""A take on disk: it grows frame by frame, is whole at every moment, and its manifest tells the truth."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from take_maker import RUN, pose, prediction, record
from waiting import PATIENCE

from longtake.errors import OutputError
from longtake.outputs import Recorder, read_cameras, read_depth, read_ply, read_tum
from longtake.outputs.cameras import read_lines
from longtake.outputs.manifest import read_manifest
from longtake.outputs.pictures import read_confidence

FOLDERS = ["confidence", "depth", "images"]
TOP = sorted(["cameras.json", "cloud.ply", *FOLDERS, "manifest.json", "report.html", "report.png", "trajectory.txt"])


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def manifest(folder: Path) -> dict[str, Any]:
    found = read_manifest(folder / "manifest.json")
    assert found is not None
    return found


def test_a_take_leaves_all_its_files_and_their_hashes(tmp_path: Path) -> None:
    recorder = record(tmp_path / "out", 9, points_per_frame=50)
    out = recorder.out
    assert names(out) == TOP
    assert names(out / "depth") == [f"{i:06d}.png" for i in range(9)] + ["depth.json"]
    told = manifest(out)
    files = {p.relative_to(out).as_posix(): p.read_bytes() for p in out.rglob("*") if p.is_file()}
    assert set(told["files"]) == set(files) - {"manifest.json"}
    for name, entry in told["files"].items():
        assert entry == {"sha256": hashlib.sha256(files[name]).hexdigest(), "bytes": len(files[name])}, name
    assert told["status"] == "complete" and told["frames"] == 9 and told["points"] == 450
    assert told["is_metric"] is False and told["seed"] == 7 and told["cloud"]["points_per_frame"] == 50


def test_the_files_agree_with_each_other_and_with_the_predictions(tmp_path: Path) -> None:
    record(tmp_path, 5, report=False)
    cameras = read_cameras(tmp_path / "cameras.json")["frames"]
    path, cloud = read_tum(tmp_path / "trajectory.txt"), read_ply(tmp_path / "cloud.ply")
    np.testing.assert_allclose(path.times, [0, 0.1, 0.2, 0.3, 0.4], atol=1e-6)
    for i, camera in enumerate(cameras):
        frame = prediction(i)
        np.testing.assert_allclose(path.world_from_cam[i], pose(i), atol=1e-6)
        np.testing.assert_allclose(camera["world_from_cam"], pose(i), atol=1e-7)
        depth = read_depth(tmp_path / camera["depth"])
        np.testing.assert_allclose(depth, frame.depth.numpy(), atol=0.51e-3)
        sureness = read_confidence(tmp_path / camera["confidence"])
        np.testing.assert_allclose(sureness, frame.confidence.numpy(), rtol=1.0e-4)
        image = np.asarray(Image.open(tmp_path / camera["image"]), np.float64)
        assert np.abs(image - frame.image.numpy()).mean() < 3
        first, count = camera["cloud"]
        points = {tuple(p) for p in frame.points.reshape(-1, 3).tolist()}
        assert {tuple(p) for p in cloud.points[first : first + count].tolist()} <= points
        assert 460 <= count < 470  # keep_percentile is 60 of 768; ties stay
    note = json.loads((tmp_path / "depth" / "depth.json").read_text())
    assert note["scale"] == 1000 and note["frames"] == 5 and note["sizes"] == [[32, 24]]


def test_everything_is_on_disk_after_every_frame(tmp_path: Path) -> None:
    with Recorder(tmp_path, RUN, points_per_frame=10, report=False) as recorder:
        assert manifest(tmp_path)["status"] == "running"
        for i in range(4):
            recorder.add(prediction(i))
            assert len(read_ply(tmp_path / "cloud.ply").points) == 10 * (i + 1) == recorder.points
            assert len(read_tum(tmp_path / "trajectory.txt").times) == i + 1 == recorder.frames
            assert len(list(read_lines(tmp_path / "cameras.jsonl.part"))) == i + 1
            for folder, suffix in (("depth", "png"), ("confidence", "png"), ("images", "jpg")):
                assert names(tmp_path / folder) == [f"{k:06d}.{suffix}" for k in range(i + 1)]


ENDLESS = """
import sys
from itertools import count
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from PIL import Image
from take_maker import RUN, prediction
from longtake.outputs import Recorder
with Recorder(Path(sys.argv[1]), RUN, points_per_frame=300) as recorder:
    for i in count():
        recorder.add(prediction(i))
"""


def test_what_a_killed_process_leaves_is_readable_and_the_next_take_clears_it(tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = subprocess.Popen([sys.executable, "-c", ENDLESS, str(out), str(Path(__file__).parents[1])])
    try:
        deadline = time.monotonic() + PATIENCE
        while not (out / "depth" / "000040.png").exists():
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.send_signal(signal.SIGKILL if hasattr(signal, "SIGKILL") else signal.SIGTERM)
        process.wait()
    cameras = list(read_lines(out / "cameras.jsonl.part"))
    frames = len(cameras)
    assert frames >= 40
    # A kill falls between two writes at most: each file is whole and at most one frame ahead of the next.
    cloud, path = read_ply(out / "cloud.ply"), read_tum(out / "trajectory.txt")
    assert len(cloud.points) in (300 * frames, 300 * (frames + 1))
    assert len(path.times) in (frames, frames + 1)
    assert read_depth(out / cameras[-1]["depth"]).shape == (24, 32)
    np.testing.assert_allclose(path.world_from_cam[frames - 1], cameras[-1]["world_from_cam"], atol=1e-6)
    assert manifest(out)["status"] == "running"
    (out / "my notes.txt").write_text("not of Longtake")
    record(out, 3, report=False)
    assert names(out) == sorted({*TOP, "my notes.txt"} - {"report.html", "report.png"})
    assert len(names(out / "depth")) in (4, 5)  # a map whose line was not written is unknown
    assert len(read_tum(out / "trajectory.txt").times) == 3


def test_a_shorter_take_replaces_a_longer_one_and_nothing_else(tmp_path: Path) -> None:
    record(tmp_path, 8)  # with a report
    for name in ("depth/9.png", "depth/my.png", "notes.txt", "000000.png"):
        (tmp_path / name).write_text("mine")
    record(tmp_path, 2, report=False)
    assert names(tmp_path) == sorted({*TOP, "notes.txt", "000000.png"} - {"report.html", "report.png"})
    assert names(tmp_path / "depth") == ["000000.png", "000001.png", "9.png", "depth.json", "my.png"]
    assert set(manifest(tmp_path)["files"]) == {
        "cloud.ply",
        "trajectory.txt",
        "cameras.json",
        "depth/depth.json",
        *(f"{kind}/00000{k}.png" for kind in ("depth", "confidence") for k in range(2)),
        *(f"images/00000{k}.jpg" for k in range(2)),
    }
    assert names(tmp_path / "images") == ["000000.jpg", "000001.jpg"]


@pytest.mark.parametrize("error", [RuntimeError("a fault in /a/b/c.py"), KeyboardInterrupt(), SystemExit(3)])
def test_an_error_in_the_middle_passes_on_and_the_files_are_whole(error: BaseException, tmp_path: Path) -> None:
    with pytest.raises(type(error)), Recorder(tmp_path, RUN, report=False) as recorder:
        for i in range(3):
            recorder.add(prediction(i))
        raise error
    assert names(tmp_path) == sorted({*TOP} - {"report.html", "report.png"})
    assert len(read_cameras(tmp_path / "cameras.json")["frames"]) == 3
    status = manifest(tmp_path)["status"]
    assert status == ("failed: a fault in c.py" if isinstance(error, Exception) else "interrupted")
    assert status == recorder.status == recorder.summary()["status"]


def test_a_frame_that_cannot_be_written_is_taken_back_from_every_file(tmp_path: Path) -> None:
    wanted = r"frame 2 could not be written \(Is a directory\)"
    with pytest.raises(OutputError, match=wanted) as caught, Recorder(tmp_path, RUN, points_per_frame=7) as recorder:
        recorder.add(prediction(0))
        recorder.add(prediction(1))
        (tmp_path / "depth" / "000002.png").mkdir()
        recorder.add(prediction(2))
    text = str(caught.value)
    assert "Complete and readable: the first 2 frames, 14 points (cloud.ply, trajectory.txt, cameras.json" in text
    assert len(read_ply(tmp_path / "cloud.ply").points) == 14
    assert len(read_tum(tmp_path / "trajectory.txt").times) == 2
    assert len(read_cameras(tmp_path / "cameras.json")["frames"]) == 2
    assert manifest(tmp_path)["status"].startswith("failed: ")


def test_a_frame_that_fails_halfway_is_taken_back_too(tmp_path: Path) -> None:
    with Recorder(tmp_path, RUN, points_per_frame=7, report=False) as recorder:
        recorder.add(prediction(0))
        with pytest.raises(IndexError):
            recorder.add(prediction(1, world_from_cam=torch.eye(3)))  # depth and points come before the pose
        assert recorder.frames == 1 and recorder.points == 7 == len(read_ply(tmp_path / "cloud.ply").points)
        assert names(tmp_path / "depth") == ["000000.png"]
        recorder.add(prediction(2))
    assert [camera["index"] for camera in read_cameras(tmp_path / "cameras.json")["frames"]] == [0, 6]
    assert len(read_tum(tmp_path / "trajectory.txt").times) == 2


def test_files_that_cannot_be_finished_are_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError) as caught, Recorder(tmp_path, RUN) as recorder:
        recorder.add(prediction(0))
        (tmp_path / "cameras.json").mkdir()
        (tmp_path / "report.png").mkdir()
    text = str(caught.value)
    assert "Complete and readable: the first 1 frames" in text
    assert "Not there: cameras.json could not be written" in text and "the report could not be written" in text
    assert (tmp_path / "cameras.jsonl.part").is_file()  # the cameras are still there, line by line
    assert "cameras.json" in manifest(tmp_path)["notes"][0]
    assert not list(tmp_path.glob("*.png.part"))


@pytest.mark.parametrize("make", [lambda p: p.write_text("a file"), lambda p: (p / "cloud.ply").mkdir(parents=True)])
def test_a_folder_that_cannot_be_used_is_named_before_the_first_frame(make: Any, tmp_path: Path) -> None:
    make(tmp_path / "out")
    wanted = r"out: results cannot be written here .*Give a folder"
    with pytest.raises(OutputError, match=wanted), Recorder(tmp_path / "out", RUN):
        pytest.fail("the block must not run")


def test_a_take_without_frames_says_so(tmp_path: Path) -> None:
    recorder = record(tmp_path, 0)
    assert names(tmp_path) == TOP and "no frame was reconstructed" in recorder.notes[0]
    assert recorder.summary()["latency_p50"] is None and recorder.summary()["fps"] == 0
    assert read_cameras(tmp_path / "cameras.json")["frames"] == []


def test_figures_are_those_of_the_frames(tmp_path: Path) -> None:
    recorder = record(tmp_path, 20, report=False)  # frame i took 0.01 (i + 1) seconds
    recorder.tell(state_bytes=5, peak_bytes=None)
    told = recorder.summary()
    assert told["latency_p50"] == pytest.approx(0.105) and told["latency_p95"] == pytest.approx(0.1905)
    assert told["fps"] == pytest.approx(20 / told["seconds"], rel=0.2)  # rounded to milliseconds
    assert told["state_bytes"] == 5
    begin = time.perf_counter()
    with Recorder(tmp_path, RUN, report=False) as timed:
        for i in range(3):
            time.sleep(0.02)
            timed.add(prediction(i))
    whole = time.perf_counter() - begin
    assert 0.02 <= timed.summary()["latency_p50"] < whole / 2 + 1e-4  # measured by itself where nobody tells


def test_what_is_odd_becomes_a_note(tmp_path: Path) -> None:
    lost = torch.full((4, 4), torch.nan)
    with Recorder(tmp_path, RUN, points_per_frame=10, max_points=25, report=False) as recorder:
        recorder.add(prediction(0, depth=prediction(0).depth + 70))
        recorder.add(prediction(1, world_from_cam=lost, points=torch.full((24, 32, 3), torch.nan)))
        for i in range(2, 6):
            recorder.add(prediction(i))
    assert recorder.points == 25 == len(read_ply(tmp_path / "cloud.ply").points)
    assert len(read_tum(tmp_path / "trajectory.txt").times) == 5
    assert read_cameras(tmp_path / "cameras.json")["frames"][1]["world_from_cam"] is None
    notes = "; ".join(manifest(tmp_path)["notes"])
    assert (
        "max_points = 25" in notes and "768 depth pixels were too far" in notes and "1 frames have no finite" in notes
    )


def test_wrong_options_are_refused_before_anything_is_touched(tmp_path: Path) -> None:
    for wrong in ({"keep_percentile": 0}, {"keep_percentile": 101}, {"points_per_frame": -1}, {"max_points": -1}):
        with pytest.raises(ValueError, match="keep_percentile|cannot be negative"):
            Recorder(tmp_path / "out", RUN, **wrong)  # type: ignore[arg-type]
    assert not os.listdir(tmp_path)
