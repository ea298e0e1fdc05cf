# SPDX-License-Identifier: Apache-2.0
"""Live sources against a real server on this machine: the newest frame, new connections, a clean end."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import closing
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
        source = LiveSource(server.url, selection=Selection(max_frames=8), patience=0)
        seen, sent, got, times = [], [], [], []
        for frame in source:
            got.append(time.monotonic())
            seen.append(number_of(frame.image))
            sent.append(server.sent_at[seen[-1]])
            times.append(frame.time)
            assert frame.image.shape == (SIZE[1], SIZE[0], 3)
            time.sleep(0.3)  # nine frames of the camera
    # In a queue each of these would be a second old; on a busy machine some may be.
    assert min(b - a for a, b in zip(sent[4:], got[4:], strict=True)) < 0.8, "the queue is not bounded"
    assert seen == sorted(set(seen)) and seen[-1] - seen[0] > 5 * 7 and source.dropped > 20
    assert times[0] == 0 and times == sorted(times)
    assert sent[-1] - got[0] <= times[-1] <= got[-1] - sent[0], "time is the clock of arrival"
    assert any("dropped to stay with the newest" in note for note in source.notes)


def test_a_broken_connection_is_made_again_and_numbers_go_on(tmp_path: Path) -> None:
    parts: list[list[int]] = [[]]
    with StreamServer(30) as server:
        source = LiveSource(server.url, patience=60, record=tmp_path / "kept.mkv")
        away = [(0, 0)]
        with closing(iter(source)) as frames:
            for frame in frames:
                number = number_of(frame.image)
                if len(parts) == len(away) and len(parts[-1]) >= 5:
                    if len(away) == 3:
                        break
                    away.append(server.cut(0.4))
                if len(parts) < len(away) and number >= away[-1][1]:
                    parts.append([])
                parts[-1].append(number)
    seen = [number for part in parts for number in part]
    assert seen == sorted(set(seen)) and len(parts) == 3
    assert not any(first < n < last for n in seen for first, last in away), "the server was away"
    # A busy machine may take a slow connection for a broken one.
    assert source.reconnections >= 2 and f"connected again {source.reconnections} time(s)" in " ".join(source.notes)
    kept: list[int] = []
    for path in sorted(tmp_path.glob("kept*.mkv")):
        with av.open(str(path)) as container:
            kept += [number_of(picture.to_ndarray(format="rgb24")) for picture in container.decode(video=0)]
    assert set(seen) <= set(kept)


def test_a_stream_that_stays_away_ends_the_take() -> None:
    with StreamServer(30) as server:
        source, seen = LiveSource(server.url, patience=0.5), 0
        for _ in source:
            seen += 1
            if seen == 3:
                server.cut(1e6)
    assert seen >= 3 and any("the stream ended" in note and "stayed away" in note for note in source.notes)


def test_what_never_answers_is_named_at_once() -> None:
    with StreamServer(30) as server:
        url = server.url
    begin = time.monotonic()
    with pytest.raises(InputError, match="cannot be read .*Connection refused"):
        list(LiveSource(url, patience=60))
    assert time.monotonic() - begin < 50


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
