# SPDX-License-Identifier: Apache-2.0
"""Views that are encoded before their turn, where a source knows what comes next.

The encoder needs nothing of the memory, so the next frame's can run beside the frame that is being decoded. What was
made early is used only for the very views that it was made of; whatever else comes is encoded when it comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

T = TypeVar("T")


class Ahead(Generic[T]):
    """What was made early, of one set of views at a time: the last that was told."""

    def __init__(self) -> None:
        self._views: tuple[object, ...] = ()
        self._members: tuple[int, ...] = ()
        self._made: T | None = None

    def keep(self, views: Sequence[object], members: Sequence[int], made: T) -> None:
        """Keep what was made of these views, one or more objects, of these streams."""
        self._views, self._members, self._made = tuple(views), tuple(members), made

    def take(self, views: Sequence[object], members: Sequence[int]) -> T | None:
        """What was made of these very objects for these streams; None if it was of others. It is forgotten then."""
        same = tuple(members) == self._members and len(views) == len(self._views)
        same = same and all(a is b for a, b in zip(views, self._views, strict=True))
        made = self._made if same else None
        self._views, self._members, self._made = (), (), None
        return made
