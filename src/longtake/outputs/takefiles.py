# SPDX-License-Identifier: Apache-2.0
"""What is written per frame (points, pose, camera line, depth, confidence, picture), as one step, done or undone."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from torch import Tensor

from longtake.frame import Prediction
from longtake.outputs.appendfile import AppendFile
from longtake.outputs.cameras import camera_record, read_lines
from longtake.outputs.depth import encode_depth
from longtake.outputs.manifest import read_manifest
from longtake.outputs.pictures import encode_confidence, encode_picture
from longtake.outputs.ply import PlyWriter
from longtake.outputs.trajectory import TUM_HEADER, tum_line

CLOUD, TRAJECTORY, CAMERAS = "cloud.ply", "trajectory.txt", "cameras.json"
CAMERA_LINES = "cameras.jsonl.part"
UNCORRECTED = "trajectory_uncorrected.txt"  # the path before loops were closed
ROOM = "room.part"  # set aside for what is written at the end, so that a full disk cannot keep it from being written
DEPTH_FOLDER, DEPTH_NOTE = "depth", "depth/depth.json"
REPORT_PAGE, REPORT_PICTURE, MANIFEST = "report.html", "report.png", "manifest.json"
_ROOM_AT_ALL, _ROOM_PER_FRAME = 32_768, 700  # bytes: manifests, notes; a frame's line in cameras.json comes on top
IMAGE_FOLDER, CONFIDENCE_FOLDER = "images", "confidence"
_FRAME_FILE = re.compile(r"(depth|confidence)/\d{6,}\.png|images/\d{6,}\.jpg")


def clear_earlier_take(out: Path) -> None:
    """Remove what an earlier take of ours left in the folder and a new, shorter one would not overwrite.

    Only names that a manifest of ours (or the camera lines of a take that was killed) lists, and of those only frames'
    files and the documents that would otherwise speak of the old take. Nothing else is touched. Raises OSError.
    """
    earlier = read_manifest(out / MANIFEST)
    listed = set(earlier.get("files", {})) if earlier else set()
    if (out / CAMERA_LINES).is_file():
        for record in read_lines(out / CAMERA_LINES):
            listed |= {str(record.get(kind)) for kind in ("depth", "confidence", "image")}
    for name in listed:
        if _FRAME_FILE.fullmatch(name) or name in {CAMERAS, UNCORRECTED, DEPTH_NOTE, REPORT_PAGE, REPORT_PICTURE}:
            (out / name).unlink(missing_ok=True)
    (out / ROOM).unlink(missing_ok=True)


class TakeFiles:
    """Open files of a running take. After every `add` all of them hold the same number of frames."""

    def __init__(self, out: Path) -> None:
        """Create or overwrite the files in an existing folder. Raises OSError."""
        self.out = out
        self.frames = 0
        self.pixels_too_far = 0
        self.frames_without_pose = 0
        for folder in (DEPTH_FOLDER, CONFIDENCE_FOLDER, IMAGE_FOLDER):
            (out / folder).mkdir(exist_ok=True)
        with contextlib.ExitStack() as stack:
            self.cloud = stack.enter_context(PlyWriter(out / CLOUD))
            self._trajectory = stack.enter_context(AppendFile(out / TRAJECTORY))
            self._lines = stack.enter_context(AppendFile(out / CAMERA_LINES))
            self._room = stack.enter_context(AppendFile(out / ROOM))
            self._room.append(bytes(_ROOM_AT_ALL))
            self._trajectory.append(TUM_HEADER.encode())
            self._open = stack.pop_all()

    def add(self, prediction: Prediction, pixels: Tensor) -> None:
        """Write one frame; `pixels` are the flat indices of those that become points.

        If anything goes wrong (a full disk, Ctrl-C), the frame is taken back from every file and the error passes on.
        """
        marks = (self.cloud.count, self._trajectory.length, self._lines.length)
        names = {
            "depth": f"{DEPTH_FOLDER}/{self.frames:06d}.png",
            "confidence": f"{CONFIDENCE_FOLDER}/{self.frames:06d}.png",
            "image": f"{IMAGE_FOLDER}/{self.frames:06d}.jpg",
        }
        try:
            too_far = self._write(prediction, pixels, names)
        except BaseException:
            self._take_back(*marks, names)
            raise
        self.frames += 1
        self.pixels_too_far += too_far

    def _write(self, prediction: Prediction, pixels: Tensor, names: dict[str, str]) -> int:
        depth, too_far = encode_depth(prediction.depth.detach().float().cpu().numpy())
        sureness = prediction.confidence.detach().float().cpu().numpy()
        image = prediction.image.cpu().numpy()
        data = {"depth": depth, "confidence": encode_confidence(sureness), "image": encode_picture(image)}
        for kind, name in names.items():
            (self.out / name).write_bytes(data[kind])
        first = self.cloud.count
        chosen = prediction.points.reshape(-1, 3)[pixels].detach().float().cpu().numpy()
        flat = pixels.cpu().numpy()
        self.cloud.append(chosen, image.reshape(-1, 3)[flat], sureness.reshape(-1)[flat])
        pose = prediction.world_from_cam.detach().cpu().double().numpy()
        if np.isfinite(pose).all():
            self._trajectory.append(tum_line(prediction.time, pose).encode())
        else:  # cameras.json says null; a trajectory with NaN would break its readers
            self.frames_without_pose += 1
        record = camera_record(prediction, files=names, cloud=(first, len(chosen)))
        record["files"] = {names[kind]: [hashlib.sha256(data[kind]).hexdigest(), len(data[kind])] for kind in names}
        line = (json.dumps(record, ensure_ascii=False) + "\n").encode()
        self._lines.append(line)
        self._room.append(bytes(len(line) + _ROOM_PER_FRAME))
        return too_far

    def _take_back(self, points: int, trajectory: int, lines: int, names: dict[str, str]) -> None:
        for name in names.values():
            with contextlib.suppress(OSError):
                (self.out / name).unlink(missing_ok=True)
        for rewind, length in (
            (self.cloud.rewind, points),
            (self._trajectory.rewind, trajectory),
            (self._lines.rewind, lines),
        ):
            with contextlib.suppress(OSError):
                rewind(length)

    def hashed_frames(self) -> Iterator[tuple[str, str, int]]:
        """Yield name, SHA-256 and bytes of every file of every frame, from the camera lines."""
        for record in read_lines(self.out / CAMERA_LINES):
            for name, (digest, size) in record["files"].items():
                yield str(name), str(digest), int(size)

    def close(self) -> None:
        """Close the files and free the room that was set aside. Calling it twice is fine."""
        self._open.close()
        with contextlib.suppress(OSError):
            (self.out / ROOM).unlink(missing_ok=True)
