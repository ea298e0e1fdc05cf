# SPDX-License-Identifier: Apache-2.0
"""One CUDA graph a picture size: the whole frame, rule and heads included, is one launch for the host.

All n streams have a slot and an active mask, so streams that get no view, join, leave or reset run the same graph. The
state lives in fixed memory; what the heads say is copied out, because the next frame overwrites it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar

import torch
from torch import Tensor

from longtake.engine.precision import running
from longtake.frame import Flags, Heads, Views

WARM_UPS = 3  # calls before the capture: libraries choose their kernels in them
MOST_INDICES = 256  # sets of members whose places are kept on the device


@dataclass(slots=True)
class Recording:
    """A captured frame and the memory that it reads and writes."""

    graph: Any  # torch.cuda.CUDAGraph
    images: Tensor  # (n, 3, H, W)
    flags: Flags
    heads: Heads


class CapturedEngine:
    """Graphs on a CUDA device, for families whose state has fixed shapes."""

    name: ClassVar[str] = "captured"

    def __init__(self, model: Any, writer: Any, n: int) -> None:
        self.model, self.writer, self.n = model, writer, n
        with running(model):
            # Copies: an expanded start has no memory of its own, and a graph writes to fixed places.
            self.state = model.begin(n, writer).map(lambda t: t.clone(memory_format=torch.contiguous_format))
        self.recordings: dict[tuple[int, int], Recording] = {}
        self.last: Recording | None = None
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

    def see(self, images: Tensor, flags: Flags, members: Sequence[int]) -> Heads:
        """See Engine."""
        key = (int(images.shape[-2]), int(images.shape[-1]))
        if key not in self.recordings:
            self.recordings[key] = self._record(images)
        self.last = self.recordings[key]
        if self._whole(members):
            self.last.images.copy_(images, non_blocking=True)
        else:
            images = images.to(self.last.images)
            self.last.images.index_copy_(0, self._index(members), images)
        return self._run(self.last, flags, members)

    def again(self, flags: Flags, members: Sequence[int], *, show: bool) -> Heads | None:
        """See Engine. The heads are computed in any case: resets are rare, and a second graph is memory."""
        assert self.last is not None
        heads = self._run(self.last, flags, members)
        return heads if show else None

    def load(self, state: Any) -> None:
        """See Engine. Copied: the graphs read and write the memory that they were captured with."""
        _copy(state, self.state)

    def _run(self, recording: Recording, flags: Flags, members: Sequence[int]) -> Heads:
        whole = self._whole(members)
        for slot, given in zip(_tensors(recording.flags), _tensors(flags), strict=True):
            if whole:
                slot.copy_(given)
            else:
                slot.zero_().index_copy_(0, self._index(members), given)
        recording.graph.replay()
        return recording.heads.map(torch.clone if whole else lambda tensor: tensor[self._index(members)])

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
        """Capture a frame of this size. The state is as before afterwards: nothing is committed while recording."""
        pictures = torch.zeros(self.n, *images.shape[1:], dtype=images.dtype, device=images.device)
        flags = Flags.plain(self.n, images.device)
        before = self.state

        def frame() -> tuple[Heads | None, Any]:
            tokens = self.model.tokenize(Views(image=pictures))
            return self.model.step(before, tokens, self.writer, flags, show=True)

        with running(self.model):
            side = torch.cuda.Stream(images.device)
            side.wait_stream(torch.cuda.current_stream(images.device))
            with torch.cuda.stream(side):
                for _ in range(WARM_UPS):
                    frame()
            torch.cuda.current_stream(images.device).wait_stream(side)
            graph = torch.cuda.CUDAGraph()
            # Other threads prepare pictures and write results meanwhile: what they ask of the device is no part of it.
            with torch.cuda.graph(graph, capture_error_mode="thread_local"):
                heads, after = frame()
                _copy(after, before)
        assert heads is not None
        return Recording(graph, pictures, flags, heads)


def _tensors(flags: Flags) -> list[Tensor]:
    return [getattr(flags, f.name) for f in fields(flags)]


def _copy(source: Any, target: Any) -> None:
    """Write one state's tensors into another's memory."""
    new = source.tensors()
    for name, tensor in target.tensors().items():
        if new[name] is not tensor:
            tensor.copy_(new[name])
