# SPDX-License-Identifier: Apache-2.0
"""The data sets by name: open one, or find out which one a folder is."""

from __future__ import annotations

from collections.abc import Mapping
from difflib import get_close_matches
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
        near = get_close_matches(dataset.lower(), READERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise InputError(f"there is no data set {dataset!r}.{hint} Known are {', '.join(sorted(READERS))}.")
    folder = _checked(folder)
    try:
        return READERS[dataset].open_folder(folder)
    except InputError as error:
        other = _layout_of(folder)
        if other in (None, dataset):
            raise
        raise InputError(f"{error} It has the layout of {other}: name that instead.") from error


def detect(folder: Path) -> str:
    """Return the name of the data set whose layout a folder has. Raises InputError if it has none that is known."""
    folder = _checked(folder)
    if (name := _layout_of(folder)) is not None:
        return name
    there = ", ".join(sorted(path.name for path in folder.iterdir())[:6]) or "nothing"
    layouts = "".join(f"\n  {name}: {module.LAYOUT}" for name, module in READERS.items())
    raise InputError(f"{folder}: no known layout; it holds {there}. Known layouts:{layouts}")


def _checked(folder: Path) -> Path:
    folder = Path(folder)
    if not folder.is_dir():
        what = "is a file, not a folder" if folder.exists() else "no such folder"
        raise InputError(f"{folder}: {what}; pass the root of a data set or one of its sequences.")
    return folder


def _layout_of(folder: Path) -> str | None:
    for levels in range(3):  # near before deep: a take's own layout before that of something inside it
        for name, module in READERS.items():
            found = kitti.drives(folder) if module is kitti else find_folders(folder, module.looks_like, levels)
            if found:
                return name
    return None
