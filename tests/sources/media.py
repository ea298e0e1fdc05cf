# SPDX-License-Identifier: Apache-2.0
"""Small videos and pictures that the tests of the sources make for themselves."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

WIDTH, HEIGHT, FPS = 96, 64, 15


def picture(index: int, height: int = HEIGHT, width: int = WIDTH) -> np.ndarray:
    """A picture that tells its index by its grey level, with a red corner at the top left and noise at the right."""
    image = np.full((height, width, 3), 40 + 4 * index, np.uint8)
    image[: height // 4, : width // 4] = (230, 20, 20)
    rng = np.random.default_rng(index)  # so that files are not all header
    image[:, width // 2 :] = rng.integers(0, 255, (height, width - width // 2, 3))
    return image


def index_of(image: np.ndarray) -> int:
    """Read the index back from a decoded picture."""
    height, width, _ = image.shape
    return round((float(image[height // 2 : -2, 4 : width // 2 - 4].mean()) - 40) / 4)


def write_video(
    path: Path,
    count: int = 30,
    *,
    times: Sequence[int] | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Write a tiny video; `times` are presentation times in units of 1/FPS."""
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        stream.codec_context.thread_count = 1
        if codec == "libx264":
            stream.options = {"g": "10", "crf": "12", "preset": "veryfast", "bf": "2"}
        if aspect is not None:
            stream.codec_context.sample_aspect_ratio = aspect
        for position in range(count):
            frame = av.VideoFrame.from_ndarray(picture(position), format="rgb24")
            frame.pts, frame.time_base = (times[position] if times else position), Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def set_display_matrix(path: Path, a: int, b: int, c: int, d: int) -> Path:
    """Write signs of a display matrix into the track header of an MP4, as phones do."""
    data = bytearray(path.read_bytes())
    box = data.find(b"tkhd")
    matrix = box + 4 + 4 + 20 + 16  # name, version and flags, times and ids and duration, layer to reserved
    assert data[box + 4] == 0
    struct.pack_into(">9i", data, matrix, a << 16, b << 16, 0, c << 16, d << 16, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def cut(path: Path, share: float) -> Path:
    """Write a copy that stops early."""
    data = path.read_bytes()
    short = path.with_name(f"cut_{path.name}")
    short.write_bytes(data[: int(len(data) * share)])
    return short
