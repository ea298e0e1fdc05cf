# SPDX-License-Identifier: Apache-2.0
"""The one thread that touches the model: it steps the newest frame of every client, all together.

Whatever a client does happens to its own seat. A frame that cannot be decoded never reaches the model, a client that
does not take its answers is not stepped, and a client that sends nothing takes part in nothing.
"""

from __future__ import annotations

import threading
import time
import traceback
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Literal

import numpy as np

from longtake.background import Background
from longtake.errors import CapabilityError, InputError, LongtakeError
from longtake.frame import Frame
from longtake.registry import Model
from longtake.serve.answer import encode_answer
from longtake.serve.h264 import to_rgb
from longtake.serve.jpeg import decode_jpeg
from longtake.serve.limits import Limits
from longtake.serve.metrics import Metrics
from longtake.serve.protocol import CLOSE_FAILED, CLOSE_MOVED, Hello, SentFrame
from longtake.serve.seats import seat_take, take_from
from longtake.serve.states import States
from longtake.serve.visitor import Goodbye, Outgoing, Visitor
from longtake.stream import Stream


class Full(LongtakeError):
    """Every seat is taken."""


class Worker:
    """Owns the batch of streams. All public methods may be called from any thread; none of them waits for the model."""

    def __init__(
        self,
        model: Model,
        states: States,
        limits: Limits,
        metrics: Metrics,
        *,
        rule: str | None,
        reset_every: int | Literal["auto"] | None,
    ) -> None:
        """Raises CapabilityError for a model whose memory grows: a service has no last frame."""
        if not model.capabilities.bounded:
            raise CapabilityError(
                f"{model.name} has a {model.capabilities.memory} memory that grows with every frame, and a service has "
                "no last frame. Serve a recurrent model: longtake-small, cut3r-512, cut3r-224."
            )
        self.model, self.states, self.limits, self.metrics = model, states, limits, metrics
        self.streams = model.streams(limits.seats, rule, reset_every=reset_every)
        self._fresh = model.stream(rule, reset_every=reset_every)
        self._visitors: list[Visitor | None] = [None] * limits.seats
        self._commands: list[Callable[[], None]] = []
        self._wake = threading.Condition()
        self._stop = False
        self._pool = ThreadPoolExecutor(4, thread_name_prefix="longtake-codec")  # decoding and encoding: no model in it
        self.videos = ThreadPoolExecutor(2, thread_name_prefix="longtake-h264")  # so that no video holds up an answer
        self._thread = Background(target=self._run, name="longtake-worker")
        metrics.put("longtake_seats", limits.seats)

    def start(self) -> None:
        """Begin to serve."""
        self._thread.start()

    def close(self) -> None:
        """Keep the states of those who are still here, and end the thread."""
        with self._wake:
            self._stop = True
            self._wake.notify()
        if self._thread.is_alive():
            self._thread.wait()
        self._pool.shutdown()
        self.videos.shutdown()

    @property
    def alive(self) -> bool:
        """Whether the thread runs."""
        return self._thread.is_alive()

    def join(self, hello: Hello, deliver: Callable[[Outgoing], None]) -> Future[Visitor]:
        """Give a client a seat. The result raises Full, or InputError and CheckpointError for a bad resume."""
        return self._ask(lambda: self._join(hello, deliver))

    def save(self, visitor: Visitor) -> Future[str]:
        """Keep the state of a client's take as it is between two frames; the result is the take's id."""
        return self._ask(lambda: self._save(visitor))

    def leave(self, visitor: Visitor) -> Future[None]:
        """Free a client's seat. Leaving twice is fine."""
        return self._ask(lambda: self._leave(visitor))

    def offer(self, visitor: Visitor, frame: SentFrame) -> None:
        """Hand over a frame; one that still waits is replaced by it."""
        with self._wake:
            if visitor.newest is not None:
                visitor.dropped += 1
                self.metrics.add("longtake_frames_dropped_total", reason="newer")
            visitor.newest = (frame, time.monotonic())
            self._wake.notify()

    def sent(self, visitor: Visitor) -> None:
        """Note that the connection has sent an answer."""
        with self._wake:
            visitor.ahead -= 1
            self._wake.notify()

    def _ask(self, work: Callable[[], Any]) -> Future[Any]:
        future: Future[Any] = Future()

        def command() -> None:
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 (it is raised where the result is read)
                future.set_exception(error)

        with self._wake:
            if self._stop:
                future.set_exception(InputError("the service is closing; connect again later"))
            else:
                self._commands.append(command)
                self._wake.notify()
        return future

    def _run(self) -> None:
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._stop or self._commands or any(v and v.ready for v in self._visitors))
                commands, self._commands = self._commands, []
                stop = self._stop
                batch = []
                for visitor in self._visitors:
                    if visitor is not None and visitor.ready and visitor.newest is not None:
                        batch.append((visitor, *visitor.newest))
                        visitor.newest = None
            for command in commands:
                command()
            if stop:
                for visitor in filter(None, list(self._visitors)):
                    self._leave(visitor)
                return
            here = [each for each in batch if not each[0].gone]
            try:
                if here:
                    self._serve(here)
            except Exception:  # noqa: BLE001 (a bug or a device that gave up: these takes end, the service goes on)
                traceback.print_exc()
                for visitor, _, _ in here:
                    self.metrics.add("longtake_refused_total", reason="failed")
                    visitor.deliver(Goodbye(CLOSE_FAILED, "the model failed on this frame; the take is lost"))
                    self._free(visitor)

    def _serve(self, batch: list[tuple[Visitor, SentFrame, float]]) -> None:
        """Decode, step together, answer."""
        decoded = list(self._pool.map(lambda each: self._decode(each[1]), batch))
        frames: list[Frame | None] = [None] * len(self._visitors)
        resets = [False] * len(self._visitors)
        served = []
        for (visitor, sent, came), image in zip(batch, decoded, strict=True):
            if isinstance(image, LongtakeError):
                self.metrics.add("longtake_frames_dropped_total", reason="unusable")
                visitor.deliver({"type": "error", "name": "picture", "text": str(image), "index": sent.index})
                continue
            visitor.used = time.monotonic()
            index = self.streams.frames[visitor.seat] if sent.index is None else sent.index
            seconds = came - visitor.began if sent.time is None else sent.time
            frames[visitor.seat] = Frame(image, seconds, index)
            resets[visitor.seat], visitor.reset = visitor.reset, False
            served.append((visitor, came))
        if not served:
            return
        began = time.monotonic()
        predictions = self.streams.step(frames, reset=resets)
        self.metrics.add("longtake_steps_total")
        self.metrics.add("longtake_step_seconds_total", time.monotonic() - began)

        def encode(each: tuple[Visitor, float]) -> bytes:
            visitor, came = each
            prediction = predictions[visitor.seat]
            assert prediction is not None
            facts = {
                "frames": self.streams.frames[visitor.seat],
                "dropped": visitor.dropped,
                "latency": round(time.monotonic() - came, 4),
            }
            return encode_answer(prediction, visitor.hello, facts)

        for (visitor, came), answer in zip(served, self._pool.map(encode, served), strict=True):
            with self._wake:
                visitor.ahead += 1
            visitor.deliver(answer)
            self.metrics.add("longtake_frames_served_total")
            self.metrics.latency(time.monotonic() - came)

    def _decode(self, sent: SentFrame) -> np.ndarray | LongtakeError:
        """The picture, or why there is none. The model's preparation is tried here: in the step it would hurt all."""
        try:
            image = decode_jpeg(sent.data, self.limits.max_megapixels) if sent.picture is None else to_rgb(sent.picture)
            self.model.module.prepare(image)
        except LongtakeError as error:
            return error
        return image

    def _join(self, hello: Hello, deliver: Callable[[Outgoing], None]) -> Visitor:
        take = self._fresh
        if hello.resume:
            for other in filter(None, list(self._visitors)):
                # The old connection may be dead without having been noticed, as when a phone changes its network.
                if (other.take, other.hello.token) == (hello.resume, hello.token):
                    self._leave(other)
                    other.deliver(Goodbye(CLOSE_MOVED, "another connection has resumed this take"))
            take = self._resumed(hello)
        if None not in self._visitors:
            raise Full(f"all {len(self._visitors)} seats are taken; try again later")
        visitor = Visitor(hello, deliver, hello.resume or self.states.new_id(), self._visitors.index(None))
        seat_take(self.streams, visitor.seat, take)
        self._visitors[visitor.seat] = visitor
        self._count()
        self.metrics.add("longtake_clients_total")
        return visitor

    def _resumed(self, hello: Hello) -> Stream:
        take = self.model.resume(self.states.find(hello.token, hello.resume))
        ours = (self.streams.rule.name, self.streams.reset_every, self.streams.join)
        if not isinstance(take, Stream) or (take.rule.name, take.reset_every, take.join) != ours:
            raise InputError(f"this take was kept under another rule than {ours[0]}, or other resets; begin a new one")
        return take

    def _save(self, visitor: Visitor) -> str:
        if visitor.gone:
            raise InputError("this take has left its seat")
        take = take_from(self.streams, visitor.seat, self.model)
        self.states.keep(visitor.hello.token, visitor.take, take.save)
        self._count()
        return visitor.take

    def _leave(self, visitor: Visitor) -> None:
        if visitor.gone:
            return
        try:
            if visitor.hello.keep and self.streams.frames[visitor.seat]:
                self._save(visitor)
        except (LongtakeError, OSError):  # the disk is full: the take is lost, the seat is not
            self.metrics.add("longtake_refused_total", reason="state not kept")
        finally:
            self._free(visitor)

    def _free(self, visitor: Visitor) -> None:
        visitor.gone = True
        with self._wake:
            self._visitors[visitor.seat] = None
        seat_take(self.streams, visitor.seat, self._fresh)
        self._count()

    def _count(self) -> None:
        self.metrics.put("longtake_clients", sum(v is not None for v in self._visitors))
        self.metrics.put("longtake_states", len(self.states))
