# SPDX-License-Identifier: Apache-2.0
"""Moving one take in and out of a batch of streams: a client takes a seat, leaves it, comes back.

A take outside the batch is a `Stream`, as `model.stream()` makes it: it is saved and resumed like any other.
"""

from __future__ import annotations

import torch

from longtake.registry import Model
from longtake.stream import Stream, Streams


def seat_take(streams: Streams, seat: int, take: Stream) -> None:
    """Put a take in a seat; whoever was there is forgotten. Both must come from one model and rule."""
    index = torch.tensor([seat], device=streams.device)
    streams.state = streams.state.put(index, take.state)
    for name, tensor in take.watch.memory.items():
        streams.watch.memory[name] = streams.watch.memory[name].index_copy(0, index, tensor)
    streams.frames[seat], streams.written[seat] = take.frames[0], take.written[0]
    streams.shown[seat] = list(take.shown[0])


def take_from(streams: Streams, seat: int, model: Model) -> Stream:
    """Return a copy of the take in a seat, to be saved or stepped alone."""
    index = torch.tensor([seat], device=streams.device)
    take = model.stream(streams.rule, reset_every=streams.reset_every, join=streams.join)
    take.state = streams.state.pick(index)
    take.watch.memory = {name: tensor[index] for name, tensor in streams.watch.memory.items()}
    take.frames, take.written = [streams.frames[seat]], [streams.written[seat]]
    take.shown = [list(streams.shown[seat])]
    return take
