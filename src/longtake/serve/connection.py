# SPDX-License-Identifier: Apache-2.0
"""One websocket: hello, then frames in and answers out, until somebody has had enough."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections.abc import Mapping, Sequence
from typing import Any

from fastapi import WebSocket, WebSocketDisconnect

from longtake.errors import InputError, LongtakeError
from longtake.serve.h264 import Decoder
from longtake.serve.limits import Bucket, Limits
from longtake.serve.metrics import Metrics
from longtake.serve.protocol import (
    CLOSE_ABUSE,
    CLOSE_FULL,
    CLOSE_IDLE,
    CLOSE_TOKEN,
    VERSION,
    Fault,
    Hello,
    SentFrame,
    read_json,
    unpack_frame,
)
from longtake.serve.visitor import Goodbye, Outgoing, Visitor
from longtake.serve.worker import Full, Worker

_GUESS = 0.5  # seconds that a wrong token costs its sender


def known(token: str, tokens: Sequence[str]) -> bool:
    """Whether a token is one of those; takes the same time for every wrong one of a length."""
    given = token.encode()
    return any([secrets.compare_digest(given, each.encode()) for each in tokens])


class Connection:
    """Serves one websocket that has been accepted."""

    def __init__(self, socket: WebSocket, worker: Worker, tokens: Sequence[str]) -> None:
        self.socket, self.worker, self.tokens = socket, worker, tokens
        self.limits: Limits = worker.limits
        self.metrics: Metrics = worker.metrics
        self._out: asyncio.Queue[Outgoing] = asyncio.Queue()  # bounded by Visitor.ahead and by max_errors
        self._loop = asyncio.get_running_loop()
        self._messages = Bucket(self.limits.max_fps, 2 * self.limits.max_fps)
        self._errors = Bucket(0.1, self.limits.max_errors)
        self._saves = Bucket(0.2, 3)
        self._video = Decoder(self.limits.max_video_megapixels)

    async def hello(self) -> Visitor | Goodbye:
        """Read the first message and take a seat."""
        try:
            text = await asyncio.wait_for(self.socket.receive_text(), self.limits.hello_seconds)
            hello = Hello.read(read_json(text))
        except TimeoutError:
            return self._refuse("no hello", CLOSE_TOKEN, "no hello came; the first message is JSON with the token")
        except (LongtakeError, KeyError) as error:  # KeyError: it was a binary message
            return self._refuse("bad hello", CLOSE_ABUSE, f"the first message is JSON with the token: {error}")
        if not known(hello.token, self.tokens):
            await asyncio.sleep(_GUESS)
            return self._refuse("token", CLOSE_TOKEN, "the token is wrong; the service printed it at its start")
        try:
            return await asyncio.wrap_future(self.worker.join(hello, self._deliver))
        except Full as error:
            return self._refuse("full", CLOSE_FULL, str(error))
        except LongtakeError as error:
            return self._refuse("resume", CLOSE_ABUSE, str(error))

    async def serve(self, visitor: Visitor) -> None:
        """Talk until one side ends it; the seat is given back in any case."""
        tasks = [asyncio.create_task(self._read(visitor)), asyncio.create_task(self._send(visitor))]
        try:
            model = self.worker.model
            await self.socket.send_json(
                {"type": "welcome", "version": VERSION, "id": visitor.take, "model": model.name,
                 "frames": self.worker.streams.frames[visitor.seat], "max_fps": self.limits.max_fps,
                 "max_bytes": self.limits.max_bytes, "max_megapixels": self.limits.max_megapixels}
            )  # fmt: skip
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left = self.worker.leave(visitor)
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
            await asyncio.gather(asyncio.wrap_future(left), return_exceptions=True)
        if goodbye := next((each for each in ended if isinstance(each, Goodbye)), None):
            await self.close(goodbye)

    async def close(self, goodbye: Goodbye) -> None:
        """Say goodbye; to a client that does not listen, only for a second."""
        try:
            reason = goodbye.reason.encode()[:120].decode(errors="ignore")  # RFC 6455 has room for 123 bytes
            await asyncio.wait_for(self.socket.close(goodbye.code, reason), 1.0)
        except (TimeoutError, RuntimeError, WebSocketDisconnect):
            pass

    def _refuse(self, reason: str, code: int, text: str) -> Goodbye:
        self.metrics.add("longtake_refused_total", reason=reason)
        return Goodbye(code, text)

    def _deliver(self, message: Outgoing) -> None:
        """Called by the worker's thread."""
        with contextlib.suppress(RuntimeError):  # the loop has ended: the service is closing
            self._loop.call_soon_threadsafe(self._out.put_nowait, message)

    async def _send(self, visitor: Visitor) -> Goodbye | None:
        while True:
            message = await self._out.get()
            if isinstance(message, Goodbye):
                return message
            try:
                async with asyncio.timeout(self.limits.send_seconds):
                    if isinstance(message, bytes):
                        await self.socket.send_bytes(message)
                        self.metrics.add("longtake_bytes_sent_total", len(message))
                        self.worker.sent(visitor)
                    else:
                        await self.socket.send_json(message)
            except TimeoutError:
                return self._refuse("answers not taken", CLOSE_IDLE, "answers were not taken")
            except (WebSocketDisconnect, RuntimeError):
                return None
            if not isinstance(message, bytes) and message.get("type") == "error" and not self._errors.take():
                return self._refuse("abuse", CLOSE_ABUSE, "too many messages that make no sense")

    async def _read(self, visitor: Visitor) -> Goodbye | None:
        while True:
            left = visitor.used + self.limits.idle_seconds - time.monotonic()
            try:
                message = await asyncio.wait_for(self.socket.receive(), max(left, 0.001))
            except TimeoutError:
                if visitor.used + self.limits.idle_seconds > time.monotonic():
                    continue
                return self._refuse("idle", CLOSE_IDLE, "no usable frame came for too long; the take is kept")
            except (WebSocketDisconnect, RuntimeError):
                return None
            if message["type"] == "websocket.disconnect":
                return None
            if not self._messages.take():
                self.metrics.add("longtake_frames_dropped_total", reason="rate")
                self._video.lose()  # if it was of a video, what follows needs it
                continue
            try:
                await self._take(visitor, message)
            except (LongtakeError, OSError) as error:
                if self._out.qsize() > self.limits.max_errors:  # it does not read what is said to it
                    return self._refuse("abuse", CLOSE_ABUSE, "too many messages that make no sense")
                name = error.name if isinstance(error, Fault) else "message"
                self._out.put_nowait({"type": "error", "name": name, "text": str(error)})

    async def _take(self, visitor: Visitor, message: Mapping[str, Any]) -> None:
        data = message.get("bytes")
        if data is not None:
            self.metrics.add("longtake_frames_received_total")
            self.metrics.add("longtake_bytes_received_total", len(data))
            sent = unpack_frame(data)
            for frame in await self._decoded(sent) if sent.is_h264 else [sent]:
                self.worker.offer(visitor, frame)
            return
        said = read_json(message.get("text") or "")
        match said.get("type"):
            case "save":
                if not self._saves.take():
                    raise InputError("save: at most one every five seconds")
                take = await asyncio.wrap_future(self.worker.save(visitor))
                self._out.put_nowait({"type": "saved", "id": take})
            case "reset":
                visitor.reset = True
            case kind:
                raise InputError(f"type {str(kind)[:40]!r} is not known; there are save and reset")

    async def _decoded(self, sent: SentFrame) -> list[SentFrame]:
        """The frames that a unit of H.264 brings. Every unit is decoded, also of frames that a newer one replaces."""
        try:
            frames, left_out = await self._loop.run_in_executor(self.worker.videos, self._video.decode, sent)
        except Fault as fault:
            self.metrics.add("longtake_frames_dropped_total", reason=fault.name)
            raise
        if left_out:
            self.metrics.add("longtake_frames_dropped_total", left_out, reason="h264_key")
        return frames
