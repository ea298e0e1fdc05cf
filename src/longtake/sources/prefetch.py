# SPDX-License-Identifier: Apache-2.0
"""Read ahead in one background thread through a small bounded queue, so that decoding overlaps with the model."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from typing import Any, Generic, Self, TypeVar

from longtake.background import Background

T = TypeVar("T")
_POLL = 0.2  # seconds between looks at the stop flag while waiting
_ITEM, _ERROR, _END = range(3)


class Prefetcher(Generic[T]):
    """Iterate over `items` with at most `depth` of them waiting.

    An exception in the source is raised here, after the items that came before it. Leaving the `with` block, calling
    `close` or dropping the last reference stops the thread and closes the source in the thread that ran it.
    """

    def __init__(self, items: Iterable[T], depth: int = 4) -> None:
        self._queue: queue.Queue[tuple[int, Any]] = queue.Queue(maxsize=max(depth, 1))
        self._stop = threading.Event()
        # The thread must not hold `self`: then dropping the last reference could never stop it.
        self._thread = Background(target=_work, args=(items, self._queue, self._stop), name="longtake-prefetch")
        self._started = False

    def __iter__(self) -> Iterator[T]:
        return self

    def __next__(self) -> T:
        if not self._started and not self._stop.is_set():
            self._started = True
            self._thread.start()
        while not self._stop.is_set():
            try:
                kind, value = self._queue.get(timeout=_POLL)  # a timeout, so that Ctrl-C is seen on every system
            except queue.Empty:
                continue
            if kind == _ITEM:
                return value
            self.close()
            if kind == _ERROR:
                raise value
        raise StopIteration

    def close(self) -> None:
        """Stop the thread and wait until it has let go of the source; safe to call twice."""
        self._stop.set()
        if self._started and self._thread is not threading.current_thread():
            self._thread.wait(10.0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        self._stop.set()


def with_next(items: Iterator[T]) -> Generator[tuple[T, T | None], None, None]:
    """Each item with the one after it, or None. An error of the source comes after the items before it, as without."""
    item = next(items, None)
    while item is not None:
        try:
            following = next(items, None)
        except Exception:
            yield item, None
            raise
        yield item, following
        item = following


def _work(items: Iterable[Any], out: queue.Queue[tuple[int, Any]], stop: threading.Event) -> None:
    """Move items into the queue until they end, fail, or nobody wants them any more."""

    def put(kind: int, value: Any) -> None:
        while not stop.is_set():
            try:
                return out.put((kind, value), timeout=_POLL)
            except queue.Full:
                continue

    iterator: Iterator[Any] | None = None
    end: tuple[int, Any] = (_END, None)
    try:
        iterator = iter(items)
        while not stop.is_set():
            try:
                item = next(iterator)
            except StopIteration:
                break
            put(_ITEM, item)
            del item  # one frame less in memory while the next is decoded
    except BaseException as error:  # whatever it is, it belongs to the consumer
        end = (_ERROR, error)
    close = getattr(iterator, "close", None)
    if close is not None:
        try:
            close()
        except BaseException as error:
            end = (_ERROR, error)
    put(*end)
