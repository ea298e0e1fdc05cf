# SPDX-License-Identifier: Apache-2.0
"""Work that follows the model, in one background thread behind a small bounded queue: the model does not wait for it.

Reading ahead, before the model, is `longtake.sources.prefetch`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import torch

from longtake.background import Background

T = TypeVar("T")
_POLL = 0.2  # seconds between looks at what else has happened while waiting
_END = object()


class Outbox(Generic[T]):
    """Context manager. `put` hands items over; a thread calls `work` with each, in that order.

    What `work` raises is raised to the caller once: by the next `put`, or where the block ends; items after it are
    dropped. Leaving the block, however that comes about, waits until what was handed over is done and the thread has
    ended. A Ctrl-C while it waits drops what the thread has not begun yet; what it has begun is finished.
    """

    def __init__(self, work: Callable[[T], None], depth: int = 4, device: torch.device | None = None) -> None:
        """depth: items that may wait; then `put` waits.

        device: on a CUDA device the thread has a CUDA stream of its own, so that its copies do not queue up behind the
        model's next frame. Items must be finished on the device when they are handed over.
        """
        self._work, self._device = work, device
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=max(depth, 1))
        self._error: BaseException | None = None
        self._told = False
        self._dropping = threading.Event()
        self._thread = Background(target=self._run, name="longtake-outbox")

    def put(self, item: T) -> None:
        """Hand an item over, waiting while the queue is full. Raises what `work` raised for an earlier one."""
        self._offer(item)
        self._tell()

    def __enter__(self) -> Self:
        try:
            self._thread.start()
        except BaseException:
            self._abandon()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._offer(_END)
            self._thread.wait()
        except BaseException:
            self._abandon()
            raise
        self._tell()

    def _offer(self, item: Any) -> None:
        while not self._thread.ended.is_set():
            with contextlib.suppress(queue.Full):
                return self._queue.put(item, timeout=_POLL)  # a timeout, so that Ctrl-C is seen on every system

    def _tell(self) -> None:
        if self._error is not None and not self._told:
            self._told = True
            raise self._error

    def _abandon(self) -> None:
        """Drop what waits and see the thread to its end, whatever else is pressed meanwhile: it writes into files."""
        self._dropping.set()
        while True:
            with contextlib.suppress(KeyboardInterrupt):
                if self._thread.ident is None or self._thread.wait():  # None: it was never begun
                    return

    def _run(self) -> None:
        cuda = self._device is not None and self._device.type == "cuda"
        with torch.cuda.stream(torch.cuda.Stream(self._device)) if cuda else contextlib.nullcontext():
            while not self._dropping.is_set():
                with contextlib.suppress(queue.Empty):
                    item = self._queue.get(timeout=_POLL)
                    if item is _END or self._dropping.is_set():
                        return
                    try:
                        self._work(item)
                    except BaseException as error:  # whatever it is, it belongs to the caller
                        self._error = error
                        return
                    del item  # one frame less in memory while the next is waited for
