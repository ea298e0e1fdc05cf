# SPDX-License-Identifier: Apache-2.0
"""Preparation of pictures: the kit's goldens, then properties of the crop and of the pixel map."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import PIL
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file

from longtake.errors import InputError
from longtake.sources.picture import read_picture
from longtake.tokenize.images import prepare, to_tensor

KIT = Path(__file__).resolve().parents[2].parent / "shared" / "kit" / "recurrent" / "postproc"
GOLDEN = json.loads((KIT / "images.json").read_text()) if (KIT / "images.json").exists() else {"pillow": "", "rows": []}
LOADERS = {
    "load_images": {},
    "load_images_square_ok": {"square_ok": True},
    "eval_crop": {},
    "eval_resize": {"mode": "resize"},
}
SIDE = st.integers(1, 700)


def picture(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows % 256, columns % 256, (rows * 7 + columns * 3) % 256], -1).astype(np.uint8)


@pytest.mark.skipif(not GOLDEN["rows"], reason="the kit is not beside the repository (../shared/kit/recurrent)")
def test_every_golden_row() -> None:
    samples = load_file(KIT / "image_samples.safetensors")
    checked = 0
    for row in GOLDEN["rows"]:
        if row.get("error"):
            continue
        name = f"{row['file']}|{row['size']}|{row['loader']}"
        original = read_picture(KIT / "images" / row["file"])
        image, pixel_map = prepare(original, row["size"], short_side_crop=row["size"] == 224, **LOADERS[row["loader"]])
        assert list(image.shape[:2]) == row["true_shape"], name
        assert pixel_map.size == (image.shape[1], image.shape[0])
        if row["u8_sha256"] and PIL.__version__ == GOLDEN["pillow"]:
            assert hashlib.sha256(image.tobytes()).hexdigest() == row["u8_sha256"], name
        if name in samples:
            assert np.abs(image[::16, ::16].astype(int) - samples[name].astype(int)).max() <= 3, name
        tensor = to_tensor(image)
        assert list(tensor.shape) == row["shape"][1:]
        assert tensor.double().mean().item() == pytest.approx(row["mean"], abs=2e-3)
        assert tensor.double().std().item() == pytest.approx(row["std"], abs=2e-3)
        checked += 1
    assert checked >= 90


@settings(deadline=None, max_examples=40)
@given(SIDE, SIDE, st.sampled_from([16, 64, 100, 224, 240]), st.booleans(), st.booleans(), st.booleans())
def test_any_picture_gives_whole_patches(
    height: int, width: int, size: int, square_ok: bool, resize: bool, short: bool
) -> None:
    image, pixel_map = prepare(
        picture(height, width),
        size,
        square_ok=square_ok,
        mode="resize" if resize else "crop",
        short_side_crop=short,
    )
    new_height, new_width, _ = image.shape
    assert image.dtype == np.uint8
    assert new_height % 16 == new_width % 16 == 0
    assert 16 <= new_height <= size and 16 <= new_width <= size
    assert pixel_map.original_size == (width, height)
    k = np.array([[500.0, 0.3, 111.0], [0, 480.0, 77.0], [0, 0, 1]])
    np.testing.assert_allclose(pixel_map.to_original(pixel_map.to_model(k)), k, rtol=1e-12, atol=1e-9)
    # The model's image lies inside the original, up to the rounding of the resized sides.
    (sx, sy), (ox, oy) = pixel_map.scale, pixel_map.offset
    assert ox >= -1e-9 and oy >= -1e-9
    assert ox + new_width <= width * sx + 1e-6
    assert oy + new_height <= height * sy + 1e-6


@pytest.mark.parametrize("mode", ["crop", "resize"])
@pytest.mark.parametrize(("height", "width"), [(300, 400), (400, 300), (90, 120), (33, 2500)])
def test_the_pixel_map_points_at_the_same_content(height: int, width: int, mode: str) -> None:
    # A linear ramp keeps its value under resampling, so every model pixel tells which original pixel it came from.
    for axis, length in ((0, height), (1, width)):
        ramp = np.linspace(0, 255, length)
        plane = np.broadcast_to(ramp[:, None] if axis == 0 else ramp[None, :], (height, width))
        original = np.repeat(np.round(plane)[..., None], 3, axis=-1).astype(np.uint8)
        image, pixel_map = prepare(original, 160, mode=mode)  # type: ignore[arg-type]
        scale, offset = pixel_map.scale[1 - axis], pixel_map.offset[1 - axis]
        middle = image[image.shape[0] // 2, :, 0] if axis == 1 else image[:, image.shape[1] // 2, 0]
        at = (np.arange(len(middle)) + offset + 0.5) / scale - 0.5
        expected = np.interp(at, np.arange(length), ramp)
        inner = slice(4, -4)  # the filter is cut off at the border
        assert np.abs(middle.astype(float) - expected)[inner].max() <= 2.0


def test_a_square_is_four_to_three_in_whole_patches() -> None:
    assert prepare(picture(300, 300), 512)[0].shape == (384, 512, 3)
    assert prepare(picture(300, 300), 240)[0].shape == (176, 240, 3)
    assert prepare(picture(300, 300), 240, square_ok=True)[0].shape == (240, 240, 3)
    assert prepare(picture(300, 300), 16)[0].shape == (16, 16, 3)
    assert prepare(picture(300, 400), 518, patch=14)[0].shape == (378, 518, 3)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 8000), (8000, 1), (2, 3), (16, 8000)])
def test_tiny_and_thin_pictures_are_enlarged(height: int, width: int) -> None:
    for short in (False, True):
        image, _ = prepare(picture(height, width), 240, short_side_crop=short)
        assert min(image.shape[:2]) >= 16 and max(image.shape[:2]) <= 240


def test_a_huge_picture_is_prepared() -> None:
    image, pixel_map = prepare(np.zeros((6000, 8000, 3), np.uint8), 240)
    assert image.shape == (176, 240, 3)
    assert pixel_map.original_size == (8000, 6000)


def test_wrong_arrays_are_named() -> None:
    for wrong in (np.zeros((4, 4)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)):
        with pytest.raises(InputError, match="needs"):
            prepare(wrong, 240)
    with pytest.raises(InputError, match="patch"):
        prepare(picture(4, 4), 8)


def test_tensor_range_and_independence() -> None:
    image = np.array([[[0, 128, 255]]], np.uint8)
    tensor = to_tensor(image)
    assert tensor.dtype == torch.float32 and tensor.shape == (3, 1, 1)
    assert tensor.flatten().tolist() == pytest.approx([-1.0, 128 / 255 * 2 - 1, 1.0], abs=1e-6)
    tensor.zero_()
    assert image.tolist() == [[[0, 128, 255]]]
