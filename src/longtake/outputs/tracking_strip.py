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


def read_tracking(out: Path) -> TrackingStrip | None:
    """Read the states of a take from its camera lines; None where there is no frame."""
    states = bytearray(STATES.index(str(record["tracking"])) for record in read_lines(out / CAMERA_LINES))
    if not states:
        return None
    each = np.frombuffer(bytes(states), np.uint8)
    starts = np.linspace(0, len(each), min(len(each), CELLS), endpoint=False).astype(np.int64)
    counts = {state: int((each == code).sum()) for code, state in enumerate(STATES)}
    return TrackingStrip(np.maximum.reduceat(each, starts), counts)
