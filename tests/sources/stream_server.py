# SPDX-License-Identifier: Apache-2.0
"""An HTTP server on this machine that streams numbered pictures as a camera does, and can cut its connections."""

from __future__ import annotations

import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

import av
import numpy as np

SIZE = (128, 96)  # width, height
_BITS = 12


def numbered(number: int) -> np.ndarray:
    """A picture with its number written in twelve black and white squares along the top, which survive any codec."""
    picture = np.full((SIZE[1], SIZE[0], 3), 96, np.uint8)
    picture[40:, :, 0] = (np.arange(SIZE[0]) * 2 + 3 * number) % 256
    picture[40:, :, 1] = (np.arange(SIZE[1] - 40) * 4)[:, None] % 256
    for bit in range(_BITS):
        picture[8:24, 8 * bit + 4 : 8 * bit + 12] = 255 * (number >> bit & 1)
    return picture


def number_of(picture: np.ndarray) -> int:
    """Read the number back."""
    scale = picture.shape[1] / SIZE[0]
    row = picture[int(16 * scale)].mean(-1)
    return sum(int(row[int((8 * bit + 8) * scale)] > 128) << bit for bit in range(_BITS))


class StreamServer:
    """Context manager: motion JPEG at `url`, `fps` numbered pictures a second, counted on while nobody looks.

    cuts: the numbers at which all connections end and new ones are refused for `pause` seconds.
    last: the number after which it is gone for good. `sent_at` tells when each picture was made.
    """

    def __init__(self, fps: float, *, cuts: tuple[int, ...] = (), pause: float = 0.5, last: int | None = None) -> None:
        self.sent_at: dict[int, float] = {}
        self._fps, self._cuts, self._pause, self._last = fps, cuts, pause, last
        self._begin = time.monotonic()
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                owner.serve(self)

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.handle_error = lambda *_: None  # a client that left is no news
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/camera.mjpg"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._begin = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _number(self) -> int:
        return int((time.monotonic() - self._begin) * self._fps)

    def _away(self, number: int) -> bool:
        gone = self._last is not None and number > self._last
        return gone or any(cut <= number < cut + self._pause * self._fps for cut in self._cuts)

    def serve(self, handler: BaseHTTPRequestHandler) -> None:
        if self._away(self._number()):
            handler.send_error(503)
            return
        handler.send_response(200)
        handler.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
        handler.end_headers()
        encoder = av.CodecContext.create("mjpeg", "w")
        encoder.width, encoder.height, encoder.pix_fmt = *SIZE, "yuvj420p"
        while not self._away(number := self._number()):
            picture = av.VideoFrame.from_ndarray(numbered(number), format="rgb24").reformat(format="yuvj420p")
            data = b"".join(bytes(packet) for packet in encoder.encode(picture))
            self.sent_at[number] = time.monotonic()
            handler.wfile.write(b"--frame\r\nContent-Type: image/jpeg\r\n")
            handler.wfile.write(f"Content-Length: {len(data)}\r\n\r\n".encode() + data + b"\r\n")
            handler.wfile.flush()
            time.sleep(max((number + 1) / self._fps - (time.monotonic() - self._begin), 0.001))
