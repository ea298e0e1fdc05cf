# SPDX-License-Identifier: Apache-2.0
"""Write takes with exact truth in the layouts of public data sets, so that what reads those can be tried anywhere.

Each writer keeps the layout's own depth scale, invalid value, pose direction, names and times, as its reader states
them (`tum.py`, `bonn.py`, `sevenscenes.py`, `scannet.py`, `kitti.py`, `kitti_odometry.py`). TUM, Bonn and 7-Scenes have
no camera file: an intrinsics.txt goes beside. Depth that the layout's 16 bits cannot hold is written as unknown.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from longtake.datasets import bonn, kitti, kitti_odometry, scannet, sevenscenes, tum
from longtake.errors import InputError, OutputError
from longtake.geometry.rotation import quat_wxyz_from_matrix

RATE = 30.0  # frames a second
START = 1311868164.0  # Unix seconds at which a stamped take begins
LATE = 0.004  # seconds by which stamped depth follows its picture, as sensors do
DAY = date(2011, 9, 26)  # of the first KITTI drive; one a day, because each day has one camera
BASELINE = 0.06  # metres from KITTI's camera 0 to its camera 2


@dataclass(frozen=True, slots=True)
class Take:
    """One take of T frames. Camera axes: OpenCV; pixel centres at integers."""

    images: np.ndarray  # (T, H, W, 3) uint8 RGB
    depth: np.ndarray  # (T, H, W) metres along z, 0 = unknown
    world_from_cam: np.ndarray  # (T, 4, 4)
    intrinsics: np.ndarray  # (3, 3) pixels


def write_take(layout: str, out: Path, number: int, take: Take) -> Path:
    """Write take `number` (it names the sequence) below `out`; returns the sequence's folder.

    Raises InputError where no writer has this name, OutputError where it cannot write or the sequence is there already.
    """
    if layout not in WRITERS:
        raise InputError(f"no writer for the layout {layout!r}; there are {', '.join(WRITERS)}.")
    folder_of, write = WRITERS[layout]
    folder = folder_of(out, number)
    if folder.exists():
        raise OutputError(f"{folder} is there already: choose another folder, or delete it.")
    try:
        folder.mkdir(parents=True)
        write(folder, take)
    except OSError as error:
        raise OutputError(f"{folder}: could not write ({error}). Free some space or choose another folder.") from error
    return folder


def encode(depth: np.ndarray, scale: float, unknown: int = 0) -> Image.Image:
    """Return depth (H, W) in metres as a 16-bit picture: rint(depth * scale); what does not fit is `unknown`."""
    values = np.rint(np.where(np.isfinite(depth) & (depth > 0), depth, 0) * scale)
    return Image.fromarray(np.where((values < 1) | (values > 65534), unknown, values).astype(np.uint16))


def _text(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _row(values: np.ndarray) -> str:
    return " ".join(f"{value:.9g}" for value in np.asarray(values).ravel())


def _matrix(path: Path, matrix: np.ndarray) -> None:
    _text(path, [_row(row) for row in matrix])


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        image.save(path, quality=95, subsampling=0)
    else:
        image.save(path, compress_level=1)  # three times as fast, a tenth larger


def _stamped(folder: Path, take: Take, scale: float) -> None:
    """Write rgb/, depth/, their lists and groundtruth.txt with a header, as TUM and Bonn have them."""
    lists: dict[str, list[str]] = {kind: ["# synthetic", "# timestamp filename"] for kind in ("rgb", "depth")}
    truth = ["# synthetic ground truth", "# timestamp tx ty tz qx qy qz qw"]
    for i, pose in enumerate(take.world_from_cam):
        time = START + i / RATE
        for kind, stamp in (("rgb", time), ("depth", time + LATE)):
            name = f"{kind}/{stamp:.6f}.png"
            picture = Image.fromarray(take.images[i]) if kind == "rgb" else encode(take.depth[i], scale)
            _save(picture, folder / name)
            lists[kind].append(f"{stamp:.6f} {name}")
        w, x, y, z = quat_wxyz_from_matrix(torch.tensor(pose[:3, :3], dtype=torch.float64)).tolist()
        truth.append(f"{time:.6f} {_row(pose[:3, 3])} {_row(np.array([x, y, z, w]))}")
    _text(folder / "rgb.txt", lists["rgb"])
    _text(folder / "depth.txt", lists["depth"])
    _text(folder / "groundtruth.txt", truth)
    _matrix(folder / "intrinsics.txt", take.intrinsics)


def _tum(folder: Path, take: Take) -> None:
    _stamped(folder, take, tum.SCALE)


def _bonn(folder: Path, take: Take) -> None:
    _stamped(folder, take, bonn.SCALE)


def _sevenscenes(folder: Path, take: Take) -> None:
    for i, pose in enumerate(take.world_from_cam):
        stem = f"frame-{i:06d}"
        _save(Image.fromarray(take.images[i]), folder / f"{stem}.color.png")
        depth = encode(take.depth[i], sevenscenes.SCALE, sevenscenes.NO_RETURN)
        _save(depth, folder / f"{stem}.depth.proj.png")
        _matrix(folder / f"{stem}.pose.txt", pose)
    _matrix(folder / "intrinsics.txt", take.intrinsics)
    _text(folder.parent / "TestSplit.txt", ["sequence1"])


def _scannet(folder: Path, take: Take) -> None:
    """Depth has half the size of colour, as ScanNet's nearly has: depth pixel (u, v) is colour pixel (2u, 2v)."""
    for i, pose in enumerate(take.world_from_cam):
        _save(Image.fromarray(take.images[i]), folder / "color" / f"{i}.jpg")
        _save(encode(take.depth[i, ::2, ::2], scannet.SCALE), folder / "depth" / f"{i}.png")
        _matrix(folder / "pose" / f"{i}.txt", pose)
    for name, size in (("color", 1.0), ("depth", 0.5)):
        camera = np.eye(4)
        camera[:3, :3] = np.diag([size, size, 1.0]) @ take.intrinsics
        _matrix(folder / "intrinsic" / f"intrinsic_{name}.txt", camera)
        _matrix(folder / "intrinsic" / f"extrinsic_{name}.txt", np.eye(4))


def _kitti(folder: Path, take: Take) -> None:
    day = folder.parents[1] / folder.name[:10]
    for i, image in enumerate(take.images):
        name = f"{i:010d}.png"
        _save(Image.fromarray(image), day / folder.name / "image_02" / "data" / name)
        _save(encode(take.depth[i], kitti.SCALE), folder / kitti.ANNOTATED / name)
    camera = np.hstack([take.intrinsics, np.zeros((3, 1))])
    _text(day / "calib_cam_to_cam.txt", [f"P_rect_02: {_row(camera)}"])
    start = datetime.strptime(folder.name[:10], "%Y_%m_%d")
    stamps = [f"{start + timedelta(seconds=i / kitti.RATE):%Y-%m-%d %H:%M:%S.%f}000" for i in range(len(take.images))]
    _text(day / folder.name / "image_02" / "timestamps.txt", stamps)


def _kitti_odometry(folder: Path, take: Take) -> None:
    """The poses are those of camera 0, `BASELINE` to the right of the camera that took the pictures."""
    camera = np.hstack([take.intrinsics, take.intrinsics @ [[BASELINE], [0.0], [0.0]]])
    second_from_first = np.eye(4)
    second_from_first[0, 3] = BASELINE
    poses = take.world_from_cam @ second_from_first
    for i, image in enumerate(take.images):
        _save(Image.fromarray(image), folder / "image_2" / f"{i:06d}.png")
    first = np.hstack([take.intrinsics, np.zeros((3, 1))])
    _text(folder / "calib.txt", [f"P0: {_row(first)}", f"P2: {_row(camera)}"])
    _text(folder / "times.txt", [f"{i / kitti_odometry.RATE:.6e}" for i in range(len(take.images))])
    _text(folder.parents[1] / "poses" / f"{folder.name}.txt", [_row(pose[:3]) for pose in poses])


# Where a take goes below the root, and who writes it.
WRITERS: Mapping[str, tuple[Callable[[Path, int], Path], Callable[[Path, Take], None]]] = {
    "tum": (lambda out, n: out / f"rgbd_dataset_synthetic_{n:02d}", _tum),
    "bonn": (lambda out, n: out / f"rgbd_bonn_synthetic{n:02d}", _bonn),
    "7scenes": (lambda out, n: out / f"room{n:02d}" / "seq-01", _sevenscenes),
    "scannet": (lambda out, n: out / f"scene{n:04d}_00", _scannet),
    "kitti": (lambda out, n: out / "val" / f"{DAY + timedelta(days=n):%Y_%m_%d}_drive_{n:04d}_sync", _kitti),
    "kitti-odometry": (lambda out, n: out / "sequences" / f"{n:02d}", _kitti_odometry),
}
