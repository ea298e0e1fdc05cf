# SPDX-License-Identifier: Apache-2.0
"""How large a take is: the length of its path in units, and the model's own guess at how many metres a unit has."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from longtake.outputs.spread import Spread

HOW_SURE = "the model's own estimate, often 15 to 20 % off, at times more"
_FRAMES = 8192  # the median is exact up to so many frames, then that of an even sample


@dataclass(frozen=True, slots=True)
class Size:
    """What the frames of a take say of its size."""

    path_length: float = 0.0  # of the camera's centre from each pose to the next, in units of the take
    metres_per_unit: float | None = None  # None where no frame says it


def metres_in(record: Mapping[str, Any]) -> float | None:
    """Return `metres_per_unit` of a record of JSON, or None where it has none that is a length."""
    value = record.get("metres_per_unit")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return float(value) if math.isfinite(value) and value > 0 else None


def median_metres(values: Iterable[float | None]) -> float | None:
    """Return the median of what is known: a wrong minority moves it little. None where nothing is."""
    known = [value for value in values if value is not None]
    return float(np.median(known)) if known else None


def size_of(records: Iterable[Mapping[str, Any]]) -> Size:
    """Measure a take by its frames' records, as cameras.jsonl.part has them, one at a time.

    Each frame says its metres in the take's unit, also where chunks are joined at another scale: `predictions_of`
    divides by it. Frames without a pose are left out of the path.
    """
    said: Spread[float] = Spread(_FRAMES)
    length, before = 0.0, None
    for record in records:
        if (metres := metres_in(record)) is not None:
            said.offer(lambda metres=metres: metres)
        if record.get("world_from_cam") is not None:
            here = np.array(record["world_from_cam"], np.float64)[:3, 3]
            length += 0.0 if before is None else float(np.linalg.norm(here - before))
            before = here
    return Size(length, median_metres(said.items))


def in_metres(length: float, metres_per_unit: float) -> str:
    """Return a length in units as an estimate reads: two figures, as in `about 31 m`."""
    return f"about {float(f'{length * metres_per_unit:.2g}'):,g} m"
