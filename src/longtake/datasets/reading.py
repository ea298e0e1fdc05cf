# SPDX-License-Identifier: Apache-2.0
"""The one lazy sequence that all readers fill: they list files and poses, it reads pictures when asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from longtake.datasets.depth import same_size
from longtake.datasets.numbers import pose_fault
from longtake.datasets.sequence import PosedFrame, Sequence
from longtake.errors import InputError
from longtake.sources.image_files import IMAGE_SUFFIXES, header_size, natural_key
from longtake.sources.picture import read_picture

ReadDepth = Callable[[Path], np.ndarray]  # file -> (h, w) float32 metres, 0 = unknown
PlaceDepth = Callable[[np.ndarray, tuple[int, int]], np.ndarray]  # (h, w) map, (H, W) of the picture -> (H, W) map


@dataclass(frozen=True, slots=True)
class FrameFiles:
    """Where one frame lies and what is known before its pictures are read."""

    index: int
    time: float
    name: str
    image: Path
    depth: Path | None = None
    world_from_cam: np.ndarray | None = None  # (4, 4) float64
    intrinsics: np.ndarray | None = None  # (3, 3) float64, pixels of the image
    size: tuple[int, int] | None = None  # (width, height) that the camera file promises


class Listing:
    """Collects the frames of one sequence; what cannot be used is dropped under a name and with a reason."""

    def __init__(self) -> None:
        self.frames: list[FrameFiles] = []
        self.dropped: list[tuple[str, str]] = []

    def add(self, frame: FrameFiles) -> None:
        """Take a frame, unless its pose is not finite or not a rigid motion."""
        fault = None if frame.world_from_cam is None else pose_fault(frame.world_from_cam)
        if fault:
            self.drop(frame.name, fault)
        else:
            self.frames.append(frame)

    def drop(self, name: str, reason: str) -> None:
        """Leave a frame out, and say why."""
        self.dropped.append((name, reason))


class LazySequence:
    """A `Sequence` over listed files.

    Asking for a frame whose picture or depth map is unreadable, or of another size than the rest, raises InputError
    and adds the frame to `dropped`; `readable` walks over such frames. A sequence may be empty: `dropped` says why.
    """

    def __init__(
        self,
        dataset: str,
        name: str,
        listing: Listing,
        *,
        notes: Iterable[str] = (),
        read_depth: ReadDepth | None = None,
        place_depth: PlaceDepth = same_size,
    ) -> None:
        self.dataset = dataset
        self.name = name
        self.files = tuple(listing.frames)
        self.dropped = list(listing.dropped)
        self.notes = list(notes)
        self._read_depth = read_depth
        self._place_depth = place_depth

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, i: int, /) -> PosedFrame:
        files = self.files[i]
        try:
            image = read_picture(files.image)
            self._check_size(files, image)
            depth = self._depth(files, (image.shape[0], image.shape[1]))
        except InputError as error:
            if all(name != files.name for name, _ in self.dropped):
                self.dropped.append((files.name, str(error)))
            raise
        return PosedFrame(files.index, files.time, files.name, image, depth, files.world_from_cam, files.intrinsics)

    def frame_names(self) -> list[str]:
        """Return the names of the frames, without reading any."""
        return [files.name for files in self.files]

    @cached_property
    def _usual_size(self) -> tuple[int, int]:
        return header_size(self.files[0].image)

    def _check_size(self, files: FrameFiles, image: np.ndarray) -> None:
        came, wanted = (image.shape[1], image.shape[0]), files.size or self._usual_size
        if came != wanted and 0 not in wanted:
            whose = "its camera is for" if files.size else "the sequence's first picture is"
            raise InputError(
                f"{files.image}: is {came[0]}x{came[1]}, {whose} {wanted[0]}x{wanted[1]}; one camera cannot serve "
                "both. Restore the original picture."
            )

    def _depth(self, files: FrameFiles, shape: tuple[int, int]) -> np.ndarray | None:
        if files.depth is None or self._read_depth is None:
            return None
        depth = self._read_depth(files.depth)
        try:
            return self._place_depth(depth, shape)
        except InputError as error:
            raise InputError(f"{files.depth}: {error}") from error


def readable(sequence: Sequence) -> Iterator[PosedFrame]:
    """Yield the frames that can be read, in order; the others are in `sequence.dropped` afterwards.

    Raises InputError after the last frame if not one could be read.
    """
    found = False
    for i in range(len(sequence)):
        try:
            frame = sequence[i]
        except InputError:
            continue  # the sequence keeps the reason
        found = True
        yield frame
    if not found:
        raise InputError(nothing_left(sequence))


def nothing_left(sequence: Sequence) -> str:
    """Say that a sequence has no usable frame, why, and what to do."""
    if not sequence.dropped:
        return f"{sequence.name}: holds no frame. Check that the folder was unpacked completely."
    name, reason = sequence.dropped[0]
    more = f" and {len(sequence.dropped) - 1} more" if len(sequence.dropped) > 1 else ""
    dropped = f"{name} ({reason.rstrip('.')}){more}"
    return f"{sequence.name}: no frame is left; dropped: {dropped}. Mend these files or fetch them again."


def pictures(folder: Path, pattern: str = "*") -> list[Path]:
    """List the picture files of a folder by name, numbers in the order of their value; [] if there is no folder."""
    files = folder.glob(pattern) if folder.is_dir() else ()
    return sorted((file for file in files if file.suffix.lower() in IMAGE_SUFFIXES), key=natural_key)


def find_folders(folder: Path, wanted: Callable[[Path], bool], levels: int = 2) -> list[Path]:
    """Return the folder itself if it is wanted, else the wanted ones below it, at most so many levels down."""
    if wanted(folder):
        return [folder]
    if levels == 0 or not folder.is_dir():
        return []
    below = sorted((p for p in folder.iterdir() if p.is_dir() and not p.name.startswith(".")), key=natural_key)
    return [found for path in below for found in find_folders(path, wanted, levels - 1)]


def open_each(
    dataset: str, folder: Path, found: list[Path], open_one: Callable[[Path], LazySequence], layout: str
) -> list[LazySequence]:
    """Open all sequences of a data set. One that cannot be opened stays in the list, empty, with the reason.

    Raises InputError if there is none, or if not one has a usable frame.
    """
    if not found:
        raise InputError(
            f"{folder}: no {dataset} sequence here; pass the root of a data set or one of its sequences. "
            f"Wanted: {layout}."
        )
    sequences: list[LazySequence] = []
    for path in found:
        try:
            sequences.append(open_one(path))
        except InputError as error:
            listing = Listing()
            listing.drop(path.name, str(error))
            sequences.append(LazySequence(dataset, path.resolve().name, listing))
    if not any(len(sequence) for sequence in sequences):
        raise InputError(nothing_left(sequences[0]))
    return sequences
