# SPDX-License-Identifier: Apache-2.0
"""From a picture to what VGGT sees, by its width, and the way back for its pixels."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.errors import InputError
from longtake.tokenize.images_wide import prepare_wide

SIDES = st.integers(1, 300)


@settings(max_examples=60, deadline=None)
@given(SIDES, SIDES, st.sampled_from([(28, 14), (56, 14), (32, 16)]))
def test_sizes_are_whole_patches_and_at_most_square(height: int, width: int, sizes: tuple[int, int]) -> None:
    size, patch = sizes
    made, pixel_map = prepare_wide(np.zeros((height, width, 3), np.uint8), size, patch=patch)
    rows = max(round(height * size / width / patch), 1) * patch if height <= 16 * width else size
    assert made.shape == (min(rows, size), size, 3)
    assert pixel_map.size == (size, made.shape[0])
    assert pixel_map.original_size == (width, height)


def test_a_picture_that_fits_is_left_alone() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (42, 56, 3), dtype=np.uint8)
    made, pixel_map = prepare_wide(picture, 56)
    assert (made == picture).all()
    assert (pixel_map.scale, pixel_map.offset) == ((1.0, 1.0), (0.0, 0.0))


def test_what_is_higher_than_wide_is_cut_at_the_centre() -> None:
    picture = np.zeros((140, 70, 3), np.uint8)
    picture[35:105] = 200
    made, pixel_map = prepare_wide(picture, 70)
    assert (made == 200).all()
    assert pixel_map.offset == (0.0, 35.0)


@pytest.mark.parametrize("shape", [(80, 120), (300, 100), (1000, 20)])
def test_the_map_leads_a_mark_to_its_place(shape: tuple[int, int]) -> None:
    """A bright block keeps its centre of gravity where the map says, as far as a few pixels of blur let it."""
    height, width = shape
    picture = np.zeros((height, width, 3), np.uint8)
    top, left, side = height // 2 - 6, width // 2 - 4, 6
    picture[top : top + side, left : left + side] = 255
    made, pixel_map = prepare_wide(picture, 112)
    weight = made[..., 0].astype(float)
    centre = [float((weight * axis).sum() / weight.sum()) for axis in np.mgrid[: made.shape[0], : made.shape[1]]]
    at = (left + (side - 1) / 2, top + (side - 1) / 2)
    u, v = ((p + 0.5) * s - 0.5 - o for p, s, o in zip(at, pixel_map.scale, pixel_map.offset, strict=True))
    assert abs(centre[1] - u) < 0.3
    assert abs(centre[0] - v) < 0.3


def test_a_very_thin_strip_takes_no_memory() -> None:
    made, _ = prepare_wide(np.zeros((200_000, 1, 3), np.uint8), 518)
    assert made.shape == (518, 518, 3)
    made, _ = prepare_wide(np.zeros((1, 200_000, 3), np.uint8), 518)
    assert made.shape == (14, 518, 3)


@pytest.mark.parametrize("bad", [np.zeros((4, 4), np.uint8), np.zeros((4, 4, 3)), np.zeros((0, 4, 3), np.uint8)])
def test_what_is_no_picture(bad: np.ndarray) -> None:
    with pytest.raises(InputError, match="uint8 RGB"):
        prepare_wide(bad, 28)
