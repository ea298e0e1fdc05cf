# SPDX-License-Identifier: Apache-2.0
"""H.264 for the client: arrays and videos become access units, one a message. Needs no torch."""

from __future__ import annotations

import os
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError

from longtake.errors import InputError

_EVERY = 60  # frames from one key picture to the next


class Encoder:
    """Arrays of one size become access units, each of one picture and ready at once. A new size begins anew."""

    def __init__(self, crf: int = 23) -> None:
        """crf: constant rate factor of x264, 0 to 51: larger is smaller and worse."""
        self._crf = crf
        self._codec: av.VideoCodecContext | None = None
        self._count = 0

    def begin(self) -> None:
        """Let the next unit be a key picture, as after a fault."""
        self._codec = None

    def encode(self, image: np.ndarray) -> bytes:
        """Return the access unit of an (H, W, 3) uint8 RGB picture; of odd sides the last row or column is left out."""
        height, width = (side & ~1 for side in image.shape[:2])
        if self._codec is None or (self._codec.width, self._codec.height) != (width, height):
            self._codec = self._begin(width, height)
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image[:height, :width]), format="rgb24")
        frame.pts, self._count = self._count, self._count + 1
        return b"".join(bytes(packet) for packet in self._codec.encode(frame))

    def _begin(self, width: int, height: int) -> av.VideoCodecContext:
        codec = av.CodecContext.create("libx264", "w")
        assert isinstance(codec, av.VideoCodecContext)
        codec.width, codec.height, codec.pix_fmt = width, height, "yuv420p"
        codec.time_base, codec.framerate = Fraction(1, 30), Fraction(30)
        codec.gop_size = _EVERY
        # zerolatency: no B pictures and no look-ahead, so that every picture leaves at once and in its order.
        codec.options = {"preset": "veryfast", "tune": "zerolatency", "crf": str(self._crf),
                         "x264-params": "repeat-headers=1:annexb=1:sliced-threads=0:threads=1"}  # fmt: skip
        return codec


def read_units(path: str | os.PathLike[str]) -> Iterator[tuple[bytes, float]]:
    """Yield (access unit, seconds) of a video's first stream: H.264 as it is, anything else encoded anew.

    Units of H.264 come in the order of decoding; where it has B pictures, times do not grow, and answers come as many
    frames late. Raises InputError for what cannot be read.
    """
    name = Path(path).name
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise InputError(f"{name}: no video stream")
            stream = container.streams.video[0]
            if stream.codec_context.name == "h264":
                yield from _copied(container, stream)
            else:
                encoder = Encoder()
                for frame in container.decode(stream):
                    yield encoder.encode(frame.to_ndarray(format="rgb24")), float(frame.time or 0.0)
    except (FFmpegError, OSError) as error:
        raise InputError(f"{name}: cannot be read as a video ({error})") from error


def _copied(container: InputContainer, stream: av.VideoStream) -> Iterator[tuple[bytes, float]]:
    from av.bitstream import BitStreamFilterContext

    annex_b = BitStreamFilterContext("h264_mp4toannexb", stream)
    for packet in container.demux(stream):
        last = packet.size == 0  # asked before the filter, which empties it
        for unit in annex_b.filter(None if last else packet):
            yield bytes(unit), 0.0 if unit.pts is None else float(unit.pts * unit.time_base)
        if last:
            return
