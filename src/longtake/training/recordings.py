# SPDX-License-Identifier: Apache-2.0
"""Takes to train on, drawn from data sets on disk: random starts, strides, windows and colours, exact truth kept exact.

Any folder that `longtake.datasets` reads will do if its frames have poses, a camera and depth in places.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from longtake.datasets.sequence import PosedFrame, Sequence
from longtake.datasets.table import detect, open_sequence
from longtake.errors import InputError
from longtake.frame import PATCH
from longtake.training.schedule import SHAPES
from longtake.training.window import Window, centred, colours, cut, native_size

TRIES = 50  # draws in a row that may meet broken frames before the data is given up
LEAST_KNOWN = 0.02  # share of the first frame's pixels with a depth: their mean is the take's unit of length
SAME_CAMERA = 0.01  # largest difference of focal lengths within a take, as a share


@dataclass(frozen=True, slots=True)
class Takes:
    """B takes of T frames with their truth; metres, or the units of the data set."""

    images: Tensor  # (B, T, 3, H, W) float32 in [0, 1]
    depth: Tensor  # (B, T, H, W) float32 z, 0 = unknown; every first frame has some
    world_from_cam: Tensor  # (B, T, 4, 4) float32; the first is the identity
    intrinsics: Tensor  # (B, 3, 3) float32, pixels, centres at integers


@dataclass(frozen=True, slots=True)
class Source:
    """The frames of one sequence that may be used."""

    sequence: Sequence
    frames: range
    sizes: tuple[tuple[int, int], ...]  # (height, width) of its takes; the first is what the model sees in use


def open_sources(
    folders: Iterable[Path], size: int, part: tuple[float, float] = (0.0, 1.0), least: int = 2
) -> list[Source]:
    """Open all sequences below some folders and keep a part of each, in shares of its frames.

    size: longest side of the pictures that the model will see. A sequence of which fewer than `least` frames are left
    is passed over. Raises InputError where nothing is left, and where poses, camera or depth are missing altogether.
    """
    sources, short = [], []
    for folder in folders:
        for sequence in open_sequence(detect(folder), folder):
            count = len(sequence)
            frames = range(round(part[0] * count), round(part[1] * count))
            if len(frames) < least:
                short.append(f"{sequence.name}: {len(frames)} of {count} frames")
                continue
            first = _first(folder, sequence)
            native = native_size(first.image, size)
            upright = native[0] > native[1]
            others = {_scaled(s, size) for s in SHAPES if (s[0] > s[1]) == upright} - {native}
            sources.append(Source(sequence, frames, (native, *sorted(others))))
    if not sources:
        raise InputError(
            f"no sequence has {least} frames in this part of it ({'; '.join(short[:3]) or 'none was found'}). "
            "Give longer recordings, or a larger part."
        )
    return sources


def _first(folder: Path, sequence: Sequence) -> PosedFrame:
    """Read the first readable frame and refuse what cannot be trained on."""
    reason = ""
    for i in range(min(len(sequence), TRIES)):
        try:
            frame = sequence[i]
        except InputError as error:
            reason = str(error)
            continue
        facts = {"pose": frame.world_from_cam, "camera matrix": frame.intrinsics, "depth map": frame.depth}
        missing = [name for name, fact in facts.items() if fact is None]
        if not missing:
            return frame
        reason = f"frame {frame.name} has no {' and no '.join(missing)}"
    raise InputError(
        f"{folder}: {sequence.name} cannot be trained on: {reason}. Frames need a picture, a depth map (holes are "
        "fine), a pose and a camera; `longtake data check` says what a folder has."
    )


def _scaled(shape: tuple[int, int], size: int) -> tuple[int, int]:
    longest = max(shape)
    height, width = (max(1, round(side * size / longest / PATCH)) * PATCH for side in shape)
    return height, width


class Recordings:
    """Draws takes at random from sources. Frames that cannot be read are left out and kept in `broken`."""

    def __init__(self, sources: list[Source], max_stride: int, seed: int, *, vary: bool = True) -> None:
        self.sources, self.max_stride, self.vary = sources, max_stride, vary
        self.rng = np.random.default_rng(seed)
        self.broken: dict[str, str] = {}  # frame: reason

    def draw(self, takes: int, frames: int) -> Takes:
        """Draw takes of one size. Raises InputError, which names a file, when too many draws meet broken frames."""
        weights = np.array([len(source.frames) for source in self.sources], np.float64)
        size = self._size(self.sources[self.rng.choice(len(weights), p=weights / weights.sum())])
        usable = [i for i, source in enumerate(self.sources) if size in source.sizes and len(source.frames) >= frames]
        if not usable:
            longest = max(len(source.frames) for source in self.sources)
            raise InputError(f"takes of {frames} frames from recordings of at most {longest}: ask for shorter takes.")
        chances = weights[usable] / weights[usable].sum()
        drawn: list[Takes] = []
        failed = 0
        while len(drawn) < takes:
            try:
                drawn.append(self._take(self.sources[self.rng.choice(usable, p=chances)], size, frames))
                failed = 0
            except InputError as error:
                failed += 1
                if failed >= TRIES:
                    raise InputError(f"{TRIES} takes in a row were of no use, the last one: {error}") from error
        return _joined(drawn)

    def _size(self, source: Source) -> tuple[int, int]:
        if not self.vary or self.rng.random() < 0.5:
            return source.sizes[0]
        return source.sizes[self.rng.integers(len(source.sizes))]

    def _take(self, source: Source, size: tuple[int, int], frames: int) -> Takes:
        rng, spare = self.rng, len(source.frames) - 1
        stride = int(rng.integers(1, max(1, min(self.max_stride, spare // max(1, frames - 1))) + 1))
        start = int(rng.integers(len(source.frames) - stride * (frames - 1)))
        chosen = [source.frames[start + stride * t] for t in range(frames)]
        if rng.random() < 0.5:
            chosen.reverse()  # walking backwards is a walk
        zoom = float(rng.uniform(0.75, 1.0)) if self.vary and rng.random() < 0.5 else 1.0
        take = read_take(source.sequence, chosen, size, zoom, self.broken)
        if not self.vary:
            return take
        take = mirrored(take) if rng.random() < 0.5 else take
        return Takes(colours(take.images, rng), take.depth, take.world_from_cam, take.intrinsics)


def read_take(
    sequence: Sequence,
    chosen: Iterable[int],
    size: tuple[int, int],
    zoom: float = 1.0,
    broken: dict[str, str] | None = None,
) -> Takes:
    """Read frames of a sequence as one take (B = 1) of pictures (height, width), from the middle of each frame.

    zoom: the window's size as a share of the largest that fits. broken: gets unreadable frames and why. Raises
    InputError where a frame cannot be used; the text names the file.
    """
    images, depths, poses, cameras, name = [], [], [], [], sequence.name
    for i in chosen:
        name = f"{sequence.name}/{sequence.frame_names()[i]}"
        try:
            frame = sequence[i]
        except InputError as error:
            if broken is not None:
                broken[name] = str(error)
            raise
        if frame.world_from_cam is None or frame.intrinsics is None:
            raise InputError(f"{name}: has no pose or no camera.")
        window: Window = centred(frame.image.shape[:2], size, zoom)
        images.append(window.picture(frame.image))
        depths.append(np.zeros(size, np.float32) if frame.depth is None else cut(frame.depth, window))
        poses.append(frame.world_from_cam)
        cameras.append(window.camera(frame.intrinsics))
    if (depths[0] > 0).mean() < LEAST_KNOWN:
        raise InputError(
            f"{name}: a take begins at a frame with a depth in {(depths[0] > 0).mean():.1%} of its pixels; at least "
            f"{LEAST_KNOWN:.0%} are needed to know the unit of length."
        )
    focal = np.array([camera[0, 0] for camera in cameras])
    if np.ptp(focal) > SAME_CAMERA * focal[0]:
        raise InputError(f"{name}: the focal length changes within a take, {focal.min():.4g} to {focal.max():.4g}.")
    first_from_cam = np.linalg.inv(poses[0]) @ np.stack(poses)
    return Takes(
        images=torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float().div(255)[None],
        depth=torch.from_numpy(np.stack(depths))[None],
        world_from_cam=torch.from_numpy(first_from_cam).float()[None],
        intrinsics=torch.from_numpy(cameras[0]).float()[None],
    )


def mirrored(takes: Takes) -> Takes:
    """Return the takes as a mirror shows them (x becomes -x), truth included."""
    turn = torch.diag(torch.tensor([-1.0, 1.0, 1.0, 1.0]))
    camera = takes.intrinsics.clone()
    camera[:, 0, 2] = takes.images.shape[-1] - 1 - camera[:, 0, 2]
    camera[:, 0, 1] = -camera[:, 0, 1]
    return Takes(takes.images.flip(-1), takes.depth.flip(-1), turn @ takes.world_from_cam @ turn, camera)


def in_order(sources: list[Source], frames: int, stride: int) -> Iterator[Takes]:
    """Walk over the takes of `frames` frames that lie one after the other: native size, nothing random, B = 1.

    What cannot be used is passed over. A source that is shorter gives no take.
    """
    for source in sources:
        length = stride * (frames - 1) + 1
        for start in range(0, len(source.frames) - length + 1, length):
            chosen = [source.frames[start + stride * t] for t in range(frames)]
            try:
                yield read_take(source.sequence, chosen, source.sizes[0])
            except InputError:
                continue


def _joined(takes: list[Takes]) -> Takes:
    parts = ((t.images, t.depth, t.world_from_cam, t.intrinsics) for t in takes)
    return Takes(*(torch.cat(tensors) for tensors in zip(*parts, strict=True)))
