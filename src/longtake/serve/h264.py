# SPDX-License-Identifier: Apache-2.0
"""H.264 from strangers: one decoder a client, one access unit a message, bounded in size and memory.

An access unit is what ITU-T H.264 Annex B writes for one picture: NAL units, each behind a start code. The first one,
and the first after a fault, is a key picture with its parameter sets.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from longtake.errors import InputError
from longtake.serve.jpeg import SIDES
from longtake.serve.protocol import Fault, SentFrame

if TYPE_CHECKING:
    import av

_START = re.compile(b"\x00\x00\x01")
_IDR, _SETS = 5, {7, 8}  # NAL unit types of table 7-1: a key picture; sequence and picture parameter set
_DELAY = 16  # pictures that a decoder may hold back to put them in order (H.264, table A-1)


def unit_types(unit: bytes) -> Iterator[int]:
    """Yield the types of an access unit's NAL units."""
    for found in _START.finditer(unit):
        if found.end() < len(unit):
            yield unit[found.end()] & 31


def is_key(unit: bytes) -> bool:
    """Whether decoding can begin here: a key picture with both parameter sets."""
    types = set(unit_types(unit))
    return _IDR in types and types >= _SETS


class Decoder:
    """The pictures of one client. Not for several threads at once.

    Memory: the pictures that H.264 keeps for reference, at most 16, none larger than the bound. Larger ones are refused
    by the decoder before it makes room for them.
    """

    def __init__(self, max_megapixels: float) -> None:
        self._most = max_megapixels
        self._codec: av.VideoCodecContext | None = None
        self._waits: dict[int, SentFrame] = {}  # units whose picture has not come out yet
        self._count = 0
        self._told = False  # that a key picture is wanted

    def lose(self) -> None:
        """Note that a unit was left out: what follows makes no sense until the next key picture."""
        self._codec = None
        self._waits.clear()

    def decode(self, sent: SentFrame) -> tuple[list[SentFrame], int]:
        """Take a unit; return the frames that came out, with their picture, and how many units were left out.

        Raises Fault: h264_key where a key picture is wanted (once, until it comes), h264_corrupt, h264_size.
        """
        import av
        from av.error import FFmpegError

        if self._codec is None:
            if not is_key(sent.data):
                if self._told:
                    return [], 1
                self._told = True
                raise Fault("h264_key", "H.264 begins with a key picture and its parameter sets; send one")
            self._codec = _begin(self._most)
            self._told = False
        self._count += 1
        self._waits[self._count] = sent
        packet = av.Packet(sent.data)
        packet.pts = self._count
        try:
            pictures = self._codec.decode(packet)
            bad = any(picture.is_corrupt for picture in pictures)
        except (FFmpegError, ValueError) as error:
            self.lose()
            raise Fault("h264_corrupt", self._words(sent, error)) from error
        if bad:
            self.lose()
            raise Fault("h264_corrupt", self._words(sent, "a damaged picture"))
        frames = [replace(self._waits.pop(picture.pts), picture=picture) for picture in pictures
                  if picture.pts in self._waits]  # fmt: skip
        for picture in pictures:
            if not all(SIDES[0] <= side <= SIDES[1] for side in (picture.width, picture.height)):
                self.lose()
                raise Fault("h264_size", f"pictures of {picture.width} x {picture.height} pixels; sides of "
                            f"{SIDES[0]} to {SIDES[1]} are taken")  # fmt: skip
        if len(self._waits) > _DELAY:
            self.lose()
            raise Fault("h264_corrupt", f"{_DELAY + 1} access units of H.264 held no picture; send a key picture")
        return frames, 0

    def _words(self, sent: SentFrame, why: object) -> str:
        size = f"{len(sent.data)} bytes"
        return (
            f"an H.264 access unit of {size} cannot be decoded ({why}): it is damaged, or its pictures have more than "
            f"{self._most:g} megapixels. Send a key picture, and smaller pictures or JPEG if it happens again."
        )


def _begin(max_megapixels: float) -> av.VideoCodecContext:
    import av

    codec = av.CodecContext.create("h264", "r")
    assert isinstance(codec, av.VideoCodecContext)
    codec.thread_count = 1  # frames in several threads come out later, and clients share the cores
    codec.options = {"max_pixels": str(int(max_megapixels * 1e6)), "err_detect": "explode"}
    return codec


def to_rgb(picture: av.VideoFrame) -> np.ndarray:
    """Return (H, W, 3) uint8 RGB of a decoded picture. Raises InputError where its pixels cannot be turned into it."""
    from av.error import FFmpegError

    try:
        return picture.to_ndarray(format="rgb24")
    except (FFmpegError, ValueError) as error:
        raise InputError(f"an H.264 picture cannot be turned into RGB ({error}); send 8-bit 4:2:0") from error
