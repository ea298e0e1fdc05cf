# SPDX-License-Identifier: Apache-2.0
"""What a stream remembers beside its memory: how well frames follow each other, and whether a reset is due."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from longtake.continuity.tracking import begin_tracking, track
from longtake.continuity.trigger import ResetTrigger, begin_trigger, pull
from longtake.frame import Heads


class Watch:
    """Tracking of n streams, and their trigger if there is one: tensors (n, ...), saved and moved with the state."""

    def __init__(self, n: int, device: torch.device | str, trigger: ResetTrigger | None = None) -> None:
        self.trigger = trigger
        self.memory: dict[str, Tensor] = begin_tracking(n, device)
        if trigger is not None:
            self.memory |= begin_trigger(n, device)

    def due(self) -> list[bool]:
        """Which streams start over with their next frame. Decided by the frames before: nothing is waited for."""
        return self.memory["due"].tolist() if self.trigger is not None else []

    @torch.no_grad()
    def look(self, images: Tensor, heads: Heads, members: Sequence[int], resets: Tensor, *, update: bool) -> Tensor:
        """Judge a frame of the streams `members`: images (k, 3, H, W) in [-1, 1], their heads, resets (k,) bool.

        Returns tracking codes (k,). Remembers the frame unless update is False.
        """
        index = torch.tensor(members, device=images.device)
        before = {name: tensor[index] for name, tensor in self.memory.items()}
        code, after = track(before, images, heads)
        if self.trigger is not None:
            written = torch.ones_like(after["sure"]) if heads.written is None else heads.written.float()
            after |= pull(self.trigger, before, written, after["sure"], code, resets)
        if update:
            for name, tensor in after.items():
                old = self.memory[name]
                self.memory[name] = old.index_copy(0, index, tensor.to(old.dtype))
        return code

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        return {f"watch.{name}": tensor for name, tensor in self.memory.items()}

    def restore(self, named: Mapping[str, Tensor]) -> None:
        """Take what `tensors` gave. Raises ValueError if it is something else."""
        found = {name.removeprefix("watch."): tensor for name, tensor in named.items()}
        wanted = {name: (tensor.shape, tensor.dtype) for name, tensor in self.memory.items()}
        if {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()} != wanted:
            raise ValueError(f"what it remembers of the frames is {sorted(found)}, wanted {sorted(wanted)}")
        device = self.memory["known"].device
        self.memory = {name: tensor.to(device) for name, tensor in found.items()}

    def to(self, device: torch.device | str) -> None:
        """Move."""
        self.memory = {name: tensor.to(device) for name, tensor in self.memory.items()}
