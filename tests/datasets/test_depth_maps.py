# SPDX-License-Identifier: Apache-2.0
"""Depth maps on the pixels of their pictures: nothing invented, nothing moved off its ray, nothing lost."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from longtake.datasets.depth import between_cameras, every_rth, read_png_depth, resized, same_size
from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix

SIDE = st.integers(1, 14)


def test_values_scales_and_what_counts_as_unknown(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.array([[0, 1, 1000, 9999, 10001, 65535]], np.uint16)).save(path)
    np.testing.assert_allclose(read_png_depth(path, 1000)[0], [0, 0.001, 1, 9.999, 10.001, 65.535], rtol=1e-6)
    np.testing.assert_allclose(read_png_depth(path, 5000)[0], [0, 0.0002, 0.2, 1.9998, 2.0002, 13.107], rtol=1e-6)
    limited = read_png_depth(path, 1000, invalid=65535, nearest=0.002, farthest=10.0)
    np.testing.assert_allclose(limited[0], [0, 0, 1, 9.999, 0, 0], rtol=1e-6)
    assert read_png_depth(path, 5000, invalid=65535)[0, -1] == 0


def test_pictures_that_are_no_depth_are_refused(tmp_path: Path) -> None:
    Image.new("L", (4, 4), 7).save(tmp_path / "grey.png")
    with pytest.raises(InputError, match="one channel of 16 bits"):
        read_png_depth(tmp_path / "grey.png", 1000)
    data = (tmp_path / "grey.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    for name in ("cut.png", "missing.png"):
        with pytest.raises(InputError, match="cannot be read as a depth map"):
            read_png_depth(tmp_path / name, 1000)


def plain_place(depth: np.ndarray, shape: tuple[int, int], colour: np.ndarray, own: np.ndarray) -> np.ndarray:
    """Each depth pixel's ray, followed into the colour picture, one pixel at a time."""
    placed = np.zeros(shape)
    colour_from_depth = colour @ np.linalg.inv(own)
    for v in range(depth.shape[0]):
        for u in range(depth.shape[1]):
            x, y, _ = colour_from_depth @ [u, v, 1]
            column, row = int(np.floor(x + 0.5 + 1e-9)), int(np.floor(y + 0.5 + 1e-9))
            if 0 <= column < shape[1] and 0 <= row < shape[0]:
                placed[row, column] = depth[v, u]
    return placed


@given(SIDE, SIDE, st.floats(1.01, 3), st.floats(-3, 3))
def test_smaller_maps_follow_their_rays(height: int, width: int, scale: float, off: float) -> None:
    depth = 1 + np.arange(height * width, dtype=np.float32).reshape(height, width)
    own, colour = (
        camera_matrix(50, 40, width / 2, height / 2),
        camera_matrix(50 * scale, 40 * scale, scale * width / 2 + off, 20.3),
    )
    shape = (round(height * scale), round(width * scale))
    expected = plain_place(depth, shape, colour, own)
    np.testing.assert_array_equal(between_cameras(depth, shape, colour, own), expected)


@given(SIDE, SIDE, st.integers(1, 5))
def test_a_map_of_every_rth_pixel_keeps_every_value(height: int, width: int, ratio: int) -> None:
    full = 1 + np.arange(height * width, dtype=np.float32).reshape(height, width)
    small = full[::ratio, ::ratio]
    if round(width / small.shape[1]) != ratio:
        return  # too small a picture to tell the ratio
    spread = every_rth(small, full.shape)
    assert (spread > 0).sum() == small.size
    assert ((spread == full) | (spread == 0)).all()


@given(SIDE, SIDE, SIDE, SIDE)
def test_resizing_keeps_order_and_invents_nothing(height: int, width: int, rows: int, columns: int) -> None:
    depth = 1 + np.arange(height * width, dtype=np.float32).reshape(height, width)
    placed = resized(depth, (rows, columns))
    assert placed.shape == (rows, columns)
    assert (placed > 0).sum() == min(height, rows) * min(width, columns)
    assert set(np.unique(placed)) <= {0.0, *np.unique(depth)}
    known = placed[placed > 0]
    assert (np.diff(known) > 0).all()


def test_same_size_is_itself() -> None:
    depth = np.ones((3, 4), np.float32)
    assert same_size(depth, (3, 4)) is depth
    assert resized(depth, (3, 4)).tolist() == depth.tolist()


@pytest.mark.parametrize("place", [same_size, every_rth])
def test_sizes_that_do_not_agree_are_refused(place: object) -> None:
    with pytest.raises(InputError, match="depth is 4x3 for a picture of 9x5"):
        place(np.ones((3, 4), np.float32), (5, 9))  # type: ignore[operator]
