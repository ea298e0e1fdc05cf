# SPDX-License-Identifier: Apache-2.0
"""Inputs that are wrong or unusual, made on the spot, and what is to be said of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from clips import picture, write_clip
from PIL import Image

Maker = Callable[[Path], str]  # makes the thing in an empty folder and returns what to type


def missing(folder: Path) -> str:
    (folder / "walk.mp4").write_bytes(b"x")
    return str(folder / "wlak.mp4")


def rubbish(folder: Path) -> str:
    (folder / "a.mp4").write_bytes(np.random.default_rng(0).bytes(20_000))
    return str(folder / "a.mp4")


def empty_file(folder: Path) -> str:
    (folder / "a.mp4").touch()
    return str(folder / "a.mp4")


def text_as_video(folder: Path) -> str:
    (folder / "a.mp4").write_text("#EXTM3U\nhttp://example.org/a.ts\n")
    return str(folder / "a.mp4")


def text_as_picture(folder: Path) -> str:
    (folder / "a.png").write_text("I am a picture, believe me.\n")
    return str(folder / "a.png")


def sound_only(folder: Path) -> str:
    with av.open(str(folder / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), format="fltp", layout="mono")
        frame.rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return str(folder / "a.mp4")


def no_frames(folder: Path) -> str:
    path = write_clip(folder / "a.mkv", 5)
    data = path.read_bytes()
    path.write_bytes(data[: data.find(b"\x1f\x43\xb6\x75") + 60])  # a few bytes of the first frame
    return str(path)


def never_finished(folder: Path) -> str:
    path = write_clip(folder / "b.mp4", 5)
    data = path.read_bytes()
    path.write_bytes(data[: data.find(b"moov") - 4])
    return str(path)


def too_long_a_name(folder: Path) -> str:
    return str(folder / ("x" * 5000))


def folder_without_pictures(folder: Path) -> str:
    (folder / "notes.txt").write_text("nothing to see")
    return str(folder)


def empty_folder(folder: Path) -> str:
    return str(folder)


def empty_glob(folder: Path) -> str:
    return str(folder / "*.png")


def cut_picture(folder: Path) -> str:
    Image.fromarray(picture(0)).save(folder / "a.png")
    data = (folder / "a.png").read_bytes()
    (folder / "a.png").write_bytes(data[: len(data) // 2])
    return str(folder / "a.png")


def folder_of_text(folder: Path) -> str:
    for name in ("1.png", "2.png"):
        (folder / name).write_text("no picture\n")
    return str(folder)


def pure_noise_bits(folder: Path) -> str:
    Image.fromarray(np.array([[0, 70_000]], np.int32)).save(folder / "a.tif")
    return str(folder / "a.tif")


REFUSED: list[tuple[Maker, tuple[str, ...]]] = [
    (missing, ("there is no such file", "Did you mean", "walk.mp4")),
    (rubbish, ("a.mp4: ", "not a video")),
    (empty_file, ("empty (0 bytes)", "Copy it again")),
    (text_as_video, ("this is text, not a video", "Pass a video")),
    (text_as_picture, ("this is text, not a picture", "Pass a PNG")),
    (sound_only, ("no video stream", "Pass a video file")),
    (no_frames, ("not one frame", "copy it again")),
    (never_finished, ("not a video that can be opened", "index is missing: copy or record it again")),
    (too_long_a_name, ("there is no such file",)),
    (folder_without_pictures, ("no images in this folder", "Pass a folder with PNG")),
    (empty_folder, ("It is empty",)),
    (empty_glob, ("no file matches this pattern", "Check the folder")),
    (cut_picture, ("damaged or cut off", "Copy or save it again")),
    (folder_of_text, ("none of its pictures can be read", "this is text")),
    (pure_noise_bits, ("32-bit grey values from 0 to 70000", "Save the picture as 8-bit RGB")),
]


def grey(folder: Path) -> str:
    Image.fromarray(picture(0)[..., 0]).save(folder / "a.png")
    return str(folder / "a.png")


def alpha(folder: Path) -> str:
    Image.fromarray(np.dstack([picture(0), picture(0)[..., :1]])).save(folder / "a.png")
    return str(folder / "a.png")


def sixteen_bits(folder: Path) -> str:
    Image.fromarray(picture(0)[..., 0].astype(np.uint16) * 257).save(folder / "a.png")
    return str(folder / "a.png")


def palette(folder: Path) -> str:
    Image.fromarray(picture(0)).quantize(16).save(folder / "a.png", transparency=0)
    return str(folder / "a.png")


def four_inks(folder: Path) -> str:
    Image.fromarray(picture(0)).convert("CMYK").save(folder / "a.jpg")
    return str(folder / "a.jpg")


def one_pixel(folder: Path) -> str:
    Image.new("RGB", (1, 1), (9, 9, 9)).save(folder / "a.png")
    return str(folder / "a.png")


def a_line(folder: Path) -> str:
    Image.new("RGB", (3000, 1), (9, 9, 9)).save(folder / "a.png")
    return str(folder / "a.png")


def huge(folder: Path) -> str:
    Image.new("L", (8000, 6000), 90).save(folder / "a.jpg")
    return str(folder / "a.jpg")


def one_frame(folder: Path) -> str:
    return str(write_clip(folder / "a.mp4", 1))


def moving_gif(folder: Path) -> str:
    Image.fromarray(picture(0)).save(folder / "a.gif", save_all=True, append_images=[Image.fromarray(picture(9))])
    return str(folder / "a.gif")


TAKEN: list[tuple[Maker, int]] = [
    (grey, 1), (alpha, 1), (sixteen_bits, 1), (palette, 1), (four_inks, 1), (one_pixel, 1), (a_line, 1), (huge, 1),
    (one_frame, 1), (moving_gif, 2),
]  # fmt: skip
