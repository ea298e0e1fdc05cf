# SPDX-License-Identifier: Apache-2.0
"""KITTI depth prediction (annotated depth and raw pictures), `kitti`.

Layout       {val,train}/DRIVE/proj_depth/groundtruth/image_02/*.png and DATE/DRIVE/image_02/data/*.png, where DATE are
             the first ten letters of DRIVE; the pictures may also lie in {val,train}/DRIVE/image_02/data/.
             Folders: the root (then val/ if there is one, else train/), or one {val,train}/DRIVE.
Depth        16-bit PNG / 256 m, z of the rectified left colour camera, sparse (accumulated laser).
Invalid      0.
Poses        none: the data set has no poses beside its pictures.
Camera       P_rect_02 of DATE/calib_cam_to_cam.txt, or an intrinsics.txt (3x3) beside proj_depth/; else unknown.
Time         image_02/timestamps.txt where it is, else nominal, 10 frames a second. Association: by file name; only
             annotated frames count (the published evaluations take the first N annotated ones).
Source       field.md 5.5 (layout, first N annotated), 5.3 (scale 256, zeros invalid, no cap).
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np

from longtake.datasets.depth import read_png_depth
from longtake.datasets.numbers import read_camera, read_lines
from longtake.datasets.reading import FrameFiles, LazySequence, Listing, open_each, pictures
from longtake.errors import InputError

DATASET = "kitti"
LAYOUT = "val/DRIVE/proj_depth/groundtruth/image_02/*.png and DATE/DRIVE/image_02/data/*.png"
SCALE = 256.0
RATE = 10.0  # frames a second, nominal
ANNOTATED = Path("proj_depth", "groundtruth", "image_02")
NOTES = (
    "depth: PNG / 256 m, z, sparse, 0 = unknown",
    "poses: none",
    "frames: those with annotated depth",
)


def looks_like(folder: Path) -> bool:
    """Say whether this is one drive with annotated depth."""
    return (folder / ANNOTATED).is_dir()


def drives(folder: Path) -> list[Path]:
    """Return the drives of a root, of val/ or train/, or the drive itself."""
    if looks_like(folder):
        return [folder]
    for part in ("val", "train", "."):
        found = sorted(p.parents[2] for p in (folder / part).glob(f"*/{ANNOTATED.as_posix()}") if p.is_dir())
        if found:
            return found
    return []


def open_folder(folder: Path) -> list[LazySequence]:
    """Open a drive or a root. Raises InputError where nothing can be used."""
    return open_each(DATASET, folder, drives(folder), _open, LAYOUT)


def _open(drive: Path) -> LazySequence:
    drive = drive.resolve()
    raw = _raw(drive)
    camera, note = _camera(drive)
    images = {path.stem: path for path in pictures(raw / "data")}
    times = _times(raw / "timestamps.txt")
    listing = Listing()
    for i, depth in enumerate(pictures(drive / ANNOTATED)):
        image = images.get(depth.stem)
        if image is None:
            listing.drop(depth.name, f"has annotated depth, but no picture of this name is in {raw / 'data'}")
            continue
        number = int(depth.stem) if depth.stem.isdigit() else i
        if times and number >= len(times):
            listing.drop(image.name, f"timestamps.txt has only {len(times)} lines")
            continue
        time = times[number] if times else number / RATE
        listing.add(FrameFiles(i, time, image.name, image, depth, None, camera))
    clock = "times: image_02/timestamps.txt" if times else "times: nominal, 10 frames a second"
    read = partial(read_png_depth, scale=SCALE)
    return LazySequence(DATASET, drive.name, listing, notes=(*NOTES, note, clock), read_depth=read)


def _raw(drive: Path) -> Path:
    """Return the image_02 folder of a drive's pictures."""
    places = (drive.parents[1] / drive.name[:10] / drive.name / "image_02", drive / "image_02")
    for place in places:
        if (place / "data").is_dir():
            return place
    raise InputError(
        f"{drive.name}: has annotated depth but no pictures; wanted {places[0] / 'data'} (from the raw data set) or "
        f"{places[1] / 'data'}. Fetch the raw drive."
    )


def _camera(drive: Path) -> tuple[np.ndarray | None, str]:
    if (drive / "intrinsics.txt").is_file():
        return read_camera(drive / "intrinsics.txt"), "camera: intrinsics.txt"
    path = drive.parents[1] / drive.name[:10] / "calib_cam_to_cam.txt"
    if not path.is_file():
        return None, "camera: unknown, there is no calib_cam_to_cam.txt"
    return projection(path, "P_rect_02")[:, :3], "camera: P_rect_02 of calib_cam_to_cam.txt"


def projection(path: Path, name: str) -> np.ndarray:
    """Read the (3, 4) float64 projection matrix `name: 12 numbers` of a calibration file."""
    for line in read_lines(path):
        key, _, rest = line.partition(":")
        if key.strip() == name:
            values = rest.split()
            try:
                return np.array([float(value) for value in values], np.float64).reshape(3, 4)
            except ValueError:
                break
    raise InputError(f"{path}: has no line `{name}: ` with 12 numbers. Fetch the calibration again.")


def _times(path: Path) -> list[float]:
    """Read `2011-09-26 13:02:25.964389445` lines as Unix seconds (UTC); [] without the file."""
    if not path.is_file():
        return []
    times = []
    for line in read_lines(path):
        if line.strip():
            whole, _, part = line.strip().partition(".")
            try:
                stamp = datetime.strptime(whole, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
                times.append(stamp.timestamp() + float(f"0.{part or 0}"))
            except ValueError:
                raise InputError(f"{path}: {line[:40]!r}; wanted `YYYY-MM-DD hh:mm:ss.fraction` lines.") from None
    return times
