# SPDX-License-Identifier: Apache-2.0
"""Pictures on disk: natural order, orientation, every mode, damage."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from longtake.errors import InputError
from longtake.sources import images, open_source, probe
from longtake.sources.image_files import natural_key
from longtake.sources.picture import looks_like_text, read_picture

RNG = np.random.default_rng(0)
RGB = RNG.integers(0, 256, (5, 7, 3)).astype(np.uint8)


def save(path: Path, array: np.ndarray, mode: str | None = None, **options: object) -> Path:
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)  # type: ignore[arg-type]
    return path


def test_natural_order_and_times(tmp_path: Path) -> None:
    for number in (10, 9, 1, 100, 2):
        save(tmp_path / f"frame{number}.png", np.full((4, 6, 3), number, np.uint8))
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / ".hidden.png").write_text("rubbish")
    source = images(tmp_path)
    frames = list(source)
    assert [f.image[0, 0, 0] for f in frames] == [1, 2, 9, 10, 100]
    assert [f.name for f in frames][:2] == ["frame1.png", "frame2.png"]
    assert [f.index for f in frames] == list(range(5))
    assert [f.time for f in frames] == [i / 30 for i in range(5)]
    assert (source.length, source.size, source.notes, source.name) == (5, (6, 4), [], tmp_path.name)
    assert [f.time for f in images(tmp_path, fps=2)] == [0, 0.5, 1, 1.5, 2]
    assert [f.index for f in images(tmp_path, fps=2, start=0.5, end=2, stride=2)] == [1, 3]
    assert [f.name for f in open_source(str(tmp_path / "frame1*.png"))] == ["frame1.png", "frame10.png", "frame100.png"]
    chosen = [tmp_path / "frame9.png", str(tmp_path / "frame2.png")]
    assert [f.name for f in open_source(chosen)] == ["frame9.png", "frame2.png"]  # a list keeps its order
    info = probe(tmp_path)
    assert (info.kind, info.frames, info.size, info.codec) == ("images", 5, (6, 4), "png")


@given(st.lists(st.integers(0, 10**12), min_size=1, max_size=8, unique=True))
def test_numbers_sort_as_numbers(numbers: list[int]) -> None:
    names = sorted((Path(f"a{n}b.png") for n in numbers), key=natural_key)
    assert [int(p.stem[1:-1]) for p in names] == sorted(numbers)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation(orientation: int, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / "a.png", RGB, exif=exif)
    turned = {
        1: RGB, 2: RGB[:, ::-1], 3: RGB[::-1, ::-1], 4: RGB[::-1],
        5: RGB.transpose(1, 0, 2), 6: np.rot90(RGB, -1), 7: RGB.transpose(1, 0, 2)[::-1, ::-1], 8: np.rot90(RGB),
    }[orientation]  # fmt: skip
    source = images(path)
    image = next(iter(source)).image
    assert np.array_equal(image, turned)
    assert source.size == (image.shape[1], image.shape[0])


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path) -> None:
    grey = np.array([[0, 128, 129, 257 * 100, 65535]], np.uint16)
    for name in ("a.png", "a.tif"):
        image = read_picture(save(tmp_path / name, grey))
        assert image.shape == (1, 5, 3)
        assert image[0, :, 0].tolist() == [0, 0, 1, 100, 255]
        assert (image[..., 0] == image[..., 2]).all()
    image = read_picture(save(tmp_path / "wide.tif", grey.astype(np.int32)))
    assert image[0, :, 1].tolist() == [0, 0, 1, 100, 255]


@pytest.mark.parametrize(("mode", "suffix"), [
    ("RGB", "png"), ("RGBA", "png"), ("L", "png"), ("LA", "png"), ("1", "png"), ("P", "png"), ("P", "bmp"),
    ("CMYK", "tif"), ("CMYK", "jpg"), ("L", "jpg"), ("YCbCr", "jpg"), ("RGB", "webp"), ("RGB", "ppm"), ("LAB", "tif"),
])  # fmt: skip
def test_every_mode_becomes_rgb(mode: str, suffix: str, tmp_path: Path) -> None:
    smooth = np.zeros((32, 32, 3), np.uint8)
    smooth[:, 16:] = 255 if mode in ("1", "L", "LA") else (250, 120, 20)
    image = Image.fromarray(smooth)
    if mode == "LAB":
        from PIL import ImageCms

        image = ImageCms.profileToProfile(
            image, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
        )
        assert image is not None
    else:
        image = image.convert(mode)
    path = tmp_path / f"a.{suffix}"
    image.save(path)
    result = read_picture(path)
    assert result.shape == (32, 32, 3) and result.dtype == np.uint8
    worst = np.abs(result[:, 20:].astype(int) - smooth[:, 20:]).max()
    assert worst <= {"P": 80, "LAB": 40}.get(mode, 8)
    assert result[:, :12].max() <= 12


def test_palette_with_transparency_and_alpha(tmp_path: Path) -> None:
    palette = Image.fromarray(RGB).quantize(4)
    palette.save(tmp_path / "p.png", transparency=bytes([0, 128, 255, 255]))
    assert read_picture(tmp_path / "p.png").shape == RGB.shape
    clear = np.dstack([RGB, np.zeros(RGB.shape[:2], np.uint8)])
    assert np.array_equal(read_picture(save(tmp_path / "a.png", clear)), RGB)  # colour stays, alpha goes


def test_floats(tmp_path: Path) -> None:
    grey = np.array([[0.0, 0.5, 1.0]], np.float32)
    assert read_picture(save(tmp_path / "a.tif", grey))[0, :, 0].tolist() == [0, 128, 255]
    with pytest.raises(InputError, match=r"a2.tif.*\[0, 1\]"):
        read_picture(save(tmp_path / "a2.tif", grey * 300))


def test_unreadable_pictures_are_skipped_with_a_note(tmp_path: Path) -> None:
    big = RNG.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    for number in range(4):
        save(tmp_path / f"{number}.png", big)
    (tmp_path / "1.png").write_bytes((tmp_path / "0.png").read_bytes()[:2000])
    (tmp_path / "2.png").write_text("this is text\n" * 20)
    source = images(tmp_path)
    frames = list(source)
    assert [(f.index, f.name) for f in frames] == [(0, "0.png"), (3, "3.png")]
    assert len(source.notes) == 1
    assert source.notes[0].startswith("2 unreadable") and "1.png" in source.notes[0] and "text" in source.notes[0]
    assert len(list(images(tmp_path, max_frames=2))) == 2  # what was skipped does not count
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n rubbish \0\0")
    with pytest.raises(InputError, match=r"none of its pictures.*0\.png.*empty"):
        list(images(tmp_path))


def test_a_picture_that_is_text(tmp_path: Path) -> None:
    path = tmp_path / "photo.jpg"
    path.write_text("Dear diary, no photo today.\n" * 300 + "ä" * 3000)
    with pytest.raises(InputError, match=r"photo\.jpg: this is text, not a picture"):
        list(open_source(path))
    assert looks_like_text(path)
    assert not looks_like_text(save(tmp_path / "b.png", RGB))


def test_tiny_and_huge_and_mixed_sizes(tmp_path: Path) -> None:
    save(tmp_path / "1.png", np.full((1, 1, 3), 9, np.uint8))
    Image.new("RGB", (8000, 6000), (1, 2, 3)).save(tmp_path / "2.png", compress_level=1)
    save(tmp_path / "3.png", RGB)
    assert [f.image.shape for f in images(tmp_path)] == [(1, 1, 3), (6000, 8000, 3), (5, 7, 3)]


def test_one_picture_is_a_take_of_one(tmp_path: Path) -> None:
    source = open_source(save(tmp_path / "a.png", RGB))
    assert (len(list(source)), source.length, source.kind) == (1, 1, "images")
    bare = tmp_path / "no_suffix"
    bare.write_bytes((tmp_path / "a.png").read_bytes())
    assert next(iter(open_source(bare))).image.shape == RGB.shape
