# SPDX-License-Identifier: Apache-2.0
"""What every source shares: its description, the notes it leaves, and iteration that never ends in silence."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator
from contextlib import closing

from longtake.errors import InputError
from longtake.frame import Frame
from longtake.sources.prefetch import Prefetcher
from longtake.sources.selection import Picker, Selection

_AHEAD_FRAMES = 4
_AHEAD_BYTES = 256 * 2**20  # huge pictures are read ahead one at a time
_SHOWN_NAMES = 3


class Source(ABC):
    """An iterable of Frame. Iterating again starts over, except for generators, which can be read once.

    name: what to call the take (file or folder name). kind: "video", "images" or "arrays".
    fps: nominal frames a second of the source itself, before any thinning.
    size: (width, height) of the upright frames, (0, 0) if not known before the first one.
    length: how many frames the header and the options promise, None if unknown; a damaged file may give fewer.
    """

    def __init__(
        self,
        *,
        name: str,
        kind: str,
        fps: float,
        size: tuple[int, int] = (0, 0),
        length: int | None = None,
        selection: Selection | None = None,
        prefetch: bool = False,
    ) -> None:
        self.name = name
        self.kind = kind
        self.fps = fps
        self.size = size
        self.length = length
        self.selection = selection or Selection()
        self.prefetch = prefetch
        self._notes: dict[str, str] = {}
        self._named: dict[str, tuple[int, list[str]]] = {}

    @property
    def notes(self) -> list[str]:
        """What went wrong without ending the take (cut off file, skipped pictures); complete after the last frame."""
        return list(self._notes.values())

    def __iter__(self) -> Generator[Frame, None, None]:
        self._notes.clear()
        self._named.clear()
        picker = self.selection.picker()
        frames = self._frames(picker)
        with closing(frames) if not self.prefetch else Prefetcher(frames, self._ahead()) as ready:
            yield from ready
        if picker.taken == 0:
            raise InputError(self._nothing(picker))

    @abstractmethod
    def _frames(self, picker: Picker) -> Generator[Frame, None, None]:
        """Yield the frames that the picker wants; a generator, so that closing it frees what it holds."""

    def _ahead(self) -> int:
        """How many frames to read ahead: few enough to stay within 256 MB."""
        return min(_AHEAD_FRAMES, max(1, _AHEAD_BYTES // max(3 * self.size[0] * self.size[1], 1)))

    def _nothing(self, picker: Picker) -> str:
        """Say why no frame came."""
        if picker.seen == 0:
            return f"{self.name}: it gave no frames at all. Pass a video or pictures with at least one readable frame."
        return (
            f"{self.name}: none of its {picker.seen} frames is selected by {self.selection}; the last one is at "
            f"{picker.last_time:.3f} s. Choose an earlier start or a later end."
        )

    def _note(self, key: str, text: str) -> None:
        """Leave a note, replacing the one with the same key."""
        self._notes[key] = text

    def _count(self, key: str, name: str, text: str) -> None:
        """Count one more of a kind in one note of bounded length; `text` holds {count} and {names}."""
        count, names = self._named.get(key, (0, []))
        names = names if len(names) >= _SHOWN_NAMES else [*names, name]
        self._named[key] = (count + 1, names)
        shown = ", ".join(names) + (", ..." if count + 1 > len(names) else "")
        self._notes[key] = text.format(count=count + 1, names=shown)

    def __repr__(self) -> str:
        return f"<{self.kind} source {self.name!r}, {self.fps:g} fps, length {self.length}>"
