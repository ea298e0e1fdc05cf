# SPDX-License-Identifier: Apache-2.0
"""The data sets by name: open one, or find out which one a folder is."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

from longtake.datasets import (
    bonn,
    colmap,
    kitti,
    kitti_odometry,
    nerfstudio,
    nrgbd,
    rgbd,
    scannet,
    sevenscenes,
    sintel,
    tum,
)
from longtake.datasets.reading import find_folders
from longtake.datasets.sequence import Sequence
from longtake.errors import InputError

# In the order in which `detect` asks: a layout that another one includes comes first. Each module has DATASET, LAYOUT,
# looks_like(folder) and open_folder(folder).
READERS: Mapping[str, ModuleType] = {
    module.DATASET: module
    for module in (
        bonn, tum, scannet, sevenscenes, nrgbd, sintel, kitti, kitti_odometry, nerfstudio, colmap, rgbd,
    )
}  # fmt: skip


def open_sequence(dataset: str, folder: Path) -> list[Sequence]:
    """Open the sequences of a data set: `folder` is its root or one sequence. No picture is read.

    A sequence without usable frames stays in the list with length 0, and `dropped` says why. Raises InputError where
    the name is unknown, the folder is missing or of another layout, or no sequence has a usable frame.
    """
    if dataset not in READERS:
        raise InputError(f"there is no data set {dataset!r}; known are {', '.join(sorted(READERS))}.")
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; pass the root of a data set or one of its sequences.")
    return READERS[dataset].open_folder(folder)


def detect(folder: Path) -> str:
    """Return the name of the data set whose layout a folder has. Raises InputError if it has none that is known."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; pass the root of a data set or one of its sequences.")
    for levels in range(3):  # near before deep: a take's own layout before that of something inside it
        for name, module in READERS.items():
            found = kitti.drives(folder) if module is kitti else find_folders(folder, module.looks_like, levels)
            if found:
                return name
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
    layouts = "".join(f"\n  {name}: {module.LAYOUT}" for name, module in READERS.items())
    raise InputError(f"{folder}: no known layout; it holds {there}. Known layouts:{layouts}")
