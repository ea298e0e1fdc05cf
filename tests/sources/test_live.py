# SPDX-License-Identifier: Apache-2.0
"""Live sources against a real server on this machine: the newest frame, new connections, a clean end."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
from stream_server import SIZE, StreamServer, number_of, numbered

from longtake import cli
from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix
from longtake.geometry.lens import Lens, Undistortion
from longtake.outputs.take import read_take
from longtake.sources import LiveSource
from longtake.sources.address import parse_address
from longtake.sources.selection import Selection


def test_numbers_survive_the_picture() -> None:
    assert [number_of(numbered(n)) for n in (0, 1, 77, 4095)] == [0, 1, 77, 4095]


def test_a_slow_model_gets_the_newest_frame_and_the_rest_is_dropped() -> None:
    with StreamServer(30) as server:
        source = LiveSource(server.url, selection=Selection(max_frames=6), patience=0)
        seen, ages, times = [], [], []
        for frame in source:
            seen.append(number_of(frame.image))
            ages.append(time.monotonic() - server.sent_at[seen[-1]])
            times.append(frame.time)
            assert frame.image.shape == (SIZE[1], SIZE[0], 3)
            time.sleep(0.3)  # nine frames of the camera
    assert max(ages[1:]) < 0.3, "the queue is not bounded"
    steps = [b - a for a, b in zip(seen, seen[1:], strict=False)]
    assert min(steps) >= 5 and source.dropped > 20
    assert times[0] == 0 and times == sorted(times) and times[-1] == pytest.approx(1.5, abs=0.5)
    assert any("dropped to stay with the newest" in note for note in source.notes)


def test_a_broken_connection_is_made_again_and_numbers_go_on(tmp_path: Path) -> None:
    with StreamServer(30, cuts=(15, 45), pause=0.4, last=75) as server:
        source = LiveSource(server.url, patience=1.5, record=tmp_path / "kept.mkv")
        seen = [number_of(frame.image) for frame in source]
    assert seen == sorted(set(seen))
    assert min(seen) < 15 and any(27 <= n < 45 for n in seen) and any(57 <= n <= 75 for n in seen)
    assert not any(15 <= n < 25 for n in seen), "the server was away"
    told = " ".join(source.notes)
    assert "connected again 2 time(s)" in told and source.reconnections == 2
    assert "the stream ended" in told
    kept: list[int] = []
    for path in sorted(tmp_path.glob("kept*.mkv")):
        with av.open(str(path)) as container:
            kept += [number_of(picture.to_ndarray(format="rgb24")) for picture in container.decode(video=0)]
    assert set(seen) <= set(kept)


def test_what_never_answers_is_named_at_once() -> None:
    with StreamServer(30) as server:
        url = server.url
    begin = time.monotonic()
    with pytest.raises(InputError, match="cannot be read .*Connection refused"):
        list(LiveSource(url, patience=60))
    assert time.monotonic() - begin < 5


def test_a_pipe_is_read_to_its_end(tmp_path: Path) -> None:
    path = tmp_path / "a.ts"
    with av.open(str(path), "w", format="mpegts") as container:
        stream = container.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        for number in range(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered(number), format="rgb24")))
        container.mux(stream.encode(None))
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from longtake.sources import LiveSource\n"
        "from stream_server import number_of\n"
        "print(*(number_of(frame.image) for frame in LiveSource('-')))"
    )
    with path.open("rb") as data:
        told = subprocess.run(
            [sys.executable, "-c", code, str(Path(__file__).parent)],
            stdin=data,
            capture_output=True,
            text=True,
            check=True,
        )
    numbers = [int(word) for word in told.stdout.split()]
    assert numbers and numbers == sorted(numbers) and numbers[-1] >= 35


def test_addresses_keep_their_secrets_and_cannot_lead_to_files() -> None:
    address = parse_address("rtsp://me:secret@127.0.0.1:8554/x")
    assert address.name == "rtsp://127.0.0.1:8554/x" and "secret" in address.file
    assert "file" not in address.options["protocol_whitelist"].split(",")
    assert address.options["rtsp_transport"] == "tcp"
    assert parse_address("0", system="linux").file == "/dev/video0"
    assert parse_address("2", system="darwin").format == "avfoundation"
    assert parse_address("-").is_pipe


@pytest.mark.parametrize("source", ["clip.mp4", "file:///etc/passwd", "concat:a|b", "ftp://x/y", "screens", ""])
def test_what_is_no_live_source_is_named(source: str) -> None:
    with pytest.raises(InputError, match="not a live source"):
        parse_address(source)


def test_a_known_live_camera_is_undistorted(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="needs the extra solve")
    words = ["--size", "64", "--max-frames", "2", "--patience", "0", "--quiet", "--out", str(tmp_path / "out")]
    words += ["--intrinsics", "100", "101", "63", "48", "--distortion", "-0.1", "0.01", "0", "0", "0"]
    with StreamServer(15) as server:
        assert cli.main(["live", server.url, *words]) == 0
    lens = Lens(camera_matrix(100, 101, 63, 48), (-0.1, 0.01, 0, 0, 0))
    frames = read_take(tmp_path / "out").frames
    assert len(frames) == 2
    for frame in frames:
        assert frame.intrinsics_original is not None
        np.testing.assert_allclose(frame.intrinsics_original, Undistortion(lens, SIZE).intrinsics, atol=1e-3)
