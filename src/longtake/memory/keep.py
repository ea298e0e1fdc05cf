# SPDX-License-Identifier: Apache-2.0
"""How a growing memory is written: everything is appended, unless a window or a budget bounds it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar


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
