# SPDX-License-Identifier: Apache-2.0
"""Time stamps, as TUM RGB-D and Bonn write them: lists of stamped files, stamped poses, and who belongs to whom."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from longtake.datasets.numbers import poses_from_quats, read_lines, read_rows
from longtake.datasets.reading import pictures
from longtake.errors import InputError


@dataclass(frozen=True, slots=True)
class Stamped:
    """Files in the order of their times."""

    times: np.ndarray  # (n,) float64 seconds
    files: tuple[Path, ...]


def read_stamped(folder: Path, kind: str) -> Stamped:
    """Read the times of folder/kind/: from kind.txt (`timestamp filename` a line), else from the files' names.

    `kind` is rgb or depth. Files that kind.txt names need not exist. Without list and folder the result is empty.
    """
    pairs: list[tuple[float, Path]] = []
    table = folder / f"{kind}.txt"
    if table.is_file():
        for number, line in enumerate(read_lines(table), 1):
            if line.strip() and not line.lstrip().startswith("#"):
                pairs.append(_stamped_line(folder, table, number, line))
    else:
        pairs = [(time_of(path), path) for path in pictures(folder / kind)]
    pairs.sort()
    return Stamped(np.array([time for time, _ in pairs], np.float64), tuple(path for _, path in pairs))


def time_of(path: Path) -> float:
    """Return the time in seconds that a file's name is. Raises InputError if the name is no number."""
    try:
        return float(path.stem)
    except ValueError:
        raise InputError(f"{path}: its name is not a time stamp in seconds, and no list beside it gives one.") from None


def read_stamped_poses(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read `timestamp tx ty tz qx qy qz qw` lines: times (n,) seconds and poses (n, 4, 4), in the order of time."""
    rows = read_rows(path)
    wrong = next((row for row in rows if len(row) != 8), None)
    if wrong is not None or not rows:
        came = f"a line of {len(wrong)} numbers" if wrong else "no line"
        raise InputError(f"{path}: holds {came}; wanted `timestamp tx ty tz qx qy qz qw` lines.")
    table = np.array(rows, np.float64)
    table = table[np.argsort(table[:, 0], kind="stable")]
    return table[:, 0], poses_from_quats(table[:, [7, 4, 5, 6]], table[:, 1:4])


def associate(first: np.ndarray, second: np.ndarray, tolerance: float) -> dict[int, int]:
    """Pair two sorted lists of times, greedily by the smallest difference, each entry at most once.

    Only differences below `tolerance` seconds count. Returns {index in first: index in second}.
    """
    low = np.searchsorted(second, first - tolerance, side="left")
    high = np.searchsorted(second, first + tolerance, side="right")
    near = [
        (abs(first[i] - second[j]), i, j)
        for i in range(len(first))
        for j in range(low[i], high[i])
        if abs(first[i] - second[j]) < tolerance
    ]
    pairs: dict[int, int] = {}
    taken: set[int] = set()
    for _, i, j in sorted(near):
        if i not in pairs and j not in taken:
            pairs[i] = j
            taken.add(j)
    return pairs


def _stamped_line(folder: Path, table: Path, number: int, line: str) -> tuple[float, Path]:
    words = line.split(maxsplit=1)
    try:
        return float(words[0]), folder / words[1].strip()
    except (ValueError, IndexError):
        raise InputError(f"{table}, line {number}: {line[:60]!r}; wanted `timestamp filename`.") from None
