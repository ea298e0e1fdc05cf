# SPDX-License-Identifier: Apache-2.0
"""Predictions as a generator and for asyncio: the same as by hand, no more ahead than asked, nothing left behind."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import aclosing
from typing import Any

import numpy as np
import pytest
import torch
from stream_models import SMALL, build, picture
from waiting import PATIENCE, wait_for

from longtake.errors import InputError
from longtake.frame import Frame
from longtake.stream import Stream

COUNT = 6


class Film:
    """Frames that tell how many were asked for, and whether somebody let go of them."""

    def __init__(self, count: int = COUNT, wait: float = 0.0, broken_at: int | None = None) -> None:
        self.count, self.wait, self.broken_at = count, wait, broken_at
        self.given, self.closed = 0, False
        self.threads: set[str] = set()

    def __iter__(self) -> Iterator[Frame]:
        try:
            for i in range(self.count):
                self.threads.add(threading.current_thread().name.split("_")[0])
                if i == self.broken_at:
                    raise InputError("the film is torn")
                time.sleep(self.wait)
                self.given += 1
                yield Frame(picture(i), i / 10, i)
        finally:
            self.closed = True


def make() -> Stream:
    return Stream(build(SMALL), rule="ttt3r")


def run(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run to the end; then no thread of ours is left."""
    asyncio.run(work(), debug=False)
    wait_for(lambda: not [t for t in threading.enumerate() if t.name.startswith("longtake-async")], "a thread goes on")


@pytest.mark.parametrize("ahead", [0, 1, 3])
def test_both_ways_are_those_by_hand(ahead: int) -> None:
    by_hand = make()
    wanted = [by_hand.step(Frame(picture(i), i / 10, i)) for i in range(COUNT)]
    plain = list(make().run(Film()))
    found = []

    async def work() -> None:
        film = Film()
        async for prediction in make().run_async(film, ahead=ahead):
            found.append(prediction)
        assert film.closed and film.threads == {"longtake-async"}

    run(work)
    for made in (plain, found):
        assert [p.index for p in made] == list(range(COUNT))
        assert all(torch.equal(a.points, b.points) for a, b in zip(made, wanted, strict=True))


def test_frames_may_come_asynchronously() -> None:
    closed = []

    async def film() -> AsyncIterator[np.ndarray]:
        try:
            for i in range(COUNT):
                await asyncio.sleep(0)
                yield picture(i)
        finally:
            closed.append(True)

    async def work() -> None:
        found = []
        async with aclosing(make().run_async(film())) as predictions:
            async for prediction in predictions:
                found.append(prediction.index)
                if len(found) == 3:
                    break
        assert found == [0, 1, 2] and closed

    run(work)


def test_a_cancelled_task_leaves_no_frame_in_work_behind_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Frames come asynchronously; whoever saves the stream next must not find a thread that is still writing to it."""
    step, working = Stream.step, threading.Event()

    def slow(self: Stream, frame: Any, **options: Any) -> Any:
        working.set()
        time.sleep(0.3)
        prediction = step(self, frame, **options)
        working.clear()
        return prediction

    monkeypatch.setattr(Stream, "step", slow)

    async def film() -> AsyncIterator[np.ndarray]:
        for i in range(COUNT):
            yield picture(i)

    async def work() -> None:
        async def consume() -> None:
            async with aclosing(make().run_async(film())) as predictions:
                async for _ in predictions:
                    pass

        task = asyncio.create_task(consume())
        while not working.is_set():
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert not working.is_set()

    run(work)


@pytest.mark.parametrize("ahead", [0, 2])
def test_who_takes_nothing_has_nothing_made(ahead: int) -> None:
    async def work() -> None:
        film, stream = Film(50), make()
        async with aclosing(stream.run_async(film, ahead=ahead)) as predictions:
            assert film.given == 0
            for taken in range(1, 4):
                await anext(predictions)
                await asyncio.sleep(0.15)
                assert film.given <= taken + ahead
        assert film.closed and stream.frames[0] <= 3 + ahead
        assert ahead or stream.frames[0] == 3

    run(work)


def test_the_event_loop_is_never_held_up() -> None:
    """A frame comes once the loop has beaten five times more, also while the generator is closed: else none would."""
    beats = 0

    class Patient(Film):
        def __iter__(self) -> Iterator[Frame]:
            for frame in super().__iter__():
                wanted = beats + 5
                wait_for(lambda wanted=wanted: beats >= wanted, "the loop is held up")
                yield frame

    async def beat() -> None:
        nonlocal beats
        while True:
            await asyncio.sleep(0.005)
            beats += 1

    async def work() -> None:
        heart, film = asyncio.create_task(beat()), Patient(9)
        async with aclosing(make().run_async(film)) as predictions:
            async for prediction in predictions:
                if prediction.index == 1:
                    while film.given < 3:  # the third is waited for while the generator is closed
                        await asyncio.sleep(0.001)
                    break
        heart.cancel()

    run(work)


def test_a_cancelled_task_lets_go_of_the_source() -> None:
    async def work() -> None:
        film, stream = Film(1000, wait=0.02), make()
        seen = []

        async def consume() -> None:
            async for prediction in stream.run_async(film):
                seen.append(prediction.index)

        task = asyncio.create_task(consume())
        while len(seen) < 2:
            await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(PATIENCE):
            while not film.closed:  # the generator of a cancelled loop is closed by the event loop
                await asyncio.sleep(0.02)
        assert film.given < 20
        assert stream.step(picture(0)).points.isfinite().all(), "the stream is whole and goes on"

    run(work)


def test_errors_come_where_their_frame_would() -> None:
    async def work() -> None:
        film, found = Film(broken_at=3), []
        with pytest.raises(InputError, match="torn"):
            async for prediction in make().run_async(film, ahead=2):
                found.append(prediction.index)
        assert found == [0, 1, 2] and film.closed

    run(work)


def test_a_generator_that_is_closed_closes_its_source() -> None:
    film = Film()
    predictions = make().run(film)
    next(predictions)
    predictions.close()
    assert film.closed and film.given == 1


def test_less_than_nothing_ahead_is_refused() -> None:
    async def work() -> None:
        with pytest.raises(InputError, match="ahead=-1"):
            await anext(make().run_async(Film(), ahead=-1))

    run(work)
