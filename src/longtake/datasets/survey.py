# SPDX-License-Identifier: Apache-2.0
"""What a data set on disk holds, what is missing or broken, and whether its poses and depth agree."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from longtake.datasets.reading import LazySequence
from longtake.datasets.table import detect, open_sequence
from longtake.datasets.warp import Agreement, check_agreement
from longtake.errors import InputError

SHOWN = 3  # dropped frames that the text names, a reason
OFF_CENTRE = 0.15  # a principal point so far from the middle, in picture sizes, belongs to another size of picture
JUMP, FAST = 15.0, 0.3  # a step of so many times the usual one, and of at least so many metres, is a jump


@dataclass(slots=True)
class Survey:
    """The figures of one sequence; lengths in metres, or in scene units where a note says so."""

    name: str
    dataset: str
    frames: int  # usable ones: listed, with a sound pose, not found broken
    looked_at: int  # frames whose pictures were read
    size: tuple[int, int] | None = None  # (width, height) of the first picture
    field_of_view: float | None = None  # degrees, horizontal
    depth_frames: int = 0  # of those looked at
    depth_known: float | None = None  # share of the pixels of these
    depth_range: tuple[float, float, float] | None = None  # 1st percentile, median, 99th, each the median over frames
    posed_frames: int = 0
    path_length: float | None = None
    extent: tuple[float, float, float] | None = None
    seconds: float = 0.0
    dropped: list[tuple[str, str]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)  # what makes the check fail
    warnings: list[str] = field(default_factory=list)  # what may be meant
    agreement: Agreement | None = None

    def lines(self, said: list[str]) -> Iterator[str]:
        """Say it all in words, leaving out the notes that have been `said` already."""
        size = f", {self.size[0]}x{self.size[1]}" if self.size else ""
        view = f", {self.field_of_view:.0f} degrees wide" if self.field_of_view else ""
        unit = "" if any("scene units" in note for note in self.notes) else " m"
        looked = "" if self.looked_at >= self.frames else f" ({self.looked_at} looked at)"
        yield f"{self.name}: {self.frames} frames{looked}{size}{view}, {self.seconds:.1f} s"
        if self.depth_range and self.depth_known is not None:
            near, middle, far = self.depth_range
            yield (
                f"  depth     in {self.depth_frames} of {self.looked_at} frames, {self.depth_known:.1%} of their pixels"
                f" known, {near:.2f} to {far:.2f}{unit}, median {middle:.2f}{unit}"
            )
        else:
            yield "  depth     none"
        if self.path_length is not None and self.extent is not None:
            sides = " x ".join(f"{side:.2f}" for side in self.extent)
            path = f"path {self.path_length:.2f}{unit} long within {sides}{unit}"
            yield f"  poses     in {self.posed_frames} frames, {path}"
        else:
            yield "  poses     none"
        if self.agreement:
            yield f"  agreement {_said(self.agreement)}"
        yield from (f"  read as   {note}" for note in self.notes if note not in said)
        yield from (f"  dropped   {line}" for line in _grouped(self.dropped))
        yield from (f"  warning   {line}" for line in self.warnings)
        yield from (f"  PROBLEM   {line}" for line in self.problems)


def survey_folder(folder: Path, dataset: str | None = None, most: int | None = None) -> Iterator[Survey]:
    """Look at every sequence of a folder, one after another. `most` limits the pictures read of each.

    Raises InputError where the layout is not known or no sequence has a usable frame.
    """
    for sequence in open_sequence(dataset or detect(folder), folder):
        assert isinstance(sequence, LazySequence)
        yield survey(sequence, most)


def survey(sequence: LazySequence, most: int | None = None) -> Survey:
    """Read the pictures of a sequence (at most `most`, evenly spread), measure it, and warp its depth."""
    found = Survey(sequence.name, sequence.dataset, len(sequence), 0, notes=sequence.notes, dropped=sequence.dropped)
    before = len(sequence.dropped)
    if not len(sequence):
        found.problems.append("no frame can be used")
        return found
    _look(sequence, most, found)
    _walk(sequence, found)
    found.agreement = check_agreement(sequence)
    broken = len(sequence.dropped) - before
    found.frames -= broken
    if broken:
        found.problems.append(f"{broken} of {found.looked_at + broken} frames looked at cannot be read")
    if found.agreement.verdict == "disagree":
        found.problems.append(f"poses, depth and camera do not agree: {found.agreement.text}")
    return found


def _look(sequence: LazySequence, most: int | None, found: Survey) -> None:
    """Read pictures and depth maps, one at a time."""
    count = len(sequence) if most is None else min(most, len(sequence))
    known, ranges, camera = [], [], None
    for i in np.unique(np.linspace(0, len(sequence) - 1, count).round().astype(int)):
        try:
            frame = sequence[int(i)]
        except InputError:
            continue  # the sequence keeps the reason
        found.looked_at += 1
        if found.size is None:
            found.size, camera = (frame.image.shape[1], frame.image.shape[0]), frame.intrinsics
        if frame.depth is not None:
            values = frame.depth[frame.depth > 0]
            known.append(values.size / frame.depth.size)
            if values.size:
                ranges.append(np.percentile(values, [1, 50, 99]))
    if known:
        found.depth_frames, found.depth_known = len(known), float(np.mean(known))
        empty = sum(share == 0 for share in known)
        if empty:
            found.warnings.append(f"{empty} depth maps hold no known pixel")
    if ranges:
        near, middle, far = np.median(ranges, axis=0)
        found.depth_range = (float(near), float(middle), float(far))
    if found.size and camera is not None:
        _judge_camera(found, found.size, camera)


def _judge_camera(found: Survey, size: tuple[int, int], camera: np.ndarray) -> None:
    found.field_of_view = float(np.rad2deg(2 * np.arctan(size[0] / 2 / camera[0, 0])))
    off = np.abs((camera[:2, 2] + 0.5) / size - 0.5)
    if off.max() > OFF_CENTRE:
        found.problems.append(
            f"the principal point ({camera[0, 2]:.1f}, {camera[1, 2]:.1f}) is far from the middle of a "
            f"{size[0]}x{size[1]} picture: the camera matrix belongs to another size"
        )


def _walk(sequence: LazySequence, found: Survey) -> None:
    """Measure the path and the times; these need no picture."""
    times = np.array([files.time for files in sequence.files])
    found.seconds = float(times[-1] - times[0])
    if (np.diff(times) <= 0).any():
        found.warnings.append(f"time stands still or runs backwards {int((np.diff(times) <= 0).sum())} times")
    places = [files.world_from_cam[:3, 3] for files in sequence.files if files.world_from_cam is not None]
    found.posed_frames = len(places)
    if not places:
        return
    path = np.array(places)
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    found.path_length = float(steps.sum())
    x, y, z = np.ptp(path, axis=0)
    found.extent = (float(x), float(y), float(z))
    jumps = np.flatnonzero(steps > max(FAST, JUMP * float(np.median(steps)))) if len(steps) else []
    if len(jumps):
        name = sequence.files[int(jumps[0]) + 1].name
        found.warnings.append(f"the camera jumps {len(jumps)} times, first by {steps[jumps[0]]:.2f} before {name}")


def _said(agreement: Agreement) -> str:
    answer = {"agree": "yes", "disagree": "NO", "undecided": "cannot be told"}[agreement.verdict]
    if agreement.median_error is None:
        return f"{answer}: {agreement.text}"
    return (
        f"{answer}: {agreement.text}; warped depth is off by {agreement.median_error:.2%} in the median, "
        f"{agreement.within_5_percent:.1%} of {agreement.pixels} pixels in {agreement.pairs} pairs are within 5 %"
    )


def _grouped(dropped: list[tuple[str, str]]) -> Iterator[str]:
    """One line a reason: how many frames, and the first names."""
    names: dict[str, list[str]] = {}
    for name, reason in dropped:
        names.setdefault(reason.rpartition(f"{name}: ")[2], []).append(name)  # without the file, another for each
    for reason, of in names.items():
        shown = ", ".join(of[:SHOWN]) + (f" and {len(of) - SHOWN} more" if len(of) > SHOWN else "")
        yield f"{shown}: {reason}"


def as_json(found: Survey) -> dict[str, Any]:
    """Return the survey as plain values for JSON."""
    from dataclasses import asdict

    return asdict(found)
