# SPDX-License-Identifier: Apache-2.0
"""What is known of a source beside its frames: lenses from files and EXIF, times from files."""

from __future__ import annotations

import json
import shutil
import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from media import index_of, picture, write_video
from PIL import ExifTags, Image, TiffImagePlugin

from longtake.errors import InputError
from longtake.frame import Frame
from longtake.geometry.camera import camera_matrix
from longtake.geometry.lens import Lens, Undistortion
from longtake.sources import KnownSource, open_known, open_source, read_lens
from longtake.sources.exif import exif_lens
from longtake.sources.timestamps import Times, read_times

K = camera_matrix(80, 82, 47.5, 31.5)


def photos(folder: Path, count: int = 6) -> Path:
    folder.mkdir()
    for i in range(count):
        Image.fromarray(picture(i)).save(folder / f"f{i}.png")
    return folder


# --- lenses from files ---


FILES: dict[str, tuple[str, str]] = {
    "pinhole": ("cameras.txt", "# one\n1 PINHOLE 96 64 80 82 48 32\n"),
    "several alike": ("cameras.txt", "1 PINHOLE 96 64 80 82 48 32\n2 PINHOLE 96 64 80 82 48 32\n"),
    "opencv": ("cameras.txt", "1 OPENCV 96 64 80 82 48 32 -0.1 0.02 0.001 -0.002\n"),
    "full": ("cameras.txt", "1 FULL_OPENCV 96 64 80 82 48 32 -0.1 0.02 0.001 -0.002 0.03 0 0 0\n"),
    "transforms": (
        "transforms.json",
        json.dumps({"fl_x": 80, "fl_y": 82, "cx": 48, "cy": 32, "w": 96, "h": 64, "k1": -0.1, "k2": 0.02, "p1": 0.001}
                   | {"p2": -0.002, "frames": []}),
    ),
    "transforms by frame": (
        "transforms.json",
        json.dumps({"frames": 2 * [{"fl_x": 80, "fl_y": 82, "cx": 48, "cy": 32, "w": 96, "h": 64}]}),
    ),
    "plain": ("mine.json", json.dumps({"fx": 80, "fy": 82, "cx": 47.5, "cy": 31.5, "width": 96, "height": 64})),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_lens_is_read_from(kind: str, tmp_path: Path) -> None:
    name, text = FILES[kind]
    (tmp_path / name).write_text(text)
    lens = read_lens(tmp_path / name)
    np.testing.assert_allclose(lens.intrinsics, K)
    assert lens.size == (96, 64)
    wanted: dict[str, tuple[float, ...]] = {"full": (-0.1, 0.02, 0.001, -0.002, 0.03)}
    wanted |= dict.fromkeys(("opencv", "transforms"), (-0.1, 0.02, 0.001, -0.002))
    assert lens.distortion[:5] == wanted.get(kind, ())
    if name != "mine.json":
        np.testing.assert_allclose(read_lens(tmp_path).intrinsics, K)


@pytest.mark.parametrize(
    ("model", "wanted"),
    [("SIMPLE_PINHOLE 96 64 80 48 32", ()), ("SIMPLE_RADIAL 96 64 80 48 32 0.1", (0.1, 0, 0, 0)),
     ("RADIAL 96 64 80 48 32 0.1 0.2", (0.1, 0.2, 0, 0))],
)  # fmt: skip
def test_colmaps_models_of_one_focal_length(model: str, wanted: tuple[float, ...], tmp_path: Path) -> None:
    (tmp_path / "cameras.txt").write_text(f"7 {model}\n")
    lens = read_lens(tmp_path)
    np.testing.assert_allclose(lens.intrinsics, camera_matrix(80, 80, 47.5, 31.5))
    assert lens.distortion == wanted


def test_colmap_agrees(tmp_path: Path) -> None:
    """pycolmap writes the file and projects the points: ours projects them to the same pixels."""
    pycolmap = pytest.importorskip("pycolmap")
    cv2 = pytest.importorskip("cv2")
    params = [80, 82, 48, 32, -0.1, 0.02, 0.001, -0.002]
    camera = pycolmap.Camera(model="OPENCV", width=96, height=64, params=params, camera_id=1)
    words = " ".join(str(value) for value in camera.params)
    (tmp_path / "cameras.txt").write_text(f"1 {camera.model.name} {camera.width} {camera.height} {words}\n")
    lens = read_lens(tmp_path)
    rays = np.random.default_rng(0).uniform(-0.5, 0.5, (50, 2))
    theirs = camera.img_from_cam(np.concatenate([rays, np.ones((50, 1))], 1))
    ours, _ = cv2.projectPoints(
        np.concatenate([rays, np.ones((50, 1))], 1),
        np.zeros(3),
        np.zeros(3),
        lens.intrinsics,
        np.array(lens.distortion),
    )
    np.testing.assert_allclose(ours[:, 0] + 0.5, theirs, atol=1e-9)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("none.json", None, "no camera can be read"),
        ("cameras.bin", None, "no camera can be read"),
        ("cameras.txt", "1 OPENCV_FISHEYE 96 64 80 82 48 32 0 0 0 0", "Undistort the frames first"),
        ("cameras.txt", "1 PINHOLE 96 64 80 82", "wanted 4"),
        ("cameras.txt", "1 PINHOLE 96 64 a b c d", "wanted `ID MODEL"),
        ("cameras.txt", "# nothing\n", "names no camera"),
        ("cameras.txt", "1 PINHOLE 96 64 80 82 48 32\n2 PINHOLE 96 64 81 82 48 32", "several cameras"),
        (
            "transforms.json",
            json.dumps({"camera_model": "OPENCV_FISHEYE", "fl_x": 1, "cx": 1, "cy": 1}),
            "no lens with",
        ),
        ("transforms.json", json.dumps({"is_fisheye": True, "fl_x": 1, "cx": 1, "cy": 1}), "is_fisheye"),
        ("x.json", '{"distortion_model": "equidistant", "fx": 8, "fy": 8, "cx": 4, "cy": 4}', "equidistant is no lens"),
        ("x.json", '{"fx": 80}', "'fy' is missing"),
        ("x.json", "[1, 2]", "holds no object"),
        ("x.json", "nonsense", "no camera can be read"),
        ("x.json", '{"fx": 0, "fy": 1, "cx": 1, "cy": 1}', "3x3"),
        ("x.json", '{"fx": 9, "fy": 9, "cx": 1, "cy": 1, "width": 0, "height": 4}', "0x4"),
        ("x.json", '{"fx": 9, "fy": 9, "cx": 1, "cy": 1, "width": 1e999, "height": 4}', "no camera can be read"),
        ("x.json", "[" * 100_000, "no camera can be read"),
        ("cameras.txt", "1 PINHOLE 96 -64 80 82 48 32", "96x-64"),
    ],
)
def test_what_holds_no_lens_is_named(name: str, text: str | None, said: str, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=said):
        read_lens(tmp_path / name)


# --- lenses from EXIF ---


def photo(path: Path, tags: dict[int, Any], *, size: tuple[int, int] = (96, 64), orientation: int = 1) -> Path:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner.update({tag: TiffImagePlugin.IFDRational(v) if isinstance(v, float) else v for tag, v in tags.items()})
    Image.fromarray(picture(0, size[1], size[0])).save(path, exif=exif)
    return path


B = ExifTags.Base
FILM = {B.FocalLengthIn35mmFilm: 28}
PLANE = {B.FocalLength: 50.0, B.FocalPlaneXResolution: 4.0, B.FocalPlaneResolutionUnit: 4}  # 4 pixels a millimetre


@pytest.mark.parametrize(
    ("tags", "focal"),
    [
        (FILM, 28 * np.hypot(96, 64) / np.hypot(36, 24)),
        (PLANE, 200),
        (FILM | PLANE, 200),
        (PLANE | {B.ExifImageWidth: 192, B.ExifImageHeight: 128}, 100),  # made smaller since
        ({**PLANE, B.FocalPlaneXResolution: 4 * 25.4, B.FocalPlaneResolutionUnit: 2}, 200),  # an inch
        ({**PLANE, B.FocalPlaneResolutionUnit: 3, B.FocalPlaneXResolution: 40.0}, 200),  # a centimetre
        (FILM | {**PLANE, B.FocalPlaneXResolution: 4000.0}, 28 * np.hypot(96, 64) / np.hypot(36, 24)),  # absurd
        ({B.FocalLengthIn35mmFilm: 0}, None),
        ({B.FocalLength: 4.2}, None),  # of an unknown sensor
        ({}, None),
    ],
    ids=["film", "plane", "both", "smaller", "inch", "centimetre", "absurd", "zero", "sensor unknown", "nothing"],
)
def test_photos_tell_their_focal_length(tags: dict[int, Any], focal: float | None, tmp_path: Path) -> None:
    lens = exif_lens(photo(tmp_path / "p.jpg", tags))
    if focal is None:
        assert lens is None
    else:
        assert lens is not None
        np.testing.assert_allclose(lens.intrinsics, camera_matrix(focal, focal, 47.5, 31.5), rtol=1e-6)


def test_the_size_of_a_turned_photo_is_the_upright_one(tmp_path: Path) -> None:
    lens = exif_lens(photo(tmp_path / "p.jpg", PLANE, orientation=6))
    assert lens is not None and lens.size == (64, 96)
    np.testing.assert_allclose(lens.intrinsics, camera_matrix(200, 200, 31.5, 47.5))
    (frame,) = open_known(tmp_path / "p.jpg", lens="exif")
    assert frame.image.shape == (96, 64, 3) and frame.intrinsics is not None


def test_each_photo_has_its_own_camera_and_those_without_are_told(tmp_path: Path) -> None:
    for i, focal in enumerate((24, 50, None)):
        photo(tmp_path / f"{i}.jpg", {} if focal is None else {B.FocalLengthIn35mmFilm: focal})
    source = open_known(tmp_path, lens="exif")
    found = [None if f.intrinsics is None else f.intrinsics[0, 0] for f in source]
    scale = np.hypot(96, 64) / np.hypot(36, 24)
    assert found == [pytest.approx(24 * scale), pytest.approx(50 * scale), None]
    assert source.notes == ["1 photo(s) whose EXIF tells no focal length: 2.jpg"]


def test_a_video_has_no_exif(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="for photos"):
        open_known(write_video(tmp_path / "v.mp4", 3), lens="exif")


# --- frames through a known lens ---


def test_frames_bring_their_camera_scaled_to_their_size(tmp_path: Path) -> None:
    folder = photos(tmp_path / "p", 2)
    Image.fromarray(picture(2, 128, 192)).save(folder / "f2.png")  # one of twice the size
    frames = list(open_known(folder, lens=Lens(K, (), (96, 64))))
    np.testing.assert_allclose(frames[0].intrinsics, K)
    np.testing.assert_allclose(frames[2].intrinsics, camera_matrix(160, 164, 95.5, 63.5))


def test_frames_are_undistorted_and_the_source_closes(tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="needs the extra solve")
    lens = Lens(K, (-0.2, 0.05, 0, 0))
    plain = list(open_source(photos(tmp_path / "p")))
    source = open_known(tmp_path / "p", lens=lens, stride=2)
    frames = list(source)
    assert [frame.index for frame in frames] == [0, 2, 4] and source.length == 3
    for frame in frames:
        assert frame.intrinsics is not None and frame.intrinsics[0, 0] < 80
        assert np.abs(frame.image.astype(int) - plain[frame.index].image).max() > 20
        assert index_of(frame.image) == frame.index
    iterator = iter(open_known(tmp_path / "p", lens=lens))
    next(iterator)
    iterator.close()  # type: ignore[attr-defined]


def test_of_pictures_of_many_sizes_only_the_last_few_are_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("cv2", reason="needs the extra solve")
    alive: weakref.WeakSet[Undistortion] = weakref.WeakSet()
    begin = Undistortion.__init__

    def counted(self: Undistortion, *given: Any) -> None:
        begin(self, *given)
        alive.add(self)

    monkeypatch.setattr(Undistortion, "__init__", counted)
    pictures = [picture(i, 64 + 2 * i, 96) for i in range(12)]
    for _ in open_known(pictures, lens=Lens(K, (-0.2, 0.05, 0, 0))):
        assert 1 <= len(alive) <= 5


# --- times ---


SECONDS = (10.5, 11, 12.25, 13, 14, 15)


@pytest.mark.parametrize(
    "lines",
    [
        [str(time) for time in SECONDS],
        ["# timestamp filename", "", *(f"{time} rgb/f{i}.png" for i, time in enumerate(SECONDS))],
        ["#timestamp [ns],filename", *(f"{round(t * 1e9) + 10**18},f{i}.png" for i, t in enumerate(SECONDS))],
    ],
    ids=["plain", "tum", "euroc"],
)
def test_times_come_from_a_file(lines: Sequence[str], tmp_path: Path) -> None:
    (tmp_path / "times.txt").write_text("\n".join(lines) + "\n")
    source = open_known(photos(tmp_path / "p"), timestamps=tmp_path / "times.txt")
    found = np.array([frame.time for frame in source])
    np.testing.assert_allclose(found - (1e9 if found[0] > 1e8 else 0), SECONDS, atol=1e-6)
    assert not source.notes
    # start, end and fps go by them, counted from the first; the index still counts the source's frames
    part = open_known(tmp_path / "p", timestamps=tmp_path / "times.txt", start=0.4, end=3.6, fps=0.5)
    assert [frame.index for frame in part] == [1, 3]
    two = open_known(tmp_path / "p", timestamps=tmp_path / "times.txt", max_frames=2)
    assert [frame.index for frame in two] == [0, 1]


def test_frames_without_a_time_are_left_out_with_a_note(tmp_path: Path) -> None:
    video = write_video(tmp_path / "v.mp4", 5)
    source = open_known(video, timestamps=[0.0, 1.0, 2.0])
    assert [(frame.index, frame.time) for frame in source] == [(0, 0.0), (1, 1.0), (2, 2.0)]
    assert source.notes[0].startswith("2 frame(s) without a time in the list left out")
    chosen = open_known(video, timestamps={1: 5.0, 4: 5.5})
    assert [(frame.index, frame.time) for frame in chosen] == [(1, 5.0), (4, 5.5)]
    with pytest.raises(InputError, match="gave no frames|no frame"):
        list(open_known(video, timestamps={99: 1.0}))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1\n2\n2\n", "line 3: 2 does not come after"),
        ("1\nsoon\n", "line 2: wanted"),
        ("1\nnan\n", "line 2: wanted"),
        ("# nothing\n", "holds no times"),
        ("1 a.png\n2\n", "2 times with 1 different names"),
        ("1 a.png\n2 a.png\n", "2 times with 1 different names"),
    ],
)
def test_wrong_times_are_named(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "t.txt").write_text(text)
    with pytest.raises(InputError, match=said):
        read_times(tmp_path / "t.txt")


def test_times_that_do_not_grow_are_refused() -> None:
    with pytest.raises(InputError, match="must grow"):
        Times.of([0.0, 1.0, 1.0])


def test_a_known_source_is_a_source_again(tmp_path: Path) -> None:
    source = KnownSource(open_source(photos(tmp_path / "p", 3)), lens=Lens(K))
    assert [frame.index for frame in source] == [frame.index for frame in source] == [0, 1, 2]
    assert all(isinstance(frame, Frame) for frame in open_source(source))
    shutil.rmtree(tmp_path / "p")
