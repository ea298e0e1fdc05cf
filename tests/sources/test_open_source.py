# SPDX-License-Identifier: Apache-2.0
"""Wrong input: every refusal names what came and what to do. Arrays: what is taken and what is not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from media import write_video
from PIL import Image

from longtake.errors import InputError
from longtake.frame import Frame
from longtake.sources import images, open_source, probe, video
from longtake.sources.selection import Selection

GREY = np.arange(24, dtype=np.uint8).reshape(4, 6)


def test_a_missing_path_suggests_near_names(tmp_path: Path) -> None:
    (tmp_path / "holiday.mp4").touch()
    with pytest.raises(InputError, match=r"holliday\.mp4: there is no such.*Did you mean .*holiday\.mp4"):
        open_source(tmp_path / "holliday.mp4")
    with pytest.raises(InputError, match="there is no such file or folder"):
        open_source(tmp_path / "no" / "way" / "x.mp4")


def test_folders_and_globs_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="It is empty"):
        open_source(tmp_path)
    (tmp_path / "rgb").mkdir()
    Image.new("RGB", (3, 3)).save(tmp_path / "rgb" / "a.png")
    with pytest.raises(InputError, match="Did you mean its subfolder .*rgb"):
        open_source(tmp_path)
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "clip.mp4").touch()
    with pytest.raises(InputError, match="holds a video"):
        open_source(tmp_path / "b")
    with pytest.raises(InputError, match="no file matches"):
        open_source(str(tmp_path / "*.jpg"))
    with pytest.raises(InputError, match="none of the 1 files found is a picture"):
        open_source(str(tmp_path / "b" / "*.mp4"))


@pytest.mark.parametrize("name", ["a.txt", "a.mp4", "a.m3u8"])
def test_text_is_no_video(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.write_text("#EXTM3U\n#EXTINF:1,\nsegment.ts\n")
    with pytest.raises(InputError, match="this is text, not a video"):
        open_source(path)


def test_other_files_are_no_videos(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(InputError, match="empty"):
        open_source(tmp_path / "empty.mp4")
    (tmp_path / "rubbish.mp4").write_bytes(np.random.default_rng(0).bytes(5000))
    with pytest.raises(InputError, match="not a video|no video stream|not one frame"):
        open_source(tmp_path / "rubbish.mp4")


@pytest.mark.parametrize("source", ["rtsp://camera/1", "https://example.org/a.mp4", "0", "-", "/dev/video99"])
def test_live_sources_are_asked_for_by_name(source: str) -> None:
    with pytest.raises(InputError, match="longtake live"):
        open_source(source)


def test_the_shorthands_know_their_kind(tmp_path: Path) -> None:
    clip = write_video(tmp_path / "a.mp4", 2)
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"longtake\.images"):
        video(tmp_path / "a.png")
    with pytest.raises(InputError, match=r"longtake\.video"):
        images(clip)
    assert open_source(clip).kind == "video"


@pytest.mark.parametrize("options", [
    {"stride": 0}, {"stride": 1.5}, {"fps": 0}, {"fps": float("nan")}, {"start": -1}, {"start": 2, "end": 2},
    {"end": float("nan")}, {"max_frames": 0},
])  # fmt: skip
def test_wrong_options(options: dict[str, Any]) -> None:
    with pytest.raises(InputError, match="Wrong option"):
        open_source([GREY], **options)


@settings(deadline=None, max_examples=60)
@given(
    st.integers(0, 60), st.sampled_from([5.0, 15.0, 29.97, 30.0]), st.integers(1, 5),
    st.none() | st.floats(0.5, 40), st.none() | st.floats(0, 3), st.none() | st.integers(1, 9),
)  # fmt: skip
def test_the_expected_count_is_the_count(
    frames: int, rate: float, stride: int, fps: float | None, start: float | None, max_frames: int | None
) -> None:
    selection = Selection(stride=stride, fps=fps, start=start, max_frames=max_frames)
    picker = selection.picker()
    times = []
    for index in range(frames):
        if picker.wants(index, index / rate):
            picker.took()
            times.append(index / rate)
    expected = selection.count(frames, rate)
    assert expected is not None
    if fps is None:
        assert expected == len(times)
    else:
        assert abs(expected - len(times)) <= 1 + 0.15 * len(times)  # only a plan: stride and fps may interfere
        # The k-th shown frame is not before its slot (a tenth early is allowed), so the rate holds over any stretch.
        # Neighbours may be closer: frames cannot be shown between the source's own times.
        assert all(time - times[0] >= (k - 0.1) / fps - 1e-9 for k, time in enumerate(times))


def test_arrays_of_all_kinds() -> None:
    rgb = np.repeat(GREY[..., None], 3, axis=2)
    rgba = np.dstack([rgb, np.zeros_like(GREY)])
    for item in (GREY, GREY[..., None], rgb, rgba, GREY / 255, (rgba / 255).astype(np.float32), Image.fromarray(GREY)):
        (frame,) = open_source([item])
        assert frame.image.dtype == np.uint8 and np.array_equal(frame.image, rgb)
    (frame,) = open_source(rgb)
    assert np.array_equal(frame.image, rgb)
    take = open_source(np.stack([rgb, rgb, rgb]), fps=10)
    assert take.length == 3 and [f.time for f in take] == [0, 0.1, 0.2]
    assert [f.index for f in open_source([rgb] * 9, stride=4)] == [0, 4, 8]
    kept = Frame(rgb, time=7.5, index=40, name="mine")
    (frame,) = open_source([kept])
    assert (frame.time, frame.index, frame.name) == (7.5, 40, "mine")
    assert probe(np.stack([rgb, rgb])).frames == 2


def test_the_stride_counts_frames_and_not_their_numbers() -> None:
    thinned = [Frame(GREY[..., None].repeat(3, 2), time=i / 10, index=2 * i) for i in range(5)]
    assert [frame.index for frame in open_source(thinned, stride=2)] == [0, 4, 8]


def test_an_open_source_keeps_its_name_and_its_notes(tmp_path: Path) -> None:
    for i in range(4):
        Image.new("RGB", (3, 3)).save(tmp_path / f"{i}.png")
    (tmp_path / "2.png").write_bytes(b"no picture")
    inner = images(tmp_path)
    assert open_source(inner) is inner
    outer = open_source(inner, max_frames=3)
    assert [frame.index for frame in outer] == [0, 1, 3]
    assert outer.name == tmp_path.name
    assert len(outer.notes) == 1


def test_a_generator_is_read_one_at_a_time_and_once() -> None:
    asked = []

    def camera() -> Iterator[np.ndarray]:
        for index in range(100):
            asked.append(index)
            yield np.repeat(GREY[..., None], 3, axis=2)

    source = open_source(camera(), max_frames=3)
    assert source.length == 3 and asked == []
    assert len(list(source)) == 3 and asked == [0, 1, 2]
    source = open_source(iter([]))
    with pytest.raises(InputError, match="no frames at all"):
        list(source)


@pytest.mark.parametrize(("item", "text"), [
    (np.zeros((3, 8, 9)), r"channels last"),
    (np.zeros((8, 9, 2), np.uint8), r"shape \(8, 9, 2\)"),
    (np.zeros((0, 9, 3), np.uint8), "shape"),
    (np.zeros((8, 9, 3), np.uint16), "uint16.*257"),
    (np.full((8, 9, 3), 255.0), r"from 255 to 255.*\[0, 1\]"),
    (np.full((8, 9, 3), np.nan), r"nan"),
    (np.full((8, 9, 3), -0.5), r"-0.5"),
    ("text", "shape"),
    ([[1, 2], [3]], "list"),
])  # fmt: skip
def test_wrong_arrays(item: Any, text: str) -> None:
    good = np.zeros((8, 9, 3), np.uint8)
    frames = iter(open_source([good, item]))
    assert next(frames).index == 0  # what came before is not lost
    with pytest.raises(InputError, match=f"frame 1.*{text}"):
        next(frames)


def test_what_is_no_source_at_all() -> None:
    for wrong in (42, None, b"bytes"):
        with pytest.raises(InputError, match="no source of frames"):
            open_source(wrong)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"array\[\.\.\., None\]"):
        open_source(np.zeros((5, 20, 30), np.uint8))
