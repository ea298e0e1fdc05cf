# SPDX-License-Identifier: Apache-2.0
"""What every family promises to the loop: four steps over a state that is a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor

from longtake.errors import CapabilityError
from longtake.frame import Flags, Heads, PixelMap, Tokens, Views


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a family can do, and what that costs."""

    memory: str  # one word for the kind of memory: recurrent, pointers, cache, full
    cost: str  # how time and memory of a frame grow with the frames before it, in a few words
    bounded: bool  # whether memory is constant without any option
    batch: bool  # whether streams are stepped in one pass; else one after the other
    rules: bool = False  # whether update rules apply
    revises: bool = False  # whether a new frame changes what was said of earlier ones
    tracks: bool = False  # whether points of the first frame can be followed
    one_size: str = ""  # why all frames of a take must have one size; empty where they need not


@runtime_checkable
class StreamState(Protocol):
    """What is kept between frames: tensors only."""

    @property
    def world_from_chunk(self) -> Tensor:
        """(n, 4, 4): pose chain over the resets so far."""
        ...

    @property
    def nbytes(self) -> int:
        """Bytes that all tensors take."""
        ...

    def with_(self, **changes: Any) -> Self:
        """Return a copy with some fields replaced."""
        ...

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        ...

    def restored(self, named: Mapping[str, Tensor]) -> Self:
        """Rebuild what `tensors` gave, for the streams of this fresh state. Raises ValueError if it does not fit."""
        ...

    def to(self, device: torch.device | str) -> Self:
        """Move to a device."""
        ...

    def pick(self, index: Tensor) -> Self:
        """The streams at index (k,)."""
        ...

    def put(self, index: Tensor, part: Self) -> Self:
        """Return the whole with the streams at index (k,) taken from `part`."""
        ...


S = TypeVar("S", bound=StreamState)


class Family(Protocol[S]):
    """A reconstructor behind a stream; also a torch module.

    A writer is how the memory is written: an update rule for recurrent memories, `memory.keep.Keep` for growing ones.
    It has a `name`.
    """

    capabilities: ClassVar[Capabilities]

    @property
    def config(self) -> Any:
        """Every number of the model. Has `to_dict()`, `is_metric`, and `tiny()`, the smallest such model's."""
        ...

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, PixelMap]:
        """Resize and crop an upright (H0, W0, 3) uint8 RGB picture to what the model sees, (H, W, 3) uint8."""
        ...

    def writer(self, rule: Any = None, **options: Any) -> Any:
        """Choose how the memory is written. Raises CapabilityError for what this family does not have."""
        ...

    def begin(self, n: int, writer: Any, /) -> S:
        """The state of n streams before their first view."""
        ...

    def tokenize(self, views: Views, /) -> Tokens:
        """Encode n views of one size. Stateless."""
        ...

    def step(self, state: S, tokens: Tokens, writer: Any, flags: Flags, /, *, show: bool) -> tuple[Heads | None, S]:
        """One view of each stream: what the heads say (None unless `show`), and the state after it.

        A family that revises may give more rows of heads than streams: those of earlier frames first, the view's own
        last. It is then stepped with one stream.
        """
        ...


def refuse(family: str, instead: str, **options: Any) -> None:
    """Raise CapabilityError if any option is given that a family does not have; `instead` says what it has."""
    given = [f"{name}={value!r}" for name, value in options.items() if value is not None]
    if given:
        raise CapabilityError(f"{', '.join(given)} with a {family} model: {instead}")
