# SPDX-License-Identifier: Apache-2.0
"""Video files: real times, exact seeking, every orientation, damage that ends in notes."""

from __future__ import annotations

import itertools
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from media import FPS, HEIGHT, WIDTH, cut, index_of, picture, set_display_matrix, write_video

from longtake.errors import InputError
from longtake.frame import Frame
from longtake.sources import open_source, probe, video

CONTAINERS = ["mp4", "mkv", "ts", "avi"]


def shown(frames: list[Frame]) -> list[tuple[int, float]]:
    return [(f.index, round(f.time, 3)) for f in frames]


@pytest.fixture(scope="module", params=CONTAINERS)
def clip(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / f"clip.{request.param}")


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("clip") / "clip.mp4", options={"movflags": "faststart"})


def test_every_frame_in_order_with_its_time(clip: Path) -> None:
    source = video(clip)
    frames = list(source)
    assert [f.index for f in frames] == list(range(30))
    assert [index_of(f.image) for f in frames] == list(range(30))
    np.testing.assert_allclose([f.time for f in frames], np.arange(30) / FPS, atol=6e-4)  # Matroska keeps milliseconds
    assert source.notes == [] and source.length == 30 and source.fps == pytest.approx(FPS)
    assert source.size == (WIDTH, HEIGHT) and source.kind == "video" and source.name == clip.name
    first = frames[0].image
    assert first.dtype == np.uint8 and first.flags["C_CONTIGUOUS"]
    assert np.abs(first[2:14, 2:20].astype(int).mean((0, 1)) - picture(0)[0, 0]).max() < 6  # red stays red
    assert shown(list(source)) == shown(frames)  # reading again starts over


def test_start_and_end_show_what_thinning_by_hand_would(clip: Path) -> None:
    everything = list(video(clip))
    for start, end in [(0.1, None), (0.7, 1.2), (1.0, 1.9), (1.9, 9.0)]:
        part = list(video(clip, start=start, end=end))
        wanted = [f for f in everything if start - 1e-6 <= f.time < (end or 99.0) - 1e-6]
        assert shown(part) == shown(wanted), (start, end)
        assert all(np.array_equal(a.image, b.image) for a, b in zip(part, wanted, strict=True))


def test_halves_make_the_whole(mp4: Path) -> None:
    halves = [*video(mp4, end=1.0), *video(mp4, start=1.0)]
    assert [f.index for f in halves] == list(range(30))


def test_seeking_is_really_used(mp4: Path) -> None:
    container, _, index, target = video(mp4)._open_at(1.5)
    container.close()
    assert (index, target) == (23, 1.5 * 15360)


def test_stride_fps_and_count(mp4: Path) -> None:
    assert [f.index for f in video(mp4, stride=4)] == list(range(0, 30, 4))
    assert [f.index for f in video(mp4, stride=4, start=0.2, max_frames=3)] == [3, 7, 11]
    assert [f.index for f in video(mp4, fps=5)] == list(range(0, 30, 3))
    assert [f.index for f in video(mp4, fps=10)] == [i for i in range(30) if i % 3 != 1]
    assert len(list(video(mp4, fps=15))) == 30
    fast = video(mp4, fps=60)
    assert len(list(fast)) == 30 and "drops none" in fast.notes[0]
    for options in ({"stride": 7}, {"fps": 4}, {"start": 0.5, "end": 1.5}, {"stride": 2, "max_frames": 9}, {"end": 9}):
        source = video(mp4, **options)
        assert source.length == len(list(source)), options


def test_times_are_those_of_the_file(tmp_path: Path) -> None:
    times = [7, 8, 9, 14, 15, 30, 31, 32, 33, 60]  # a first frame after zero, gaps, a pause
    for suffix in ("mp4", "mkv"):
        frames = list(video(write_video(tmp_path / f"gaps.{suffix}", 10, times=times)))
        np.testing.assert_allclose([f.time for f in frames], (np.array(times) - 7) / FPS, atol=2e-3)
        thin = video(tmp_path / f"gaps.{suffix}", fps=1)
        assert [f.index for f in thin] == [0, 5, 9]


ONES = (1, -1)
MATRICES = [(0, b, c, 0) for b in ONES for c in ONES] + [(a, 0, 0, d) for a in ONES for d in ONES]


@pytest.mark.parametrize("signs", MATRICES)
def test_every_display_matrix(signs: tuple[int, int, int, int], tmp_path: Path) -> None:
    a, b, c, d = signs
    stored = list(video(write_video(tmp_path / "a.mp4", 2)))[0].image
    path = set_display_matrix(tmp_path / "a.mp4", *signs)
    source = video(path)
    upright = next(iter(source)).image
    # The definition: x' = a x + c y, y' = b x + d y, then moved to start at zero.
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    x, y = a * columns + c * rows, b * columns + d * rows
    wanted = np.zeros((y.max() - y.min() + 1, x.max() - x.min() + 1, 3), np.uint8)
    wanted[y - y.min(), x - x.min()] = stored
    assert np.array_equal(upright, wanted)
    assert source.size == (upright.shape[1], upright.shape[0])
    info = source.info
    image = stored[:, ::-1] if info.mirrored else stored
    assert np.array_equal(np.rot90(image, -info.rotation // 90), upright)  # rot90 turns anticlockwise
    assert probe(path).rotation == info.rotation


def test_a_phone_held_upright_is_shown_upright(tmp_path: Path) -> None:
    path = set_display_matrix(write_video(tmp_path / "phone.mp4", 2), 0, 1, -1, 0)  # a quarter turn clockwise
    image = next(iter(video(path))).image
    assert image.shape == (WIDTH, HEIGHT, 3)
    assert image[4, -4, 0] > 180 and image[4, -4, 1] < 80  # the red corner went from top left to top right


def test_pixels_become_square(tmp_path: Path) -> None:
    path = write_video(tmp_path / "wide.mp4", 2, aspect=Fraction(4, 3))
    source = video(path)
    assert source.size == (128, HEIGHT)
    assert next(iter(source)).image.shape == (HEIGHT, 128, 3)


@pytest.mark.parametrize("suffix", CONTAINERS)
def test_a_cut_off_video_gives_what_is_there_and_says_so(suffix: str, tmp_path: Path) -> None:
    options = {"movflags": "faststart"} if suffix == "mp4" else {}
    source = video(cut(write_video(tmp_path / f"a.{suffix}", options=options), 0.6))
    frames = list(source)
    assert 12 <= len(frames) <= 20
    # Half of the last picture came in these two. FFmpeg's threads mark it as broken in time nine times out of ten; else
    # it is taken, filled from the one before.
    whole = len(frames) - (suffix in ("ts", "avi"))
    assert [index_of(f.image) for f in frames[:whole]] == list(range(whole))
    if suffix != "ts":  # a transport stream promises nothing, so a clean cut cannot be noticed
        assert any("cut off" in note for note in source.notes)


def test_holes_in_the_middle_are_skipped(mp4: Path, tmp_path: Path) -> None:
    data = bytearray(mp4.read_bytes())
    for at in range(int(len(data) * 0.5), int(len(data) * 0.55)):
        data[at] ^= 0x5A
    path = tmp_path / "hole.mp4"
    path.write_bytes(data)
    source = video(path)
    frames = list(source)
    assert 15 <= len(frames) < 30
    assert frames[-1].time == pytest.approx(29 / FPS)
    assert all(b.time > a.time for a, b in itertools.pairwise(frames))
    assert source.notes


def test_an_mp4_without_its_index_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="index is missing"):
        video(cut(write_video(tmp_path / "a.mp4"), 0.6))


def test_a_header_without_frames_is_refused(tmp_path: Path) -> None:
    whole = write_video(tmp_path / "a.mp4", options={"movflags": "faststart"})
    data = whole.read_bytes()
    (tmp_path / "b.mp4").write_bytes(data[: data.find(b"mdat") + 4])
    with pytest.raises(InputError, match="not one frame"):
        video(tmp_path / "b.mp4")


def test_nothing_selected_is_an_error(mp4: Path) -> None:
    with pytest.raises(InputError, match=r"none of its 30 frames .*start=5.*1\.933 s"):
        list(video(mp4, start=5))


def test_gif_moves(tmp_path: Path) -> None:
    from PIL import Image

    pictures = [Image.fromarray(picture(i)) for i in range(3)]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:], duration=100)
    assert [round(f.time, 2) for f in open_source(tmp_path / "a.gif")] == [0.0, 0.1, 0.2]


def test_stopping_early_frees_the_file_and_the_thread(mp4: Path) -> None:
    import threading

    before = threading.active_count()
    for frame in video(mp4):
        if frame.index == 2:
            break
    assert threading.active_count() == before


def test_one_frame_is_a_take(tmp_path: Path) -> None:
    assert len(list(video(write_video(tmp_path / "one.mp4", 1)))) == 1


def test_what_a_video_is(mp4: Path) -> None:
    info = probe(mp4)
    assert (info.kind, info.size, info.frames, info.codec) == ("video", (WIDTH, HEIGHT), 30, "h264")
    assert info.duration == pytest.approx(2.0, abs=0.01)
