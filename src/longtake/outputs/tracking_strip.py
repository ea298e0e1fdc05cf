# SPDX-License-Identifier: Apache-2.0
"""Tracking along a take as a thin strip: where frames could be followed, barely, or not at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from longtake.outputs.cameras import read_lines
from longtake.outputs.takefiles import CAMERA_LINES

STATES = ("ok", "weak", "lost")
COLORS = ("#2f8f5b", "#e0a32e", "#c0392b")  # of the states, on light ground
CELLS = 600  # a strip has at most so many; each shows the worst of its frames


@dataclass(frozen=True, slots=True)
class TrackingStrip:
    """The states of a take from its first frame to its last."""

    cells: np.ndarray  # (n,) uint8: place in STATES, n = the smaller of frames and CELLS
    counts: Mapping[str, int]  # frames of each state

    def runs(self) -> list[tuple[int, int, int]]:
        """Neighbouring cells of one state: (first, count, state)."""
        edges = [0, *(np.flatnonzero(np.diff(self.cells)) + 1).tolist(), len(self.cells)]
        return [(a, b - a, int(self.cells[a])) for a, b in zip(edges[:-1], edges[1:], strict=True) if b > a]

    @property
    def words(self) -> str:
        """The counts in words: all frames ok, or 361 ok · 11 weak · 1 lost."""
        told = [f"{count:,} {state}" for state, count in self.counts.items() if count]
        return "all frames ok" if len(told) == 1 and self.counts["ok"] else " · ".join(told)


def read_tracking(out: Path) -> TrackingStrip | None:
    """Read the states of a take from its camera lines; None where there is no frame."""
    states = bytearray(STATES.index(str(record["tracking"])) for record in read_lines(out / CAMERA_LINES))
    if not states:
        return None
    each = np.frombuffer(bytes(states), np.uint8)
    starts = np.linspace(0, len(each), min(len(each), CELLS), endpoint=False).astype(np.int64)
    counts = {state: int((each == code).sum()) for code, state in enumerate(STATES)}
    return TrackingStrip(np.maximum.reduceat(each, starts), counts)
