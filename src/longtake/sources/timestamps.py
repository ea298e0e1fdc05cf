# SPDX-License-Identifier: Apache-2.0
"""Times of frames from a file: a time a line, or a time and a file name, in seconds or nanoseconds."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from longtake.errors import InputError
from longtake.frame import Frame

_NANOSECONDS = 1e14  # whole numbers from here on: as seconds they would be in three million years


@dataclass(frozen=True, slots=True)
class Times:
    """Seconds by the name of a picture's file, or by the frame's index in its source."""

    by_name: Mapping[str, float]
    by_index: Mapping[int, float]

    @classmethod
    def of(cls, given: Mapping[int, float] | Sequence[float]) -> Times:
        """Make times of numbers by index. Raises InputError where they do not grow."""
        pairs = sorted(given.items()) if isinstance(given, Mapping) else list(enumerate(given))
        for (_, before), (index, time) in zip(pairs, pairs[1:], strict=False):
            if not time > before:
                raise InputError(f"timestamps: frame {index} is at {time!r}, not after {before!r}; times must grow.")
        return cls({}, {int(index): float(time) for index, time in pairs})

    def find(self, frame: Frame) -> float | None:
        """Return a frame's time, or None where there is none."""
        return self.by_name.get(frame.name) if self.by_name else self.by_index.get(frame.index)


def read_times(path: str | os.PathLike[str]) -> Times:
    """Read times: `TIME` a line in the order of the frames, or `TIME NAME` as TUM's rgb.txt and EuRoC's data.csv have.

    Between them is white space or a comma; lines that start with # and empty ones are skipped; of names, the last part
    counts. Whole numbers of 15 digits or more are nanoseconds. Raises InputError, with the line, where times do not
    grow, or some lines have names and some have none.
    """
    path = Path(path).expanduser()
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: times cannot be read from it ({error}); wanted text, a time a line.") from error
    times: list[float] = []
    names: list[str] = []
    for number, line in enumerate(lines, 1):
        words = [word for word in re.split(r"[\s,;]+", line.strip()) if word]
        if not words or words[0].startswith("#"):
            continue
        try:
            time = _seconds(words[0])
        except ValueError:
            raise InputError(f"{path}, line {number}: wanted `TIME` or `TIME NAME`, got {line[:60]!r}.") from None
        if times and not time > times[-1]:
            raise InputError(f"{path}, line {number}: {words[0]} does not come after the time before it.")
        times.append(time)
        names += [Path(words[1]).name] if len(words) > 1 else []
    if not times:
        raise InputError(f"{path}: holds no times; wanted `TIME` or `TIME NAME` lines.")
    if names and len(set(names)) != len(times):
        raise InputError(f"{path}: {len(times)} times with {len(set(names))} different names; wanted one each or none.")
    return Times(dict(zip(names, times, strict=True)) if names else {}, dict(enumerate(times)))


def _seconds(word: str) -> float:
    if word.isdecimal() and int(word) >= _NANOSECONDS:
        return int(word) / 1e9
    time = float(word)
    if not math.isfinite(time):
        raise ValueError(word)
    return time
