# SPDX-License-Identifier: Apache-2.0
"""What each reader makes of files written by hand, and the reasons that it gives for what it leaves out."""

from __future__ import annotations

import json
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layout_files import FRAMES, LAYOUTS, SIZE, take
from PIL import Image

from longtake.datasets.reading import readable
from longtake.datasets.table import open_sequence
from longtake.datasets.tum import CAMERAS
from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix

SCENE, DRIVE = "scene0000_00", "val/2011_09_26_drive_0000_sync"
TUM, BONN, SEVEN = "rgbd_dataset_synthetic_00", "rgbd_bonn_synthetic00", "room00/seq-01"


def _edit(name: str, change: Callable[[list[str]], list[str]]) -> Callable[[Path], None]:
    def edit(root: Path) -> None:
        lines = (root / name).read_text().splitlines()
        (root / name).write_text("\n".join(change(lines)) + "\n")

    return edit


def _write(name: str, text: str) -> Callable[[Path], object]:
    return lambda root: (root / name).write_text(text)


def _remove(pattern: str, which: int = 0) -> Callable[[Path], object]:
    return lambda root: sorted(root.glob(pattern))[which].unlink()


def _shrink(pattern: str, which: int = 0) -> Callable[[Path], object]:
    def shrink(root: Path) -> None:
        path = sorted(root.glob(pattern))[which]
        with Image.open(path) as image:
            small = image.resize((SIZE[0] // 2 + 1, SIZE[1] // 2), Image.Resampling.NEAREST)
        small.save(path)

    return shrink


NAN, INF = "nan nan nan nan\n" * 4, "-inf " * 16
# case, what is broken, the position of the frame that goes, and the reason given; found on opening
DROPPED: list[tuple[str, Callable[[Path], object], int, str]] = [
    ("scannet", _write(f"{SCENE}/pose/3.txt", INF), 3, "not finite"),
    ("scannet", _write(f"{SCENE}/pose/0.txt", "1 2 3"), 0, "has 3 numbers; wanted a 4x4"),
    ("scannet", _remove(f"{SCENE}/pose/*.txt", 9), 9, "pose/9.txt missing"),
    ("scannet", _remove(f"{SCENE}/depth/*.png", 2), 2, "depth/2.png missing"),
    ("scannet", _write(f"{SCENE}/pose/1.txt", "2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1"), 1, "not a rigid motion"),
    ("7scenes", _write(f"{SEVEN}/frame-000004.pose.txt", "hello"), 4, "not a list of numbers"),
    ("7scenes", _remove(f"{SEVEN}/*.pose.txt", 5), 5, "pose.txt is missing"),
    ("7scenes", _remove(f"{SEVEN}/*.color.png", 5), 5, "color.png is missing"),
    ("7scenes", _remove(f"{SEVEN}/*.depth.proj.png", 5), 5, "depth is missing"),
    ("tum", _remove(f"{TUM}/rgb/*.png", 6), 6, "rgb.txt lists it, but the file is missing"),
    ("tum", _remove(f"{TUM}/depth/*.png", 6), 6, "the file is missing"),
    ("tum", _edit(f"{TUM}/groundtruth.txt", lambda lines: lines[:4] + lines[5:]), 2, "within 20 ms"),
    ("tum", _edit(f"{TUM}/groundtruth.txt", lambda lines: [*lines[:2], f"{lines[2][:17]} 0 0 0 nan 0 0 1", *lines[3:]]),
     0, "not finite"),
    ("bonn", _remove(f"{BONN}/depth/*.png", -1), 9, "10 pictures and 9 depth maps"),
    ("bonn", _edit(f"{BONN}/groundtruth.txt", lambda lines: lines[:-1]), 9, "10 pictures and 9 poses"),
    ("kitti", _remove("2011_09_26/*/image_02/data/*.png", 7), 7, "no picture of this name"),
    ("kitti", _edit("2011_09_26/2011_09_26_drive_0000_sync/image_02/timestamps.txt", lambda lines: lines[:-1]), 9,
     "has only 9 lines"),
    ("kitti-odometry", _edit("poses/00.txt", lambda lines: ["nan " * 12, *lines[1:]]), 0, "not finite"),
    ("nrgbd", _edit("whiteroom/poses.txt", lambda lines: [*["nan nan nan nan"] * 4, *lines[4:]]), 0, "not finite"),
    ("nrgbd", _remove("whiteroom/depth/*.png", 2), 2, "no depth map has the number 2"),
    ("sintel", _remove("training/depth/alley_2/*.dpt", 1), 1, "frame_0002.dpt is missing"),
    ("sintel", _remove("training/camdata_left/alley_2/*.cam", 1), 1, "cannot be read"),
    ("sintel", _write("training/camdata_left/alley_2/frame_0001.cam", "x" * 172), 0, "not begin with Sintel's tag"),
    ("colmap-text", _remove("images/*.png", 3), 3, "the file is missing in images/"),
    ("colmap-binary", _remove("images/*.png", 3), 3, "the file is missing in images/"),
    ("nerfstudio", _remove("images/*.png", 4), 4, "names images/frame_4.png, but there is no such file"),
    ("nerfstudio", _remove("depth/*.png", 4), 4, "names depth/frame_4.png, but there is no such file"),
    ("rgbd", _edit("take_00/poses.txt", lambda lines: [*lines[:3], "nan " * 16, *lines[4:]]), 3, "not finite"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "break_it", "gone", "reason"), DROPPED, ids=lambda value: str(value)[:24])
def test_a_frame_that_cannot_be_used_is_dropped_with_its_reason(
    case: str, break_it: Callable[[Path], object], gone: int, reason: str, tmp_path: Path
) -> None:
    dataset, write, _, _ = LAYOUTS[case]
    write(tmp_path, take())
    [whole] = open_sequence(dataset, tmp_path)
    break_it(tmp_path)
    [sequence] = open_sequence(dataset, tmp_path)
    assert len(sequence.dropped) == 1 and reason in sequence.dropped[0][1]
    left = [name for i, name in enumerate(whole.frame_names()) if i != gone]
    assert sequence.frame_names() == left
    frames = list(readable(sequence))
    assert [frame.index for frame in frames] == [i for i in range(FRAMES) if i != gone]
    for frame in frames:  # nobody slipped into another frame's place
        if frame.world_from_cam is not None:
            np.testing.assert_allclose(frame.world_from_cam, take().world_from_cam[frame.index], atol=1e-6)


# case, what is broken, the position of the frame, what is said when it is read
UNREADABLE: list[tuple[str, Callable[[Path], object], int, str]] = [
    ("tum", _shrink(f"{TUM}/rgb/*.png", 4), 4, "the sequence's first picture is 96x72"),
    ("tum", _shrink(f"{TUM}/depth/*.png", 4), 4, "depth is 49x36 for a picture of 96x72"),
    ("rgbd", _shrink("take_00/depth/*.png", 1), 1, "every r-th colour pixel"),
    ("colmap-text", _shrink("images/*.png", 2), 2, "its camera is for 96x72"),
    ("nerfstudio", _shrink("images/*.png", 2), 2, "its camera is for 96x72"),
    ("sintel", _write("training/depth/alley_2/frame_0003.dpt", "x" * 40), 2, "Sintel's tag"),
    ("colmap-binary", _write("stereo/depth_maps/frame3.png.geometric.bin", "9&9&1&"), 3, "cut off"),
]


@pytest.mark.parametrize(("case", "break_it", "broken", "said"), UNREADABLE, ids=lambda value: str(value)[:24])
def test_a_broken_picture_is_named_and_the_others_are_read(
    case: str, break_it: Callable[[Path], object], broken: int, said: str, tmp_path: Path
) -> None:
    LAYOUTS[case][1](tmp_path, take())
    break_it(tmp_path)
    [sequence] = open_sequence(LAYOUTS[case][0], tmp_path)
    assert not sequence.dropped
    frames = list(readable(sequence))
    assert [frame.index for frame in frames] == [i for i in range(FRAMES) if i != broken]
    list(readable(sequence))  # read again: the reason is not repeated
    assert len(sequence.dropped) == 1
    assert sequence.dropped[0][0] == sequence.frame_names()[broken] and said in sequence.dropped[0][1]


# case, what is broken, what is said: nothing can be used
REFUSED: list[tuple[str, Callable[[Path], object], str]] = [
    ("rgbd", _edit("take_00/poses.txt", lambda lines: lines[:-1]), "10 pictures in rgb/ but 9 lines"),
    ("rgbd", _remove("take_00/intrinsics.txt"), "no such file"),
    ("rgbd", _write("take_00/intrinsics.txt", "1 2 3"), "wanted a 3x3 or 4x4"),
    ("rgbd", _write("take_00/intrinsics.txt", "-5 0 1\n0 5 1\n0 0 1"), "must be positive"),
    ("rgbd", _write("take_00/poses.txt", "1 2 3"), "line 1 has 3 numbers"),
    ("rgbd", _write("take_00/poses.txt", ("nan " * 16 + "\n") * 10), "no frame is left"),
    ("tum", _write(f"{TUM}/groundtruth.txt", "5.0 0 0 0 0 0 0 1\n"), "no frame is left.* and 9 more"),
    ("scannet", _remove(f"{SCENE}/intrinsic/intrinsic_color.txt"), "intrinsic_color.txt: no such file"),
    ("kitti-odometry", _edit("poses/00.txt", lambda lines: lines[:-1]), "10 pictures in image_2/ but 9 poses"),
    ("kitti-odometry", _write("sequences/00/calib.txt", "P2: 1 2 3"), "no line `P2: ` with 12 numbers"),
    ("nrgbd", _edit("whiteroom/poses.txt", lambda lines: lines[:-1]), "39 lines for 10 pictures"),
    ("colmap-text", _write("sparse/0/cameras.txt", "4 PINHOLE 96"), "wanted `ID MODEL WIDTH HEIGHT PARAMS`"),
    ("colmap-text", _write("sparse/0/cameras.txt", "4 LENS 96 72 1 2"), "camera model LENS with 2 parameters"),
    ("colmap-text", _write("sparse/0/cameras.txt", "5 PINHOLE 96 72 1 2 3 4"), "its camera 4 is not among"),
    ("colmap-binary", lambda root: (root / "sparse/0/images.bin").write_bytes(
        (root / "sparse/0/images.bin").read_bytes()[:-90]), "in mid entry|does not end"),
    ("nerfstudio", _write("transforms.json", "{"), "is no transforms.json"),
    ("nerfstudio", _write("transforms.json", '{"frames": [{"file_path": "images/frame_1.png"}]}'), "transform_matrix"),
]  # fmt: skip


@pytest.mark.parametrize(("case", "break_it", "said"), REFUSED, ids=lambda value: str(value)[:24])
def test_nothing_left_is_an_error_that_says_why(
    case: str, break_it: Callable[[Path], object], said: str, tmp_path: Path
) -> None:
    LAYOUTS[case][1](tmp_path, take())
    break_it(tmp_path)
    with pytest.raises(InputError, match=said):
        open_sequence(LAYOUTS[case][0], tmp_path)


def test_one_broken_sequence_does_not_hide_the_others(tmp_path: Path) -> None:
    for name in ("a", "b"):
        LAYOUTS["rgbd"][1](tmp_path / name, take())
    (tmp_path / "a" / "take_00" / "intrinsics.txt").unlink()
    empty, whole = open_sequence("rgbd", tmp_path)
    assert (len(empty), len(whole)) == (0, FRAMES)
    assert "intrinsics.txt: no such file" in empty.dropped[0][1]


def test_cameras_of_tum_come_from_the_name(tmp_path: Path) -> None:
    LAYOUTS["tum"][1](tmp_path, take())
    (tmp_path / TUM / "intrinsics.txt").unlink()
    usual = camera_matrix(525, 525, 319.5, 239.5)
    for name, camera in (("rgbd_dataset_freiburg3_walking_xyz", CAMERAS["freiburg3"]), ("walk", usual)):
        [folder] = tmp_path.iterdir()
        folder.rename(tmp_path / name)
        [sequence] = open_sequence("tum", tmp_path)
        np.testing.assert_array_equal(sequence[0].intrinsics, camera)  # type: ignore[arg-type]


def test_bonn_pairs_by_index_and_says_how_far_apart_the_times_are(tmp_path: Path) -> None:
    LAYOUTS["bonn"][1](tmp_path, take())
    [sequence] = open_sequence("bonn", tmp_path)
    assert "picture to depth: 4.0 ms apart in the median, 4.0 ms at most" in sequence.notes
    _edit(f"{BONN}/groundtruth.txt", lambda lines: lines[:2] + lines[4:])(tmp_path)
    [sequence] = open_sequence("bonn", tmp_path)
    assert any("66.7 ms apart" in note and "doubtful" in note for note in sequence.notes)
    np.testing.assert_allclose(sequence[0].world_from_cam, take().world_from_cam[2], atol=2e-7)  # type: ignore[arg-type]


def test_seven_scenes_takes_the_test_split_and_prefers_registered_depth(tmp_path: Path) -> None:
    for name in ("a", "b"):
        LAYOUTS["7scenes"][1](tmp_path / name, take())
    (tmp_path / "b" / "room00").rename(tmp_path / "a" / "room00" / "x")
    (tmp_path / "a/room00/x/seq-01").rename(tmp_path / "a/room00/seq-02")
    (tmp_path / "a/room00/TestSplit.txt").write_text("sequence2\n")
    [sequence] = open_sequence("7scenes", tmp_path / "a" / "room00")
    assert sequence.name == "room00/seq-02"
    [sequence] = open_sequence("7scenes", tmp_path / "a" / "room00" / "seq-01")  # asked for by name
    assert sequence.name == "room00/seq-01"
    for path in (tmp_path / "a" / SEVEN).glob("*.proj.png"):
        Image.new("I;16", SIZE, 65535).save(path.with_name(path.name.replace(".proj", "")))
    assert (sequence[0].depth > 0).any()  # type: ignore[operator]
    for path in (tmp_path / "a" / SEVEN).glob("*.proj.png"):
        path.unlink()
    [sequence] = open_sequence("7scenes", tmp_path / "a" / SEVEN)
    assert "not registered" in sequence.notes[0]
    assert not sequence[0].depth.any()  # type: ignore[union-attr]


def test_scannet_exported_at_the_size_of_its_depth(tmp_path: Path) -> None:
    LAYOUTS["scannet"][1](tmp_path, take())
    for path in (tmp_path / SCENE / "color").iterdir():
        with Image.open(path) as image:
            small = image.resize((SIZE[0] // 2, SIZE[1] // 2))
        small.save(path)
    [sequence] = open_sequence("scannet", tmp_path)
    frame = sequence[0]
    np.testing.assert_allclose(frame.intrinsics, np.diag([0.5, 0.5, 1]) @ take().intrinsics)  # type: ignore[arg-type]
    assert frame.depth is not None and (frame.depth > 0).all()


def test_scannet_sorts_by_number(tmp_path: Path) -> None:
    parts = {name: np.concatenate([getattr(take(), name)] * 2)[:12] for name in ("images", "depth", "world_from_cam")}
    LAYOUTS["scannet"][1](tmp_path, replace(take(), **parts))
    [sequence] = open_sequence("scannet", tmp_path)
    assert sequence.frame_names() == [f"{i}.jpg" for i in range(12)]


def test_kitti_odometry_moves_the_pose_from_camera_0(tmp_path: Path) -> None:
    """Camera 2 sits 6 cm to the left of camera 0: in camera 0 its centre is at x = -0.06."""
    folder = tmp_path / "sequences" / "07"
    (folder / "image_2").mkdir(parents=True)
    Image.new("RGB", (8, 6)).save(folder / "image_2" / "000000.png")
    (folder / "calib.txt").write_text("P0: 700 0 600 0 0 700 180 0 0 0 1 0\nP2: 700 0 600 42 0 700 180 0 0 0 1 0\n")
    (tmp_path / "poses").mkdir()
    (tmp_path / "poses" / "07.txt").write_text("0 0 1 5 0 1 0 6 -1 0 0 7\n")  # x of the camera points along -z
    [sequence] = open_sequence("kitti-odometry", tmp_path)
    pose = sequence[0].world_from_cam
    assert pose is not None
    np.testing.assert_allclose(pose[:3, 3], [5, 6, 7.06])
    np.testing.assert_allclose(pose[:3, :3], [[0, 0, 1], [0, 1, 0], [-1, 0, 0]])


def test_sintel_bytes(tmp_path: Path) -> None:
    root = tmp_path / "training"
    for kind in ("clean", "camdata_left", "depth"):
        (root / kind / "market_1").mkdir(parents=True)
    Image.new("RGB", (2, 1)).save(root / "clean" / "market_1" / "frame_0001.png")
    numbers = [9, 0, 0.5, 0, 8, 0.0, 0, 0, 1] + [1, 0, 0, 10, 0, 1, 0, 20, 0, 0, 1, 30]
    (root / "camdata_left/market_1/frame_0001.cam").write_bytes(struct.pack("<f21d", 202021.25, *numbers))
    (root / "depth/market_1/frame_0001.dpt").write_bytes(struct.pack("<fiiff", 202021.25, 2, 1, 3.5, np.inf))
    [sequence] = open_sequence("sintel", tmp_path)
    frame = sequence[0]
    assert frame.depth is not None and frame.depth.tolist() == [[3.5, 0]]
    assert frame.world_from_cam is not None and frame.world_from_cam[:3, 3].tolist() == [-10, -20, -30]
    np.testing.assert_array_equal(frame.intrinsics, camera_matrix(9, 8, 0.5, 0))  # type: ignore[arg-type]
    assert "pictures: the clean pass" in sequence.notes and "leave out" in sequence.notes[-1]


def test_colmap_distortion_is_said_and_fisheye_has_no_matrix(tmp_path: Path) -> None:
    LAYOUTS["colmap-text"][1](tmp_path, take())
    (tmp_path / "sparse/0/cameras.txt").write_text("4 SIMPLE_RADIAL 96 72 90 48 36 -0.1\n")
    [sequence] = open_sequence("colmap", tmp_path)
    np.testing.assert_array_equal(sequence[0].intrinsics, camera_matrix(90, 90, 47.5, 35.5))  # type: ignore[arg-type]
    assert any("SIMPLE_RADIAL is not undone" in note for note in sequence.notes)
    (tmp_path / "sparse/0/cameras.txt").write_text("4 OPENCV_FISHEYE 96 72 90 90 48 36 0 0 0 0\n")
    [sequence] = open_sequence("colmap", tmp_path)
    assert sequence[0].intrinsics is None


def test_nerfstudio_by_angle_and_without_endings(tmp_path: Path) -> None:
    Image.new("RGB", (20, 10)).save(tmp_path / "r_0.png")
    frames = [{"file_path": "./r_0", "transform_matrix": np.eye(4).tolist()}]
    (tmp_path / "transforms.json").write_text(json.dumps({"camera_angle_x": np.pi / 2, "frames": frames}))
    [sequence] = open_sequence("nerfstudio", tmp_path)
    frame = sequence[0]
    np.testing.assert_allclose(frame.intrinsics, camera_matrix(10, 10, 9.5, 4.5))  # type: ignore[arg-type]
    np.testing.assert_array_equal(frame.world_from_cam, np.diag([1, -1, -1, 1]))  # type: ignore[arg-type]
