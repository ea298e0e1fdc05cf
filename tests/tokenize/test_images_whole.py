# SPDX-License-Identifier: Apache-2.0
"""Pictures that are prepared whole: borders, sizes, and pixels that keep their place."""

from __future__ import annotations

import numpy as np
import pytest

from longtake.errors import InputError
from longtake.frame import PixelMap
from longtake.tokenize.images_whole import on_white, pad_to_largest, prepare_padded, prepare_square
from longtake.tokenize.images_wide import prepare_wide


def marked(height: int, width: int) -> tuple[np.ndarray, tuple[float, float]]:
    """A mid-grey picture with one bright block, and the block's centre (u, v)."""
    picture = np.full((height, width, 3), 100, np.uint8)
    top, left = height // 3, width // 2
    picture[top : top + 6, left : left + 6] = 220
    return picture, (left + 2.5, top + 2.5)


def placed(made: np.ndarray, pixel_map: PixelMap, at: tuple[float, float]) -> bool:
    """Whether the block lies where the map says, within a third of a pixel."""
    weight = ((made[..., 0] > 110) & (made[..., 0] < 250)) * (made[..., 0].astype(float) - 100)
    v, u = (float((weight * axis).sum() / weight.sum()) for axis in np.mgrid[: made.shape[0], : made.shape[1]])
    wanted = [(p + 0.5) * s - 0.5 - o for p, s, o in zip(at, pixel_map.scale, pixel_map.offset, strict=True)]
    return abs(u - wanted[0]) < 0.34 and abs(v - wanted[1]) < 0.34


@pytest.mark.parametrize("shape", [(60, 90), (90, 60), (64, 64)])
def test_pixels_keep_their_place(shape: tuple[int, int]) -> None:
    picture, at = marked(*shape)
    padded, padded_map = prepare_padded(picture, 112)
    square, square_map = prepare_square(picture, 112)
    assert padded.shape == square.shape == (112, 112, 3)
    assert placed(np.where(padded == 255, 100, padded), padded_map, at)
    assert placed(np.where(square < 100, 100, square), square_map, at)


def test_borders_have_their_colours_and_are_centred() -> None:
    picture = np.full((56, 112, 3), 100, np.uint8)
    padded, _ = prepare_padded(picture, 112)
    square, _ = prepare_square(picture, 112)
    for made, border in ((padded, 255), (square, 0)):
        assert (made[:28] == border).all() and (made[84:] == border).all()
        assert (made[28:84] == 100).all()


def test_pictures_of_several_sizes_get_one() -> None:
    (wide, at), (flat, at_flat) = marked(60, 100), marked(40, 100)
    made = pad_to_largest([prepare_wide(wide, 112), prepare_wide(flat, 112)])
    assert [picture.shape for picture, _ in made] == [(70, 112, 3)] * 2
    assert all(pixel_map.size == (112, 70) for _, pixel_map in made)
    assert placed(*made[0], at)
    picture, pixel_map = made[1]
    assert (picture[:14] == 255).all() and (picture[-14:] == 255).all()
    assert placed(np.where(picture == 255, 100, picture), pixel_map, at_flat)


def test_what_is_transparent_is_white() -> None:
    picture = np.zeros((2, 2, 4), np.uint8)
    picture[0, :, 3] = 255
    assert on_white(picture).tolist() == [[[0] * 3] * 2, [[255] * 3] * 2]


def test_what_is_no_picture() -> None:
    for made in (lambda x: prepare_padded(x, 28), lambda x: prepare_square(x, 28), on_white):
        with pytest.raises(InputError, match="uint8 RGB"):
            made(np.zeros((4, 4), np.uint8))
