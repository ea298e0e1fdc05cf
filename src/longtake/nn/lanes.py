# SPDX-License-Identifier: Apache-2.0
"""Independent parts of a frame side by side: on CUDA each lane is a stream of its own, which a captured graph keeps.

A GPU has more multiprocessors than one small product has tiles, so two of them together take little longer than one.
Elsewhere a lane runs where it is called: the same calls in the same order, so the same numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch


class Lanes:
    """Side streams of one device, made when they are first used. A copy has streams of its own.

    Memory: what a lane is given stays referenced until `join`, for the allocator may give a freed block away to the
    main stream while the lane still reads it. What a lane returns may be read after `join`, and freed at any time: the
    lane starts anew only after the main stream, which read it.
    """

    def __init__(self) -> None:
        self.streams: dict[tuple[torch.device, int], torch.cuda.Stream] = {}
        self.open: dict[int, tuple[Any, ...]] = {}  # lanes that have not been joined, and what they were given

    def run(self, lane: int, device: torch.device, work: Callable[..., Any], *given: Any) -> Any:
        """Begin work(*given) in a lane, after all that was begun outside so far; read what it returns after `join`."""
        if device.type != "cuda":
            return work(*given)
        main, stream = torch.cuda.current_stream(device), self.streams.get((device, lane))
        # PyTorch has 32 streams and hands them out in turn, so one may come twice: side by side wants two.
        while stream is None or (stream == main and lane not in self.open):
            new = torch.cuda.Stream(device)
            stream = None if new in self.streams.values() else new
        self.streams[device, lane] = stream
        stream.wait_stream(main)
        self.open[lane] = (*self.open.get(lane, ()), given)
        with torch.cuda.stream(stream):
            return work(*given)

    def join(self, device: torch.device, *lanes: int) -> None:
        """Let what follows wait for these lanes; without names, for all that are open."""
        for lane in lanes or tuple(self.open):
            if self.open.pop(lane, None) is not None:
                torch.cuda.current_stream(device).wait_stream(self.streams[device, lane])

    def __deepcopy__(self, memo: Any) -> Lanes:
        return Lanes()

    def __reduce__(self) -> Any:
        return Lanes, ()
