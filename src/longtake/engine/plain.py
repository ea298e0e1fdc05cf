# SPDX-License-Identifier: Apache-2.0
"""What an engine promises, and the one that simply calls the model: it runs every family everywhere."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import torch
from torch import Tensor

from longtake.engine.ahead import Ahead
from longtake.engine.precision import running
from longtake.engine.tuned import tuning_of
from longtake.frame import Flags, Heads, Tokens, Views


class Engine(Protocol):
    """Runs the steps of a family for n streams, of which `members` get a view."""

    name: ClassVar[str]
    state: Any  # of all n streams, as the family defines it

    looks_ahead: bool  # whether it makes use of `upcoming`

    def see(self, images: Tensor, flags: Flags, members: Sequence[int], upcoming: Tensor | None = None) -> Heads:
        """One view of each member, images (k, 3, H, W) in [-1, 1], flags (k,): what the heads say. Moves the state on.

        The heads are the caller's own; the state is read again before the next call, or copied.
        upcoming: the images of the next `see`, where they are known and of the same members: they may be encoded
        meanwhile. The next call then brings that same tensor, unchanged; if it brings another, those are encoded.
        """
        ...

    def again(self, flags: Flags, members: Sequence[int], *, show: bool) -> Heads | None:
        """Feed the views of the last `see` once more, as resets want it; the heads if `show`. Moves the state on."""
        ...

    def load(self, state: Any) -> None:
        """Go on from another state of the same shapes."""
        ...


class PlainEngine:
    """Plain calls, one after the other: the twin that other engines are held against."""

    name: ClassVar[str] = "plain"

    def __init__(self, model: Any, writer: Any, n: int) -> None:
        self.model, self.writer, self.n = model, writer, n
        self.tokens: Tokens | None = None
        self.looks_ahead = tuning_of(model).ahead
        self.early: Ahead[Tokens] = Ahead()
        with running(model):
            self.state = model.begin(n, writer)

    def see(self, images: Tensor, flags: Flags, members: Sequence[int], upcoming: Tensor | None = None) -> Heads:
        """See Engine. What comes next is encoded first: if that fails, the state has seen nothing that was not said."""
        with running(self.model):
            self.tokens = self.early.take([images], members) or self.model.tokenize(Views(image=images))
            if self.looks_ahead and upcoming is not None:
                self.early.keep([upcoming], members, self.model.tokenize(Views(image=upcoming)))
        return self._step(flags, members, show=True)

    def again(self, flags: Flags, members: Sequence[int], *, show: bool) -> Heads | None:
        """See Engine."""
        return self._step(flags, members, show=show)

    def load(self, state: Any) -> None:
        """See Engine."""
        self.state = state

    def _step(self, flags: Flags, members: Sequence[int], show: bool) -> Any:
        whole = list(members) == list(range(self.n))
        index = torch.tensor(members, device=flags.active.device)
        with running(self.model):
            state = self.state if whole else self.state.pick(index)
            heads, new = self.model.step(state, self.tokens, self.writer, flags, show=show)
            self.state = new if whole else self.state.put(index, new)
        return heads
