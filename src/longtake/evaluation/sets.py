# SPDX-License-Identifier: Apache-2.0
"""Which takes are measured together, and over which frames."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from longtake.errors import InputError
from longtake.evaluation.folder import LAYOUT, TakeFolder, is_take

SHORT_FRAMES = 16
LONG_FRAMES = 256
OFFICE_FRAMES, OFFICE_STRIDE = 64, 2  # raw frames 0, 2, ..., 126


@dataclass(frozen=True, slots=True)
class TakeSet:
    """Takes that share one row of a table."""

    name: str
    takes: tuple[TakeFolder, ...]


def find_sets(data: Path, takes: int | None = None, frames: int | None = None, stride: int = 1) -> tuple[TakeSet, ...]:
    """Find the takes in a folder.

    `data` is a take, a folder of takes, the frozen set heldout_v1 (whose short and long takes are two sets), or the
    yardstick: a folder that holds heldout_v1, office_walk, or both. `takes` and `frames` are upper limits for quick
    looks: the first takes of each set, the first frames of each take. `stride` is not for the yardstick, which has its
    own. Raises InputError where there is nothing to measure.
    """
    if min(1 if takes is None else takes, 1 if frames is None else frames, stride) < 1:
        raise InputError(f"takes {takes}, frames {frames}, stride {stride}: each must be at least 1.")
    if not data.is_dir():
        raise InputError(f"{data}: no such folder; {LAYOUT}; give a take, a folder of takes, or the yardstick's.")
    if (data / "heldout_v1").is_dir() or is_take(data / "office_walk"):
        found = _heldout(data / "heldout_v1", takes, frames) + _office(data / "office_walk", frames)
    elif is_take(data / "short_00") or is_take(data / "long_00"):
        found = _heldout(data, takes, frames)
    elif is_take(data):
        found = (TakeSet(data.resolve().name, (TakeFolder(data, stride=stride, max_frames=frames),)),)
    else:
        found = (_set(data.resolve().name, [path for path in data.iterdir() if is_take(path)], takes, frames, stride),)
    found = tuple(each for each in found if each.takes)
    if not found:
        raise InputError(f"{data}: holds no take; {LAYOUT}.")
    return found


def _heldout(path: Path, takes: int | None, frames: int | None) -> tuple[TakeSet, ...]:
    def part(name: str, most: int) -> TakeSet:
        return _set(name, [p for p in path.glob(f"{name}_*") if is_take(p)], takes, min(most, frames or most))

    return (part("short", SHORT_FRAMES), part("long", LONG_FRAMES))


def _office(path: Path, frames: int | None) -> tuple[TakeSet, ...]:
    if not is_take(path):
        return ()
    most = min(OFFICE_FRAMES, frames or OFFICE_FRAMES)
    return (TakeSet(path.name, (TakeFolder(path, stride=OFFICE_STRIDE, max_frames=most),)),)


def _set(name: str, paths: list[Path], takes: int | None, frames: int | None, stride: int = 1) -> TakeSet:
    chosen = sorted(paths)[:takes]
    return TakeSet(name, tuple(TakeFolder(path, stride=stride, max_frames=frames) for path in chosen))
