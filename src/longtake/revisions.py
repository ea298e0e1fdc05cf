# SPDX-License-Identifier: Apache-2.0
"""Predictions that may still change, until they cannot: the last revision of a frame is the one that is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from longtake.frame import Prediction


class Revisions:
    """Holds the newest prediction of every frame that a stream may still revise, oldest first.

    With a window, a frame comes back when it leaves it; all
    frames before it come with it, so that frames keep their order: so the take's first frame, which never leaves,
    comes with the second.
    """

    def __init__(self, *, waits: bool) -> None:
        """waits: whether frames are revised at all; if not, each comes back at once."""
        self.waits = waits
        self._held: list[tuple[Prediction, float]] = []

    def __len__(self) -> int:
        return len(self._held)

    def take(self, prediction: Prediction, seconds: float) -> list[tuple[Prediction, float]]:
        """Take a frame and what it revises in; return the frames that are final, each with its own seconds."""
        if not self.waits:
            return [(prediction, seconds)]
        newest = {earlier.index: earlier for earlier in prediction.revised}
        self._held = [(newest.get(old.index, old), took) for old, took in self._held]
        self._held.append((replace(prediction, revised=()), seconds))
        fresh = newest.keys() | {prediction.index}
        gone = [i for i, (old, _) in enumerate(self._held) if old.index not in fresh]
        final = gone[-1] + 1 if gone else 0
        done, self._held = self._held[:final], self._held[final:]
        return done

    def rest(self) -> Iterator[tuple[Prediction, float]]:
        """Give all that is held, oldest first: the take is over."""
        while self._held:
            yield self._held.pop(0)

    def drop(self) -> None:
        """Forget what is held."""
        self._held = []
