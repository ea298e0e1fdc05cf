# SPDX-License-Identifier: Apache-2.0
"""A COLMAP scene, `colmap`.

Layout       images/ and sparse/0/ (else sparse/, else the folder itself) with cameras and images as .bin or .txt; the
             dense workspace (images/, sparse/, stereo/depth_maps/) too.
Depth        stereo/depth_maps/NAME.geometric.bin (else .photometric.bin) of a dense workspace, else none: text
             `width&height&1&`, then float32 row by row; z, in scene units.
Invalid      0 and below.
Poses        world to camera, quaternion w x y z: inverted. OpenCV axes. Scene units: COLMAP knows no metres.
Camera       from cameras: pixel centres at halves, so 0.5 is taken off the principal point. Lens distortion is not
             undone (the notes say so); fisheye cameras have no 3x3 matrix here.
Time         none: nominal, 30 frames a second. Association: by the names; the order is that of the names.
Source       ecosystem.md (text lines, direction, quaternion order, pixel centre); COLMAP's format documentation.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from longtake.datasets.colmap_model import model_folder, read_model
from longtake.datasets.depth import resized
from longtake.datasets.numbers import invert, poses_from_quats
from longtake.datasets.reading import FrameFiles, LazySequence, Listing, find_folders, open_each
from longtake.errors import InputError
from longtake.sources.image_files import natural_key

DATASET = "colmap"
LAYOUT = "images/ and sparse/0/{cameras, images}.{bin or txt}"
RATE = 30.0  # frames a second, nominal


def looks_like(folder: Path) -> bool:
    """Say whether a sparse model lies here."""
    return model_folder(folder) is not None


def open_folder(folder: Path) -> list[LazySequence]:
    """Open a scene or a folder of scenes. Raises InputError where nothing can be used."""
    return open_each(DATASET, folder, find_folders(folder, looks_like), _open, LAYOUT)


def read_dense(path: Path) -> np.ndarray:
    """Read a depth map of COLMAP's dense workspace: (h, w) float32, 0 = unknown."""
    try:
        data = path.read_bytes()
        width, height, channels = (int(word) for word in data[:64].split(b"&")[:3])
        start = len(f"{width}&{height}&{channels}&")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is no depth map of COLMAP's ({error}). Copy it again.") from error
    if channels != 1 or len(data) != start + 4 * width * height:
        raise InputError(f"{path}: {len(data)} bytes for {width}x{height}x{channels}; it is cut off. Copy it again.")
    depth = np.frombuffer(data[start:], "<f4").reshape(height, width)
    return np.where(np.isfinite(depth) & (depth > 0), depth, np.float32(0)).astype(np.float32)


def _open(folder: Path) -> LazySequence:
    place = model_folder(folder)
    assert place is not None
    cameras, registered = read_model(place)
    registered.sort(key=lambda picture: natural_key(Path(picture.name)))
    quats = np.array([picture.quat_wxyz for picture in registered], np.float64).reshape(-1, 4)
    poses = invert(poses_from_quats(quats, np.array([picture.translation for picture in registered])))
    images, maps = folder / "images", folder / "stereo" / "depth_maps"
    listing = Listing()
    for i, (picture, pose) in enumerate(zip(registered, poses, strict=True)):
        camera = cameras.get(picture.camera)
        if camera is None:
            listing.drop(picture.name, f"its camera {picture.camera} is not among those of {place.name}/cameras")
        elif not (images / picture.name).is_file():
            listing.drop(picture.name, "is registered, but the file is missing in images/")
        else:
            kinds = (maps / f"{picture.name}.{kind}.bin" for kind in ("geometric", "photometric"))
            depth = next((path for path in kinds if path.is_file()), None)
            listing.add(FrameFiles(i, i / RATE, picture.name, images / picture.name, depth, pose, camera.intrinsics,
                                   camera.size))  # fmt: skip
    distorted = sorted({camera.model for camera in cameras.values() if any(camera.distortion)})
    notes = (
        "depth: stereo/depth_maps, z, 0 = unknown" if maps.is_dir() else "depth: none",
        "poses: world to camera in the file, inverted; quaternion w x y z; scene units, not metres",
        "camera: from cameras, minus half a pixel"
        + (f"; the distortion of {', '.join(distorted)} is not undone" if distorted else ""),
        "times: nominal, 30 frames a second in the order of the names",
    )
    return LazySequence(
        DATASET, folder.resolve().name, listing, notes=notes, read_depth=read_dense, place_depth=resized
    )
