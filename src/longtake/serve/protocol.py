# SPDX-License-Identifier: Apache-2.0
"""The messages of the service, as both ends read and write them. docs/serve.md tells the same to people.

A frame, binary: a JPEG, or an access unit of H.264 in the byte stream format of Annex B; either alone, or behind 16
bytes: `LTF1`, uint32 index, float64 time in seconds, all little-endian.
An answer, binary: `LTA1`, uint32 length of a JSON header, the header, and the parts that it lists, one after the other.
Everything else is a text message: one JSON object.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from longtake.errors import InputError

if TYPE_CHECKING:
    import av

VERSION = 1
FRAME = struct.Struct("<4sId")  # magic, index in its source, seconds
FRAME_MAGIC = b"LTF1"
ANSWER = struct.Struct("<4sI")  # magic, bytes of the JSON header
ANSWER_MAGIC = b"LTA1"
JPEG_MAGIC = b"\xff\xd8"
H264_MAGICS = (b"\x00\x00\x01", b"\x00\x00\x00\x01")  # start codes of Annex B
PARTS = ("depth", "confidence", "points", "ply", "picture")  # what can be wanted beside pose and intrinsics

# Why the service closes a connection (codes 4000 to 4999 are free for applications, RFC 6455 section 7.4.2).
CLOSE_TOKEN = 4401  # the token is wrong or came too late
CLOSE_FULL = 4429  # every seat is taken
CLOSE_ABUSE = 4400  # too many messages that make no sense
CLOSE_IDLE = 4408  # no frame for too long, or answers are not taken
CLOSE_MOVED = 4409  # another connection has resumed this take
CLOSE_FAILED = 4500  # the model failed on this take


class Fault(InputError):
    """What was wrong with a client's message, with a name that programs can read."""

    def __init__(self, name: str, text: str) -> None:
        super().__init__(text)
        self.name = name


@dataclass(frozen=True, slots=True)
class SentFrame:
    """A frame message, taken apart."""

    data: bytes  # a JPEG, or an access unit of H.264
    index: int | None = None  # None: the service counts
    time: float | None = None  # seconds; None: the time of arrival
    picture: av.VideoFrame | None = None  # of H.264, once it is decoded

    @property
    def is_h264(self) -> bool:
        """Whether the data is H.264: such units need the ones before them."""
        return self.data[:4].startswith(H264_MAGICS)


def pack_frame(data: bytes, index: int, time: float) -> bytes:
    """Return the message of one frame: a JPEG or an access unit of H.264."""
    return FRAME.pack(FRAME_MAGIC, index, time) + data


def unpack_frame(message: bytes) -> SentFrame:
    """Take a frame message apart. Raises InputError where it is none."""
    begins = (JPEG_MAGIC, *H264_MAGICS)
    if message[:4].startswith(begins):
        return SentFrame(message)
    if message[:4] == FRAME_MAGIC and message[FRAME.size : FRAME.size + 4].startswith(begins):
        _, index, time = FRAME.unpack_from(message)
        if not -1e12 < time < 1e12:
            raise InputError(f"a frame's time is {time} s; wanted seconds since the start of the take")
        return SentFrame(message[FRAME.size :], index, time)
    raise InputError(
        f"a binary message of {len(message)} bytes begins with {message[:4].hex(' ') or 'nothing'}; wanted a JPEG "
        "(ff d8) or H.264 of Annex B (00 00 01), alone or behind LTF1, index and time"
    )


def pack_answer(header: Mapping[str, Any], parts: Sequence[tuple[Mapping[str, Any], bytes]]) -> bytes:
    """Return the message of one answer; each part is what the header says of it (name, type, ...) and its bytes."""
    told = [{**about, "bytes": len(data)} for about, data in parts]
    text = json.dumps({**header, "parts": told}, separators=(",", ":")).encode()
    text += b" " * (-(ANSWER.size + len(text)) % 8)  # so that float32 parts can be read in place
    return b"".join([ANSWER.pack(ANSWER_MAGIC, len(text)), text, *(data for _, data in parts)])


def unpack_answer(message: bytes) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return an answer's header and its parts by name. Raises InputError where it is none or cut off."""
    try:
        magic, length = ANSWER.unpack_from(message)
        if magic != ANSWER_MAGIC:
            raise ValueError(f"it begins with {magic!r}")
        header = json.loads(message[ANSWER.size : ANSWER.size + length])
        at, parts = ANSWER.size + length, {}
        for part in header["parts"]:
            parts[part["name"]] = message[at : at + part["bytes"]]
            at += part["bytes"]
        if at != len(message):
            raise ValueError(f"its parts take {at} bytes of {len(message)}")
    except (struct.error, ValueError, KeyError, TypeError) as error:
        raise InputError(f"not an answer of the service: {error}. Are client and service of one version?") from error
    return header, parts


@dataclass(frozen=True, slots=True)
class Hello:
    """The first message of a client: who it is and what it wants."""

    token: str = ""
    want: tuple[str, ...] = ()  # of PARTS
    resume: str = ""  # id of a take that was left; empty begins a new one
    keep: bool = True  # whether the take's state is kept when the client leaves
    most_points: int = 4096  # of `ply`, a frame
    keep_percentile: float = 50.0  # the surest so many percent of the pixels may become points of `ply`

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Hello:
        """Read from JSON. Raises InputError for what is not known or out of range."""
        try:
            hello = cls(
                token=str(said.get("token", "")),
                want=tuple(str(part) for part in said.get("want", ())),
                resume=str(said.get("resume", "")),
                keep=bool(said.get("keep", True)),
                most_points=int(said.get("most_points", 4096)),
                keep_percentile=float(said.get("keep_percentile", 50.0)),
            )
        except (TypeError, ValueError, OverflowError) as error:
            raise InputError(f"the hello cannot be read ({error}); docs/serve.md shows one") from error
        if unknown := set(hello.want) - set(PARTS):
            raise InputError(f"want: {', '.join(sorted(unknown))[:80]} is not known; there are {', '.join(PARTS)}")
        if not 1 <= hello.most_points <= 200_000:
            raise InputError(f"most_points {hello.most_points}: give 1 to 200,000")
        if not 0 < hello.keep_percentile <= 100:
            raise InputError(f"keep_percentile {hello.keep_percentile}: give more than 0 and at most 100")
        return hello


def read_json(text: str) -> dict[str, Any]:
    """Read a text message. Raises InputError unless it is one JSON object."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"a text message is not JSON ({error})") from error
    if not isinstance(said, dict):
        raise InputError("a text message is not a JSON object")
    return said
