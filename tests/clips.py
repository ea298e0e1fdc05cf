# SPDX-License-Identifier: Apache-2.0
"""Videos of a moving picture, for tests that run the whole way from a file to files."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache
from pathlib import Path

import av
import numpy as np

FPS = 15


@cache
def _pattern(width: int, height: int) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    waves = [np.sin(x / 7) + np.cos(y / 5), np.sin((x + y) / 11), np.cos(x / 23) * np.sin(y / 13)]
    return np.stack([127 + 60 * wave for wave in waves], -1).clip(0, 255).astype(np.uint8)


def picture(index: int, width: int = 96, height: int = 64) -> np.ndarray:
    """A smooth pattern that drifts from frame to frame, (height, width, 3) uint8."""
    return np.roll(_pattern(width, height), (-index, -2 * index), (0, 1))


def write_clip(
    path: Path, count: int, *, width: int = 96, height: int = 64, times: Sequence[int] | None = None
) -> Path:
    """Write a video; `times` are presentation times in units of 1/FPS, by default 0, 1, 2, ..."""
    with av.open(str(path), "w", options={"movflags": "faststart"} if path.suffix == ".mp4" else {}) as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.thread_count = 1
        stream.options = {"g": "10", "crf": "20", "preset": "ultrafast"}
        for position in range(count):
            frame = av.VideoFrame.from_ndarray(picture(position, width, height), format="rgb24")
            frame.pts, frame.time_base = (times[position] if times else position), Fraction(1, FPS)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path
