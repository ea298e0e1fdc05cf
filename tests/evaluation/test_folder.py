# SPDX-License-Identifier: Apache-2.0
"""The reader of take folders: what it selects, how it pairs pixels, and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from evaluation_oracle import INTRINSICS, SIZE, random_path, true_depth, write_take
from PIL import Image

from longtake.errors import InputError
from longtake.evaluation.folder import TakeFolder, size_ratio


def test_reads_what_was_written(tmp_path: Path) -> None:
    take = TakeFolder(write_take(tmp_path / "take", frames=4, seed=3))
    assert (take.name, len(take)) == ("take", 4)
    np.testing.assert_allclose(take.world_from_cam, random_path(4, 3), atol=1e-8)
    np.testing.assert_allclose(take.intrinsics, INTRINSICS)
    frame, depth = take.frame(2), take.depth(2)
    assert frame.image.shape == (SIZE[1], SIZE[0], 3) and frame.image.dtype == np.uint8 and frame.index == 2
    assert depth is not None and take.depth_ratio(2) == 2
    assert (depth[:3] == 0).all()
    expected = true_depth(2, np.arange(0, SIZE[0], 2), np.arange(0, SIZE[1], 2))
    np.testing.assert_allclose(depth[3:], expected[3:], atol=5.1e-4)


def test_start_stride_and_max_frames_select_images_poses_and_depth_alike(tmp_path: Path) -> None:
    path = write_take(tmp_path / "take", frames=9, depth_every=2)
    take, whole = TakeFolder(path, start=1, stride=3, max_frames=2), TakeFolder(path)
    assert take.indices == (1, 4)
    assert [frame.index for frame in take] == [1, 4]
    np.testing.assert_array_equal(take.world_from_cam, whole.world_from_cam[[1, 4]])
    assert take.depth(0) is None and take.depth(1) is not None
    np.testing.assert_array_equal(take.frame(1).image, whole.frame(4).image)


@pytest.mark.parametrize(("ratio", "size"), [(1, (64, 48)), (2, (32, 24)), (3, (22, 16)), (4, (16, 12))])
def test_ratio_of_sizes(ratio: int, size: tuple[int, int]) -> None:
    assert size_ratio(SIZE, size) == ratio


@pytest.mark.parametrize("size", [(32, 48), (31, 24), (60, 45), (128, 96)])
def test_sizes_without_a_whole_ratio_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match="every r-th"):
        size_ratio(SIZE, size)


def edit_lines(path: Path, lines: list[str]) -> None:
    path.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("break_it", "message"),
    [
        (lambda p: (p / "rgb/000000.png").unlink(), "4 images in rgb/ but 5 lines"),
        (lambda p: (p / "poses.txt").unlink(), "no such file"),
        (lambda p: (p / "intrinsics.txt").unlink(), "no such file"),
        (lambda p: (p / "intrinsics.txt").write_text("1 2 3"), "3x3"),
        (lambda p: (p / "rgb").rename(p / "color"), "no such folder"),
        (lambda p: [f.unlink() for f in (p / "rgb").iterdir()], "holds no"),
        (lambda p: (p / "depth/000001.png").rename(p / "depth/7.png"), "same name"),
        (lambda p: edit_lines(p / "poses.txt", ["1 2 3"]), "has 3 numbers"),
        (lambda p: edit_lines(p / "poses.txt", ["x"]), "numbers only"),
        (lambda p: edit_lines(p / "poses.txt", ["2 0 0 0 0 2 0 0 0 0 2 0 0 0 0 1"] * 5), "rigid"),
        (lambda p: edit_lines(p / "poses.txt", ["nan 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"] * 5), "rigid"),
        (lambda p: edit_lines(p / "poses.txt", ["-1 0 0 0 0 1 0 0 0 0 1 0 0 0 0 1"] * 5), "rigid"),
    ],
)  # fmt: skip
def test_broken_folders_end_in_a_named_error(tmp_path: Path, break_it: object, message: str) -> None:
    path = write_take(tmp_path / "take")
    break_it(path)  # type: ignore[operator]
    with pytest.raises(InputError, match=message):
        TakeFolder(path)


def test_selections_that_hold_nothing_are_refused(tmp_path: Path) -> None:
    path = write_take(tmp_path / "take")
    for options in ({"start": 5}, {"start": -1}, {"stride": 0}, {"max_frames": 0}):
        with pytest.raises(InputError):
            TakeFolder(path, **options)


def test_images_that_are_not_images_and_depth_that_is_not_depth(tmp_path: Path) -> None:
    path = write_take(tmp_path / "take")
    (path / "rgb/000001.png").write_text("this is text")
    Image.new("RGB", (32, 24)).save(path / "depth/000002.png")
    take = TakeFolder(path)
    with pytest.raises(InputError, match="cannot be read"):
        take.frame(1)
    with pytest.raises(InputError, match="16-bit"):
        take.depth(2)
