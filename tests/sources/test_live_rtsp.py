# SPDX-License-Identifier: Apache-2.0
"""A live take from a real RTSP server whose connection is cut in the middle: the whole way, to complete files."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from stream_server import SIZE, StreamServer, number_of, numbered

from longtake import cli
from longtake.frame import Frame
from longtake.meter import resident_bytes
from longtake.outputs import read_cameras, read_ply, read_tum
from longtake.outputs.take import read_take
from longtake.scene import Progress, reconstruct
from longtake.sources import LiveSource
from longtake.sources.selection import Picker, Selection

SYSTEM_PYTHON = "/usr/bin/python3"
_GST = "import gi; gi.require_version('GstRtspServer', '1.0'); from gi.repository import GstRtspServer"
HAS_GST = (
    os.path.exists(SYSTEM_PYTHON)
    and subprocess.run([SYSTEM_PYTHON, "-c", _GST], capture_output=True, check=False).returncode == 0
)
needs_gst = pytest.mark.skipif(
    not HAS_GST, reason="no GStreamer RTSP server: apt-get install gir1.2-gst-rtsp-server-1.0"
)


def film(path: Path, frames: int, fps: int) -> Path:
    """Write a film of numbered pictures that begins anew at every half second."""
    with av.open(str(path), "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"preset": "ultrafast", "tune": "zerolatency", "g": str(fps // 2), "crf": "20"}
        for number in range(frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
        container.mux(stream.encode(None))
    return path


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextmanager
def rtsp(port: int, path: Path) -> Iterator[None]:
    script = Path(__file__).with_name("rtsp_server.py")
    process = subprocess.Popen([SYSTEM_PYTHON, str(script), str(port), str(path)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        yield
    finally:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def numbers_in(take: Path) -> list[tuple[float, int]]:
    """Time of arrival and burnt-in number of every frame of a take, from the pictures that it kept."""
    found = []
    for frame in read_take(take).frames:
        with Image.open(frame.files["image"]) as image:
            found.append((frame.time, number_of(np.asarray(image.convert("RGB")))))
    return found


def assert_complete(out: Path) -> int:
    cameras = read_cameras(out / "cameras.json")["frames"]
    assert len(read_tum(out / "trajectory.txt").times) == len(cameras)
    assert len(read_ply(out / "cloud.ply").points) == sum(camera["cloud"][1] for camera in cameras)
    for camera in cameras:
        assert all((out / camera[kind]).is_file() for kind in ("depth", "confidence", "image"))
    assert not (out / "cameras.jsonl.part").exists()
    return len(cameras)


def lateness(seen: list[tuple[float, int]], fps: float) -> float:
    """How much later than the first of these frames any was seen, in seconds, as its number says."""
    times, numbers = np.array(seen).T
    late = (times - times[0]) - (numbers - numbers[0]) / fps
    return float(late.max() - min(late.min(), 0))


class Watched(LiveSource):
    """Notes when each frame is handed over to be processed, and its burnt-in number.

    Not the frame's own time, the clock of arrival: a frame that waited in a queue would not look old.
    """

    def __init__(self, source: str, **options: Any) -> None:
        super().__init__(source, **options)
        self.seen: list[tuple[float, int]] = []

    def _frames(self, picker: Picker) -> Generator[Frame, None, None]:
        for frame in super()._frames(picker):
            self.seen.append((time.monotonic(), number_of(frame.image)))
            yield frame


def outlive(
    tmp_path: Path,
    film_frames: int,
    cuts: tuple[float, float],
    at: Callable[[Progress], float],
    slow: float,
    **end: Any,
) -> tuple[list[int], int]:
    """Reconstruct a film from the RTSP server, which goes away where `at` passes the cuts and begins it anew.

    slow: seconds that each frame takes longer, so that the camera is faster than the model: a queue would soon be old.
    Checks that no frame was a second old when it was processed. Returns the memory after each frame, and how many.
    """
    path, port, out = film(tmp_path / "a.mkv", film_frames, 15), free_port(), tmp_path / "out"
    source = Watched(f"rtsp://127.0.0.1:{port}/camera", selection=Selection(**end), patience=20)
    told: list[Progress] = []
    sizes: list[int] = []
    left = list(cuts)
    with ExitStack() as server:
        server.enter_context(rtsp(port, path))

        def watch(progress: Progress) -> None:
            told.append(progress)
            sizes.append(resident_bytes() or 0)
            time.sleep(slow)
            if left and at(progress) >= left[0]:
                left.pop(0)
                server.close()
                server.enter_context(rtsp(port, path))

        scene = reconstruct(source, out=out, device="cpu", report=False, on_frame=watch)
    # a busy machine may time out once more than it is cut off
    assert source.reconnections >= len(cuts) > 0
    assert any(f"connected again {source.reconnections} time(s)" in note for note in scene.notes)
    assert assert_complete(out) == len(source.seen) == scene.frames
    assert [number for _, number in numbers_in(out)] == [number for _, number in source.seen]
    edges = [0, *(i for i in range(1, len(told)) if source.seen[i][1] < source.seen[i - 1][1]), len(told)]
    assert len(edges) == 4, source.seen
    parts = [source.seen[a:b] for a, b in zip(edges, edges[1:], strict=False)]
    late = max(lateness(part, 15) for part in parts)
    print(f"{len(told)} frames, the oldest {late:.2f} s old, {min(sizes) / 1e6:.0f} to {max(sizes) / 1e6:.0f} MB")
    assert late < 1 and all([n for _, n in part] == sorted({n for _, n in part}) for part in parts)
    assert len({progress.state_bytes for progress in told}) == 1
    return sizes, source.seen[-1][1]


@needs_gst
def test_a_short_take_from_rtsp_outlives_two_cuts(tmp_path: Path) -> None:
    """The take of two thousand frames below in small: five frames from each of three connections."""
    sizes, _ = outlive(tmp_path, 600, (5, 10), lambda progress: progress.frames, 0.25, max_frames=15)
    assert len(sizes) == 15
    assert max(sizes[5:]) < sizes[4] + 40e6, "memory grows with connections"


@pytest.mark.slow
@needs_gst
def test_two_thousand_frames_with_two_cuts(tmp_path: Path) -> None:
    sizes, last = outlive(tmp_path, 2000, (30, 60), lambda progress: progress.seconds, 0.0, end=185.0)
    assert last >= 1700  # 450 frames of the first two connections each, and nearly the whole film of the third
    assert len(sizes) > 100  # a busy machine drops frames, and is never late for that
    tenth = len(sizes) // 10
    assert max(sizes[-tenth:]) < 1.05 * max(sizes[tenth : 2 * tenth]), "memory grows"


@pytest.mark.slow
@needs_gst
def test_a_take_from_rtsp_outlives_a_cut(tmp_path: Path) -> None:
    path, port, out = film(tmp_path / "a.mkv", 900, 15), free_port(), tmp_path / "out"
    words = [
        "live",
        f"rtsp://127.0.0.1:{port}/camera",
        "--out",
        str(out),
        "--max-frames",
        "20",
        "--device",
        "cpu",
        "--json",
    ]
    with subprocess.Popen([sys.executable, "-m", "longtake", *words], stdout=subprocess.PIPE, text=True) as process:
        try:
            with rtsp(port, path):
                while not (out / "images" / "000008.jpg").exists():
                    assert process.poll() is None
                    time.sleep(0.02)
            time.sleep(0.4)
            with rtsp(port, path):  # which begins the film anew
                told, _ = process.communicate(timeout=120)
        finally:
            process.kill()
    report = json.loads(told)
    assert process.returncode == 0 and report["status"] == "complete, with notes"
    assert any("connected again 1 time(s)" in note for note in report["notes"])
    assert assert_complete(out) == report["frames"] >= 12
    seen = numbers_in(out)
    restart = next(i for i in range(1, len(seen)) if seen[i][1] < seen[i - 1][1])
    for part in (seen[:restart], seen[restart:]):
        assert [n for _, n in part] == sorted(n for _, n in part) and lateness(part, 15) < 1


def test_ctrl_c_ends_a_live_take_with_every_file(tmp_path: Path) -> None:
    out = tmp_path / "out"
    with StreamServer(15) as server:
        words = [sys.executable, "-m", "longtake", "live", server.url, "--out", str(out), "--device", "cpu", "--json"]
        with subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                while not (out / "images" / "000005.jpg").exists():
                    assert process.poll() is None
                    time.sleep(0.02)
                process.send_signal(signal.SIGINT)
                told, errors = process.communicate(timeout=60)
            finally:
                process.kill()
    assert process.returncode == 130 and "Traceback" not in errors
    report = json.loads(told)
    # The sixth frame's picture was there; the frame itself is taken back where the signal came before its end.
    assert report["status"] == "interrupted" and assert_complete(out) == report["frames"] >= 5
    assert (out / "report.html").is_file()
    # The frames are those of the camera, none is old, and the index counts the ones in between.
    seen = numbers_in(out)
    assert lateness(seen, 15) < 1
    frames = read_take(out).frames
    assert [frame.index for frame in frames] == sorted({frame.index for frame in frames})


def test_a_wrong_live_source_is_wrong_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["live", "clip.mp4", "--out", str(tmp_path / "out")]) == 2
    assert "not a live source" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
