# SPDX-License-Identifier: Apache-2.0
"""CUDA graphs, a few a picture size: the whole frame, rule and heads included, is one launch for the host.

All n streams have a slot and an active mask, so streams that get no view, join, leave or reset run the same graph. The
state lives in fixed memory; what the heads say is copied out, because the next frame overwrites it.

Without look-ahead one graph holds a frame. With it (`Tuning.ahead`) there are three, for a frame's tokens outlive it:

    encode   fresh <- encoder(pictures)
    step     heads, state <- decoders, rule and heads of (tokens, state)
    both     tokens <- fresh, then step, and beside it, in a lane of its own, encode

A frame that was encoded early runs `both` if the next one is known too, else `step`; any other runs `encode` before.
A repeated frame is `step` again: its tokens are still there, whatever was encoded since.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, ClassVar

import torch
from torch import Tensor

from longtake.engine.ahead import Ahead
from longtake.engine.precision import running
from longtake.engine.tuned import tuning_of
from longtake.frame import Flags, Heads, Tokens, Views
from longtake.nn import Lanes

WARM_UPS = 3  # calls before the capture: libraries choose their kernels in them
MOST_INDICES = 256  # sets of members whose places are kept on the device
LANE = 2  # where the next frame is encoded; the models use those before

Work = Callable[[], Heads | None]  # reads fixed memory, writes fixed memory; its heads are overwritten by the next call


class Graphs:
    """Makes CUDA graphs of work. They share their memory, so no two of them may run at the same time."""

    def __init__(self, device: torch.device) -> None:
        self.stream, self.pool = torch.cuda.Stream(device), torch.cuda.graph_pool_handle()

    def __call__(self, work: Work) -> Work:
        """Run work a few times, then capture it; calling the result replays it."""
        main = torch.cuda.current_stream(self.stream.device)
        self.stream.wait_stream(main)
        with torch.cuda.stream(self.stream):
            for _ in range(WARM_UPS):
                work()
        main.wait_stream(self.stream)
        graph = torch.cuda.CUDAGraph()
        # Other threads prepare pictures and write results meanwhile: what they ask of the device is no part of it.
        with torch.cuda.graph(graph, pool=self.pool, stream=self.stream, capture_error_mode="thread_local"):
            heads = work()

        def replay() -> Heads | None:
            graph.replay()
            return heads

        return replay


@dataclass(slots=True)
class Recording:
    """A captured frame of one size, and the memory that it reads and writes."""

    pictures: Tensor  # (n, 3, H, W)
    step: Work
    # Only with look-ahead:
    encode: Work | None = None
    both: Work | None = None
    turn: Callable[[], None] | None = None  # the fresh tokens become the frame's


class CapturedEngine:
    """Graphs on a CUDA device, for families whose state has fixed shapes."""

    name: ClassVar[str] = "captured"

    def __init__(self, model: Any, writer: Any, n: int, *, capture: Callable[[Work], Work] | None = None) -> None:
        """capture: how work becomes a graph. `lambda work: work` runs the same schedule by plain calls, anywhere."""
        self.model, self.writer, self.n = model, writer, n
        self.looks_ahead = tuning_of(model).ahead
        with running(model):
            # Copies: an expanded start has no memory of its own, and a graph writes to fixed places.
            self.state = model.begin(n, writer).map(lambda t: t.clone(memory_format=torch.contiguous_format))
        device = self.state.world_from_chunk.device
        self.capture = capture or Graphs(device)
        self.memory = torch.zeros(len(fields(Flags)), n, dtype=torch.bool, device=device)  # one piece: one copy a frame
        self.flags = Flags(*self.memory)
        self.recordings: dict[tuple[int, int], Recording] = {}
        self.last: Recording | None = None
        self.early: Ahead[bool] = Ahead()
        self.lanes = Lanes()
        self.indices: dict[tuple[int, ...], Tensor] = {}

    @staticmethod
    def refusal(model: Any) -> str:
        """Why this model's frames cannot be captured; empty if they can."""
        device = next(model.parameters()).device
        if device.type != "cuda":
            return f"graphs are captured on a CUDA device, and the model is on {device}"
        if not (model.capabilities.batch and model.capabilities.bounded):
            return f"a {model.capabilities.memory} memory grows, and a graph has fixed shapes"
        return ""

    def see(self, images: Tensor, flags: Flags, members: Sequence[int], upcoming: Tensor | None = None) -> Heads:
        """See Engine. Upcoming images of another size are encoded when they come."""
        key = (int(images.shape[-2]), int(images.shape[-1]))
        if key not in self.recordings:
            self.recordings[key] = self._record(images)
        last = self.last = self.recordings[key]
        early = self.early.take([images], members)
        if not early:
            self._place(last, images, members)
        if last.encode is None or last.both is None or last.turn is None:
            return self._run(last.step, flags, members)
        if not early:
            last.encode()
        if upcoming is not None and upcoming.shape == images.shape:
            self._place(last, upcoming, members)
            self.early.keep([upcoming], members, True)
            return self._run(last.both, flags, members)
        last.turn()
        return self._run(last.step, flags, members)

    def again(self, flags: Flags, members: Sequence[int], *, show: bool) -> Heads | None:
        """See Engine. The heads are computed in any case: resets are rare, and another graph is memory."""
        assert self.last is not None
        heads = self._run(self.last.step, flags, members)
        return heads if show else None

    def load(self, state: Any) -> None:
        """See Engine. Copied: the graphs read and write the memory that they were captured with."""
        _copy(state, self.state)

    def _place(self, recording: Recording, images: Tensor, members: Sequence[int]) -> None:
        if self._whole(members):
            recording.pictures.copy_(images, non_blocking=True)
        else:
            recording.pictures.index_copy_(0, self._index(members), images.to(recording.pictures))

    def _run(self, work: Work, flags: Flags, members: Sequence[int]) -> Heads:
        given = [getattr(flags, f.name) for f in fields(flags)]
        whole = self._whole(members)
        if whole:
            torch.stack(given, out=self.memory)
        else:
            self.memory.zero_().index_copy_(1, self._index(members), torch.stack(given))
        heads = work()
        assert heads is not None
        return _copied(heads) if whole else heads.map(lambda tensor: tensor[self._index(members)])

    def _whole(self, members: Sequence[int]) -> bool:
        return list(members) == list(range(self.n))

    def _index(self, members: Sequence[int]) -> Tensor:
        """On the device, and kept there: to send it anew would let the host wait for the frame before."""
        key = tuple(members)
        if key not in self.indices:
            if len(self.indices) >= MOST_INDICES:
                self.indices.clear()
            self.indices[key] = torch.tensor(key, device=self.state.world_from_chunk.device)
        return self.indices[key]

    def _record(self, images: Tensor) -> Recording:
        """Capture a frame of this size. The state is as before afterwards."""
        model, flags, state = self.model, self.flags, self.state
        pictures = torch.zeros(self.n, *images.shape[1:], dtype=images.dtype, device=images.device)
        before = state.map(torch.clone)

        def step(tokens: Tokens) -> Heads | None:
            heads, after = model.step(state, tokens, self.writer, flags, show=True)
            _copy(after, state)
            return heads

        def frame() -> Heads | None:
            with running(model):
                return step(model.tokenize(Views(image=pictures)))

        recording = self._in_three(pictures, step) if self.looks_ahead else Recording(pictures, self.capture(frame))
        _copy(before, state)
        return recording

    def _in_three(self, pictures: Tensor, step: Callable[[Tokens], Heads | None]) -> Recording:
        """See the module's text. What tokens have beside features and skips is the same for all pictures of a size."""
        model, device = self.model, pictures.device
        with running(model):
            made = model.tokenize(Views(image=pictures))
        fresh, tokens = _of_its_own(made), _of_its_own(made)

        def turn() -> None:
            _write(_changing(tokens), _changing(fresh))

        def encode() -> None:
            with running(model):
                _write(_changing(fresh), _changing(model.tokenize(Views(image=pictures))))

        def again() -> Heads | None:
            with running(model):
                return step(tokens)

        def both() -> Heads | None:
            turn()
            # With the model's own lanes, if it has any: so no stream is used for two things.
            lanes = getattr(model, "lanes", None) or self.lanes
            lanes.run(LANE, device, encode)
            heads = again()
            lanes.join(device, LANE)
            return heads

        return Recording(pictures, self.capture(again), self.capture(encode), self.capture(both), turn)


def _copied(heads: Heads) -> Heads:
    """In memory of their own, contiguous."""
    new = heads.map(lambda tensor: torch.empty_like(tensor, memory_format=torch.contiguous_format))
    _write(_there(new), _there(heads))
    return new


def _write(places: list[Tensor], tensors: list[Tensor]) -> None:
    """One launch where all are contiguous and of one type, else one each."""
    torch._foreach_copy_(places, tensors)  # pyright: ignore[reportPrivateImportUsage]


def _there(heads: Heads) -> list[Tensor]:
    return [tensor for f in fields(heads) if (tensor := getattr(heads, f.name)) is not None]


def _changing(tokens: Tokens) -> list[Tensor]:
    return [tokens.features, *tokens.skips]


def _of_its_own(tokens: Tokens) -> Tokens:
    """The same in other memory, for graphs to write into."""
    return replace(tokens, features=tokens.features.clone(), skips=tuple(skip.clone() for skip in tokens.skips))


def _copy(source: Any, target: Any) -> None:
    """Write one state's tensors into another's memory."""
    new = source.tensors()
    for name, tensor in target.tensors().items():
        if new[name] is not tensor:
            tensor.copy_(new[name])
