# SPDX-License-Identifier: Apache-2.0
"""A client of the service, for programs: frames in, cameras and depth out. Needs the extra `serve`, and no torch.

with Client("ws://127.0.0.1:8765", token, want=("depth",)) as client:
    for frame in frames:
        answer = client.step(frame)
        answer.world_from_cam, answer.intrinsics, answer.depth
"""

from __future__ import annotations

import io
import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
from PIL import Image

from longtake.errors import InputError, LongtakeError, MissingExtra
from longtake.serve.protocol import pack_frame, unpack_answer

_QUALITY = 92


class Refused(LongtakeError):
    """The service said no, or ended the connection; `code` is the websocket's close code, 0 for a message."""

    def __init__(self, text: str, code: int = 0, name: str = "") -> None:
        super().__init__(text)
        self.code = code
        self.name = name  # of a message's fault: message, picture, h264_key, h264_corrupt, h264_size


@dataclass(frozen=True, slots=True)
class Answer:
    """What one frame became. World: the first camera of the take (x right, y down, z forward)."""

    header: dict[str, Any]  # all that was said, as docs/serve.md lists it
    world_from_cam: np.ndarray  # (4, 4) float64
    intrinsics: np.ndarray  # (3, 3) float64 in pixels of the depth map
    intrinsics_original: np.ndarray  # (3, 3) float64 in pixels of the frame that was sent
    depth: np.ndarray | None = None  # (H, W) float32 along z, 0 = unknown; metres if is_metric
    confidence: np.ndarray | None = None  # (H, W) float32, at least 1
    points: np.ndarray | None = None  # (H, W, 3) float32 in the world
    ply: bytes | None = None  # a binary PLY of the frame's surest points, with colours
    picture: bytes | None = None  # a JPEG of the depth map in colours

    @property
    def index(self) -> int:
        """The frame's index, as it was sent."""
        return self.header["index"]

    @property
    def tracking(self) -> str:
        """Whether the frame could be followed from those before it: ok, weak or lost."""
        return self.header["tracking"]

    @property
    def is_metric(self) -> bool:
        """Whether units are metres."""
        return self.header["is_metric"]

    @classmethod
    def read(cls, message: bytes) -> Answer:
        """Read an answer's message. Raises InputError where it is none."""
        header, parts = unpack_answer(message)
        about = {part["name"]: part for part in header["parts"]}

        def grey(name: str) -> np.ndarray | None:
            if name not in parts:
                return None
            with Image.open(io.BytesIO(parts[name]), formats=["PNG"]) as image:
                return np.asarray(image).astype(np.float32)

        depth, confidence, points = grey("depth"), grey("confidence"), parts.get("points")
        return cls(
            header,
            np.array(header["world_from_cam"]),
            np.array(header["intrinsics"]),
            np.array(header["intrinsics_original"]),
            depth=None if depth is None else depth / np.float32(about["depth"]["scale"]),
            confidence=None if confidence is None else np.exp2(confidence / about["confidence"]["steps_per_octave"]),
            points=None if points is None else np.frombuffer(points, "<f4").reshape(about["points"]["shape"]),
            ply=parts.get("ply"),
            picture=parts.get("picture"),
        )


class Client:
    """One connection: one take. Use it in a `with` block, or close it. Not for several threads at once."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        want: Sequence[str] = (),
        resume: str = "",
        keep: bool = True,
        timeout: float = 60.0,
        codec: Literal["jpeg", "h264"] = "jpeg",
        **options: Any,
    ) -> None:
        """Connect and say hello.

        url: the service's address, ws:// or http:// (or wss://, https://). want: any of depth, confidence, points, ply,
        picture. resume: `id` of a take that was left under this token. keep: whether the take can be resumed later.
        timeout: seconds to wait for any one message. codec: what arrays are sent as; H.264 takes a fraction of the
        bytes where pictures resemble those before them. options: most_points, keep_percentile (of ply).
        Raises MissingExtra, Refused with the service's reason, InputError where nobody answers.
        """
        try:
            from websockets.exceptions import WebSocketException
            from websockets.sync.client import connect
        except ImportError as error:
            raise MissingExtra("the client needs websockets: pip install 'longtake[serve]'") from error
        address = url.rstrip("/").replace("http", "ws", 1) if url.startswith("http") else url.rstrip("/")
        try:
            self._socket = connect(f"{address}/v1/stream", max_size=None, compression=None, open_timeout=timeout)
        except (OSError, ValueError, WebSocketException) as error:
            raise InputError(f"{url}: the service cannot be reached ({error})") from error
        self.timeout = timeout
        self._encoder = None
        if codec == "h264":
            from longtake.serve.units import Encoder

            self._encoder = Encoder()
        self._answers: deque[Answer] = deque()
        self._sent = 0
        self._say({"token": token, "want": list(want), "resume": resume, "keep": keep, **options})
        self.welcome = self._read("welcome")
        self.id: str = self.welcome["id"]

    def send(self, frame: np.ndarray | bytes, *, index: int | None = None, time: float | None = None) -> int:
        """Send a frame and return its index: (H, W, 3) uint8 RGB, the bytes of a JPEG, or an access unit of H.264.

        Whoever sends faster than the service answers loses frames, never the newest. Raises Refused.
        `longtake.serve.units.read_units` takes the units out of a video without decoding it.
        """
        index = self._sent if index is None else index
        data = (
            frame if isinstance(frame, bytes) else self._encoder.encode(frame) if self._encoder else encode_jpeg(frame)
        )
        self._send(pack_frame(data, index, float(index) if time is None else time))
        self._sent = index + 1
        return index

    def receive(self) -> Answer:
        """Wait for the next answer. Raises Refused where the service says no, and for a frame that it could not use."""
        if self._answers:
            return self._answers.popleft()
        message = self._message()
        if isinstance(message, bytes):
            return Answer.read(message)
        said = json.loads(message)
        if self._encoder and str(said.get("name")).startswith("h264"):
            self._encoder.begin()
        raise Refused(str(said.get("text", message)), name=str(said.get("name", "")))

    def step(self, frame: np.ndarray | bytes, *, index: int | None = None, time: float | None = None) -> Answer:
        """Send a frame and wait for its answer."""
        index = self.send(frame, index=index, time=time)
        while (answer := self.receive()).index != index:
            pass
        return answer

    def reset(self) -> None:
        """Have the memory start over after the next frame; the world stays the take's first camera."""
        self._say({"type": "reset"})

    def save(self) -> str:
        """Have the take's state kept now, and return the id to resume it with. Raises Refused."""
        self._say({"type": "save"})
        return self._read("saved")["id"]

    def close(self) -> None:
        """Leave; the take is kept unless keep was False."""
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _say(self, said: dict[str, Any]) -> None:
        self._send(json.dumps(said))

    def _send(self, message: str | bytes) -> None:
        from websockets.exceptions import ConnectionClosed

        try:
            self._socket.send(message)
        except ConnectionClosed as error:
            raise _refused(error) from error

    def _message(self) -> str | bytes:
        from websockets.exceptions import ConnectionClosed

        try:
            return self._socket.recv(timeout=self.timeout)
        except TimeoutError as error:
            raise Refused(f"the service said nothing for {self.timeout:g} s") from error
        except ConnectionClosed as error:
            raise _refused(error) from error

    def _read(self, kind: str) -> dict[str, Any]:
        """Wait for a text message of a kind; answers that come before it are kept for `receive`."""
        while True:
            message = self._message()
            if isinstance(message, bytes):
                self._answers.append(Answer.read(message))
                continue
            said = json.loads(message)
            if said.get("type") == kind:
                return said
            raise Refused(str(said.get("text", message)))


def encode_jpeg(image: np.ndarray) -> bytes:
    """Return a JPEG of an (H, W, 3) uint8 RGB picture."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "JPEG", quality=_QUALITY)
    return buffer.getvalue()


def _refused(error: Any) -> Refused:
    close = error.rcvd
    if close is None:
        return Refused("the connection to the service broke off", 1006)
    return Refused(close.reason or f"the service ended the connection (code {close.code})", close.code)
