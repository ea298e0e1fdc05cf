# SPDX-License-Identifier: Apache-2.0
"""How a growing memory is written: everything is appended, unless a window or a budget bounds it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

import numpy as np
from torch import Tensor

from longtake.errors import CapabilityError, OutOfMemory


@dataclass(frozen=True, slots=True)
class Keep:
    """What a growing memory keeps, and whether earlier frames are predicted anew with each new one."""

    name: ClassVar[str] = "append"

    window: int | None = None  # full attention: so many frames are read at once, the new one included; None: all
    budget: int | None = None  # cache: keys of so many frames stay in each layer; None: all
    revise: bool = True  # full attention: hand over new predictions of the earlier frames, too

    def kept(self, count: int) -> list[int]:
        """Which of `count` frames, oldest first, stay for the next: always the first, whose camera is the world."""
        if self.window is None or count < self.window:
            return list(range(count))
        return [0, *range(count - self.window + 2, count)]

    def options(self) -> dict[str, Any]:
        """Plain values, to make the same again."""
        return asdict(self)


def at_least_two(option: str, value: object) -> None:
    """Raise CapabilityError unless a bound is None or a whole number of at least 2 frames, the first and the newest."""
    if value is not None and (not isinstance(value, (int, np.integer)) or value < 2):
        raise CapabilityError(f"{option}={value!r}: give at least 2 frames, the first and the newest, a whole number.")


def check_size(memory: Mapping[str, Tensor], size: tuple[int, int], why: str, name: str = "") -> None:
    """Raise CapabilityError for a frame of another size (H, W) than those in one stream's memory.

    why: the memory has one size only. name: of the frame, if it is known.
    """
    if memory and tuple(memory["size"].tolist()) != size:
        before = " x ".join(str(side) for side in reversed(memory["size"].tolist()))
        where = f"{name.strip()}: " if name else ""
        raise CapabilityError(
            f"{where}a frame of {size[1]} x {size[0]} pixels in a take of {before} (as the model sees them): {why}. "
            "Crop the frames to one size, or begin a new stream."
        )


def out_of_memory(name: str, can: Any, writer: Any, seen: int) -> OutOfMemory:
    """Make the error for the frame after `seen` others; can: the family's capabilities; writer: how it is written."""
    bound = {"full": "window", "cache": "budget"}.get(can.memory)
    if bound is None:
        advice = "Give a smaller size=, or another device." if can.bounded else "reset_every= bounds it."
    elif getattr(writer, bound) is None:
        advice = f"{bound}= bounds it; reset_every= does, too."
    else:
        advice = f"Give less than {bound}={getattr(writer, bound)}, or a smaller size=."
    cost = "" if can.bounded else f" ({can.cost})"
    return OutOfMemory(f"{name or 'this model'} is out of memory at the frame after {seen} others{cost}. {advice}")
