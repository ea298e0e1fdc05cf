# SPDX-License-Identifier: Apache-2.0
"""Pictures prepared by matrix products against those that Pillow prepares: not one grey level apart."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import longtake
from longtake.errors import CapabilityError, InputError
from longtake.families.vggt import Vggt
from longtake.frame import Frame
from longtake.registry import find
from longtake.stream import Stream
from longtake.tokenize.images import prepare, to_tensor
from longtake.tokenize.images_device import ONE, DevicePreparer, resize_matrix

CPU = torch.device("cpu")
DEVICES = [CPU, pytest.param(torch.device("cuda"), marks=pytest.mark.gpu)]


def picture(height: int, width: int, *, smooth: bool = False) -> np.ndarray:
    rng = np.random.default_rng(height * 10007 + width)
    if not smooth:
        return rng.integers(0, 256, (height, width, 3), np.uint8)
    y, x = np.mgrid[:height, :width]
    waves = [np.sin(x / (5 + 7 * c)) * np.cos(y / (9 + 4 * c)) for c in range(3)]
    return ((np.stack(waves, -1) * 0.5 + 0.5) * 255).astype(np.uint8)


@pytest.mark.parametrize("device", DEVICES, ids=str)
@pytest.mark.parametrize("smooth", [False, True])
@pytest.mark.parametrize(
    ("height", "width", "size"),
    [
        (480, 640, 512),
        (270, 480, 160),
        (64, 48, 512),
        (300, 300, 240),
        (37, 211, 96),
        (3, 400, 64),
        (500, 2, 64),
        (1, 1, 64),
        (96, 128, 128),
    ],
)
def test_the_same_as_pillow(height: int, width: int, size: int, smooth: bool, device: torch.device) -> None:
    image = picture(height, width, smooth=smooth)
    for options in ({}, {"square_ok": True}, {"short_side_crop": True}):
        if options.get("short_side_crop") and max(height, width) > 4 * min(height, width):
            continue  # a picture of many thousand pixels
        wanted, pixel_map = prepare(image, size, **options)
        shown, made, same_map = DevicePreparer(device)(image, size, **options)
        assert same_map == pixel_map and shown.shape == wanted.shape and shown.dtype == np.uint8
        apart = np.abs(shown.astype(int) - wanted)
        assert apart.max() == 0, "promised is one level; kept is none"
        assert made.device.type == device.type and made.is_contiguous()
        torch.testing.assert_close(made.cpu(), to_tensor(shown), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("before", "after"), [(640, 512), (512, 640), (7, 3), (3, 7), (1, 5), (100, 100)])
@pytest.mark.parametrize("kind", ["lanczos", "bicubic"])
def test_weights_are_pillows(before: int, after: int, kind: str) -> None:
    """Read off Pillow itself: what a picture of one bright column becomes is a column of weights."""
    matrix = resize_matrix(before, after, kind, CPU).numpy() / ONE  # type: ignore[arg-type]
    np.testing.assert_allclose(matrix.sum(1), 1, atol=1e-6)
    resample = Image.Resampling.LANCZOS if kind == "lanczos" else Image.Resampling.BICUBIC
    for column in range(0, before, max(1, before // 7)):
        bright = np.zeros((1, before), np.float32)
        bright[0, column] = 1
        theirs = np.array(Image.fromarray(bright).resize((after, 1), resample))[0]
        np.testing.assert_allclose(matrix[:, column], theirs, atol=1e-5)


def test_a_stream_that_prepares_where_the_model_is() -> None:
    model = longtake.load(device="cpu")
    host, there = model.stream(), model.stream(prepare_on="device")
    assert host.describe()["prepared_on"] == "host" and there.describe()["prepared_on"] == "device"
    for i in range(2):
        frame = Frame(picture(270, 480 + i, smooth=True), float(i), i)
        a, b = host.step(frame), there.step(frame)
        assert np.abs(a.image.numpy().astype(int) - b.image.numpy()).max() <= 1
        torch.testing.assert_close(b.world_from_cam, a.world_from_cam, rtol=0, atol=2e-2)
        assert ((a.depth - b.depth).abs() / a.depth).median() < 0.02


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(CapabilityError, match="on the host only"):
        Stream(Vggt(find("vggt").config.tiny()).eval(), prepare_on="device")
    with pytest.raises(InputError, match="prepare_on='gpu'"):
        longtake.load(device="cpu").stream(prepare_on="gpu")
    with pytest.raises(InputError, match="uint8 RGB"):
        DevicePreparer(CPU)(np.zeros((4, 4, 3), np.float32), 64)  # type: ignore[arg-type]


def test_the_callers_picture_stays_its_own() -> None:
    image = picture(64, 96)
    before = image.copy()
    image.flags.writeable = False
    shown, _, _ = DevicePreparer(CPU)(image, 96)
    assert np.array_equal(image, before) and not np.shares_memory(shown, image)
