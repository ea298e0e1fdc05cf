# SPDX-License-Identifier: Apache-2.0
"""Predictions as they come: a generator, and its twin for programs that run on asyncio.

    async with aclosing(stream.run_async(longtake.video("clip.mp4"))) as predictions:
        async for prediction in predictions: ...

One thread reads and computes, so the event loop is free meanwhile. It works on one frame and has at most `ahead` more
asked for: who takes no predictions has none made, however fast the source is. The thread ends with the generator.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import TYPE_CHECKING, Any

import numpy as np

from longtake.errors import InputError
from longtake.frame import Frame, Prediction

if TYPE_CHECKING:
    from longtake.stream import Stream

Frames = Iterable[Frame | np.ndarray]
_END: Any = object()


def predict(stream: Stream, frames: Frames) -> Generator[Prediction, None, None]:
    """Step a stream through frames and yield each prediction; closing it closes the source."""
    with closing(frame for frame in frames) as each:
        for frame in each:
            yield stream.step(frame)


async def predict_async(
    stream: Stream, frames: Frames | AsyncIterable[Frame | np.ndarray], *, ahead: int = 1
) -> AsyncGenerator[Prediction, None]:
    """Step a stream through frames in a thread and yield each prediction in turn.

    frames: a source or any iterable, which is read in the thread; or an asynchronous one, which is read here, each
    frame when it is wanted. ahead: of an iterable, how many predictions may be made before they are asked for, so that
    computing and whatever is done with the last one overlap; with 0, the stream has seen exactly the frames whose
    predictions were taken. Cancelled or closed, it waits for the frame in work without holding up the event loop, and
    lets go of the source. Errors of source and stream are raised where their frame's turn comes. Raises InputError.
    """
    if ahead < 0:
        raise InputError(f"ahead={ahead}; give 0 (compute what is asked for) or a small number of frames.")
    loop = asyncio.get_running_loop()
    worker = ThreadPoolExecutor(1, "longtake-async")
    try:
        if isinstance(frames, AsyncIterable):
            source = aiter(frames)
            try:
                async for frame in source:
                    yield await loop.run_in_executor(worker, stream.step, frame)
            finally:
                await loop.run_in_executor(worker, lambda: None)  # after the frame in work
                if isinstance(source, AsyncGenerator):
                    await source.aclose()
            return
        made = predict(stream, frames)
        waiting: deque[asyncio.Future[Any]] = deque()
        try:
            while True:
                while len(waiting) <= ahead:
                    waiting.append(loop.run_in_executor(worker, next, made, _END))
                prediction = await waiting.popleft()
                if prediction is _END:
                    return
                yield prediction
        finally:
            for each in waiting:  # what has not begun never will
                each.cancel()
            await loop.run_in_executor(worker, made.close)  # after the frame in work, in the thread that runs it
    finally:
        worker.shutdown(wait=False)
