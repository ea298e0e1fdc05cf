# SPDX-License-Identifier: Apache-2.0
"""Read a take's folder back: finished, cut short, or still growing."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from longtake.errors import InputError
from longtake.geometry.lens import Lens
from longtake.geometry.similarity import Similarity
from longtake.outputs import takefiles as names
from longtake.outputs.cameras import read_cameras, read_lines
from longtake.outputs.manifest import read_manifest
from longtake.outputs.size import HOW_SURE, metres_in, size_of


@dataclass(frozen=True, slots=True)
class TakeFrame:
    """What a take's folder says of one frame. A matrix that was not finite is None."""

    number: int  # position in the take, from 0
    index: int  # position in the source
    time: float  # seconds since the start of the source
    name: str
    world_from_cam: np.ndarray | None  # (4, 4)
    intrinsics: np.ndarray | None  # (3, 3) in pixels of size, centres at integers
    size: tuple[int, int]  # (width, height) of depth, confidence and image
    intrinsics_original: np.ndarray | None  # (3, 3) in pixels of original_size, centres at integers
    original_size: tuple[int, int]  # (width, height) of the upright original
    files: dict[str, Path]  # depth, confidence, image
    points: tuple[int, int]  # first point in cloud.ply, and how many
    tracking: str = "ok"  # ok, weak or lost
    metres_per_unit: float | None = None  # in the unit of the take, as this frame alone says it

    @property
    def posed(self) -> bool:
        """Whether it has a pose and intrinsics: what other tools can use."""
        return self.world_from_cam is not None and self.intrinsics is not None


def frame_of(record: dict[str, Any], number: int, folder: Path) -> TakeFrame:
    """Read one frame's record of cameras.json or cameras.jsonl.part. Raises InputError where something is missing."""

    def matrix(key: str) -> np.ndarray | None:
        return None if record[key] is None else np.array(record[key], np.float64)

    def inside(name: str) -> Path:  # an export copies these files: a take from elsewhere must not name others
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ValueError(f"{name} lies outside")
        return folder / name

    try:
        kinds = [kind for kind in ("depth", "confidence", "image") if record.get(kind)]
        return TakeFrame(
            number=number,
            index=int(record["index"]),
            time=float(record["time"]),
            name=str(record["name"]),
            world_from_cam=matrix("world_from_cam"),
            intrinsics=matrix("intrinsics"),
            size=(int(record["size"][0]), int(record["size"][1])),
            intrinsics_original=matrix("intrinsics_original"),
            original_size=(int(record["original_size"][0]), int(record["original_size"][1])),
            files={kind: inside(str(record[kind])) for kind in kinds},
            points=(int(record["cloud"][0]), int(record["cloud"][1])),
            tracking=str(record.get("tracking", "ok")),
            metres_per_unit=metres_in(record),
        )
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise InputError(
            f"{folder}: frame {number} of its cameras file is damaged ({type(error).__name__}: {error}). "
            "Reconstruct the take again."
        ) from error


@dataclass(frozen=True, slots=True)
class Take:
    """A take's folder."""

    folder: Path
    frames: tuple[TakeFrame, ...]
    is_metric: bool
    manifest: dict[str, Any]  # empty where there is none
    similarity: Similarity | None = None  # what the frames' poses were moved by; the files on disk were not
    metres_per_unit: float | None = None  # the model's estimate; None where it has none, and where units are metres
    estimated: bool = False  # whether it is metric only by that estimate

    @property
    def posed(self) -> list[TakeFrame]:
        """The frames that have a pose and intrinsics."""
        return [frame for frame in self.frames if frame.posed]

    @property
    def lens(self) -> Lens | None:
        """The lens that was known, whose distortion the frames of the source have and those of the take do not."""
        told = self.manifest.get("options", {}).get("lens")
        return Lens.from_dict(told) if isinstance(told, dict) else None

    @property
    def scale(self) -> float:
        """What depths on disk are multiplied by."""
        return 1.0 if self.similarity is None else self.similarity.scale

    @property
    def unit(self) -> str:
        """What lengths are in."""
        if self.estimated:
            return f"metres ({HOW_SURE})"
        return "metres" if self.is_metric else "scene units"


def read_take(folder: str | os.PathLike[str]) -> Take:
    """Read the frames of a take. Raises InputError where the folder is not one."""
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder. Give the folder that `longtake reconstruct --out` wrote.")
    lines, cameras = folder / names.CAMERA_LINES, folder / names.CAMERAS
    manifest = read_manifest(folder / names.MANIFEST) or {}
    if lines.is_file():  # running, or killed
        records, metric = list(read_lines(lines)), bool(manifest.get("is_metric"))
        metres = None if metric else size_of(records).metres_per_unit
        return Take(folder, _frames(records, folder), metric, manifest, metres_per_unit=metres)
    if not cameras.is_file():
        raise InputError(
            f"{folder}: not a take: it has no {names.CAMERAS}. Give the folder that `longtake reconstruct --out` wrote."
        )
    document = read_cameras(cameras)
    frames, metric = _frames(document["frames"], folder), bool(document["is_metric"])
    return Take(folder, frames, metric, manifest, metres_per_unit=None if metric else metres_in(document))


def _frames(records: list[dict[str, Any]], folder: Path) -> tuple[TakeFrame, ...]:
    return tuple(frame_of(record, number, folder) for number, record in enumerate(records))


class Follower:
    """Reads the frames of a growing take as they come, and those of a finished one at once.

    The camera line is the last thing written of a frame, so that every frame returned is whole on disk.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.count = 0
        self.finished = False
        self._offset = 0

    def poll(self, limit: int | None = None) -> list[TakeFrame]:
        """Return at most `limit` frames that are new since the last call. Raises InputError where a line is damaged."""
        if self.finished:
            return []
        lines = self.folder / names.CAMERA_LINES
        found: list[TakeFrame] = []
        try:
            with open(lines, "rb") as file:
                file.seek(self._offset)
                while (limit is None or len(found) < limit) and (line := file.readline()).endswith(b"\n"):
                    self._offset += len(line)
                    found.append(frame_of(json.loads(line), self.count + len(found), self.folder))
        except FileNotFoundError:
            if not (self.folder / names.CAMERAS).is_file():
                return []
            frames = read_take(self.folder).frames[self.count :]
            found = list(frames if limit is None else frames[:limit])
            self.finished = len(found) == len(frames)
        except ValueError as error:
            raise InputError(f"{lines}: line {self.count + len(found) + 1} is damaged ({error}).") from error
        self.count += len(found)
        return found
