# SPDX-License-Identifier: Apache-2.0
"""Keep a few items of an endless sequence, evenly spread, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Spread(Generic[T]):
    """Hold between capacity / 2 and capacity items of a sequence, every 2^k-th, whatever its length."""

    def __init__(self, capacity: int) -> None:
        if capacity < 2:
            raise ValueError(f"a Spread holds at least 2 items, not {capacity}")
        self.capacity = capacity
        self.items: list[T] = []
        self._stride = 1
        self._seen = 0

    def offer(self, make: Callable[[], T]) -> None:
        """Take note of the next item; `make` is called only if it is kept."""
        position, self._seen = self._seen, self._seen + 1
        if position % self._stride:
            return
        if len(self.items) == self.capacity:
            self.items = self.items[::2]
            self._stride *= 2
            if position % self._stride:
                return
        self.items.append(make())

    def pick(self, count: int) -> list[T]:
        """Return at most `count` of the items, evenly spread, first and last included."""
        if len(self.items) <= count:
            return list(self.items)
        last = len(self.items) - 1
        return [self.items[round(i * last / max(count - 1, 1))] for i in range(count)]
