# SPDX-License-Identifier: Apache-2.0
"""MPI Sintel with depth and cameras, `sintel`.

Layout       training/{final (else clean), camdata_left, depth}/SEQ/frame_NNNN.{png, cam, dpt}; folders: the one above
             training/, or training/ itself. The published evaluations use 14 of the 23 sequences (`PUBLISHED`); all
             that lie there are opened, and the notes say whether a sequence is one of the 14.
Depth        .dpt: float32 202021.25, int32 width, int32 height, then float32 metres row by row, little endian; z.
Invalid      what is not finite or not positive. No upper limit here; the published evaluations stop at 70 m.
Poses        .cam: float32 202021.25, 9 float64 camera matrix, 12 float64 world to camera [R | t]: inverted.
Camera       the .cam file of each frame, integer centres.
Time         none: nominal, 24 frames a second. Association: by file name.
Source       field.md 5.5 (layout, the 14 sequences), 5.3 (.dpt, 70 m); the two binary layouts are those of the data
             set's own reader description.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from longtake.datasets.numbers import invert
from longtake.datasets.reading import FrameFiles, LazySequence, Listing, open_each, pictures
from longtake.errors import InputError

DATASET = "sintel"
LAYOUT = "training/{final, camdata_left, depth}/SEQ/frame_NNNN.{png, cam, dpt}"
TAG = 202021.25
RATE = 24.0  # frames a second, nominal
PUBLISHED = frozenset(
    ("alley_2", "ambush_4", "ambush_5", "ambush_6", "cave_2", "cave_4", "market_2", "market_5", "market_6")
    + ("shaman_3", "sleeping_1", "sleeping_2", "temple_2", "temple_3")
)


def root_of(folder: Path) -> Path | None:
    """Return the folder that holds camdata_left/ and final/ or clean/: this one or its training/; None without."""
    for root in (folder, folder / "training"):
        if (root / "camdata_left").is_dir() and ((root / "final").is_dir() or (root / "clean").is_dir()):
            return root
    return None


def looks_like(folder: Path) -> bool:
    """Say whether this is the data set's folder."""
    return root_of(folder) is not None


def open_folder(folder: Path) -> list[LazySequence]:
    """Open all sequences. Raises InputError where nothing can be used."""
    root = root_of(folder)
    kind = "final" if root and (root / "final").is_dir() else "clean"
    found = sorted(path for path in (root / kind).iterdir() if path.is_dir()) if root else []
    return open_each(DATASET, folder, found, _open, LAYOUT)


def read_dpt(path: Path) -> np.ndarray:
    """Read a .dpt file: (h, w) float32 metres, 0 = unknown. Raises InputError where it is not one."""
    data = _bytes(path)
    width, height = (int(side) for side in np.frombuffer(data[4:12], "<i4"))
    if len(data) != 12 + 4 * width * height or min(width, height) < 1:
        raise InputError(f"{path}: is cut off: {len(data)} bytes for {width}x{height} values. Fetch it again.")
    depth = np.frombuffer(data[12:], "<f4").reshape(height, width)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0)).astype(np.float32)


def read_cam(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read a .cam file: the camera matrix (3, 3) and cam_from_world (4, 4), float64."""
    data = _bytes(path)
    if len(data) != 4 + 8 * 21:
        raise InputError(f"{path}: {len(data)} bytes; a .cam file has 172. Fetch it again.")
    values = np.frombuffer(data[4:], "<f8")
    cam_from_world = np.eye(4)
    cam_from_world[:3] = values[9:].reshape(3, 4)
    return values[:9].reshape(3, 3).copy(), cam_from_world


def _bytes(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}). Fetch or unpack it again.") from error
    if len(data) < 12 or np.frombuffer(data[:4], "<f4")[0] != TAG:
        raise InputError(f"{path}: does not begin with Sintel's tag {TAG}. Fetch or unpack it again.")
    return data


def _open(folder: Path) -> LazySequence:
    root = folder.parent.parent
    depth_folder, cam_folder = root / "depth" / folder.name, root / "camdata_left" / folder.name
    listing = Listing()
    for i, image in enumerate(pictures(folder)):
        depth = depth_folder / f"{image.stem}.dpt"
        if depth_folder.is_dir() and not depth.is_file():
            listing.drop(image.name, f"{depth.name} is missing")
            continue
        try:
            camera, cam_from_world = read_cam(cam_folder / f"{image.stem}.cam")
        except InputError as error:
            listing.drop(image.name, str(error))
            continue
        at = depth if depth_folder.is_dir() else None
        listing.add(FrameFiles(i, i / RATE, image.name, image, at, invert(cam_from_world), camera))
    notes = (
        f"pictures: the {folder.parent.name} pass",
        "depth: .dpt, metres, z, not finite or not positive = unknown; the published evaluations stop at 70 m",
        "poses: world to camera in the file, inverted",
        "camera: one a frame, from the .cam file",
        "times: nominal, 24 frames a second",
        f"the published evaluations {'use' if folder.name in PUBLISHED else 'leave out'} this sequence",
    )
    return LazySequence(DATASET, folder.name, listing, notes=notes, read_depth=read_dpt)
