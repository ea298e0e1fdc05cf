# SPDX-License-Identifier: Apache-2.0
"""COLMAP sparse models, as text and as binary: cameras, images, points3D (COLMAP's documentation, "Output Format").

COLMAP counts pixels from the corner of the first one, so half a pixel is added to ours. Poses are camera from world;
quaternions w x y z. Each frame has a camera of its own: its focal length was estimated from it alone.
A point has one observation, where the frame that it came from sees it; its reprojection error is -1, unknown.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from longtake.outputs.exports.points import Points
from longtake.outputs.exports.views import View, project
from longtake.outputs.trajectory import quat_xyzw_from_matrix

_PINHOLE = 1  # COLMAP's number of the camera model with fx, fy, cx, cy
_NO_POINT = -1.0  # reprojection error: not computed
_OBSERVATION = np.dtype([("x", "<f8"), ("y", "<f8"), ("point", "<i8")])
_POINT = [("id", "<u8"), ("xyz", "<f8", 3), ("rgb", "u1", 3), ("error", "<f8"), ("length", "<u8")]
_TRACKED = np.dtype([*_POINT, ("image", "<u4"), ("position", "<u4")])
_LOOSE = np.dtype(_POINT)


@dataclass(frozen=True, slots=True)
class _Image:
    """A view as COLMAP wants it; `number` counts from 1 and is the camera's too."""

    number: int
    view: View
    quat_wxyz: np.ndarray
    translation: np.ndarray
    observations: np.ndarray  # of _OBSERVATION

    @property
    def camera(self) -> list[float]:
        k = self.view.intrinsics
        return [k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5]


def _images(views: Iterable[View], points: Points, tracks: np.ndarray) -> Iterable[_Image]:
    """Yield the images, and write (image, position) of each point's observation to `tracks`, (n, 2), from 0 (none)."""
    starts = np.searchsorted(points.frame, np.arange(points.frame[-1] + 2 if len(points) else 1))
    for number, view in enumerate(views, 1):
        first, last = (
            starts[min(view.frame.number, len(starts) - 1)],
            starts[min(view.frame.number + 1, len(starts) - 1)],
        )
        spots, inside = project(view, points.places[first:last])
        seen = first + inside.nonzero()[0]
        tracks[seen, 0], tracks[seen, 1] = number, np.arange(len(seen))
        observations = np.empty(len(seen), _OBSERVATION)
        observations["x"], observations["y"] = (spots[inside] + 0.5).T
        observations["point"] = seen + 1
        turn = view.world_from_cam[:3, :3].T
        x, y, z, w = quat_xyzw_from_matrix(turn)
        yield _Image(number, view, np.array([w, x, y, z]), -turn @ view.world_from_cam[:3, 3], observations)


def write_text(folder: Path, views: Iterable[View], points: Points) -> None:
    """Write cameras.txt, images.txt and points3D.txt. Points must be in the order of the take. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    tracks = np.zeros((len(points), 2), np.int64)
    with open(folder / "cameras.txt", "w") as cameras, open(folder / "images.txt", "w") as images:
        cameras.write("# CAMERA_ID MODEL WIDTH HEIGHT PARAMS[]: fx fy cx cy\n")
        images.write("# IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME, then a line of POINTS2D[]: X Y POINT3D_ID\n")
        for image in _images(views, points, tracks):
            (width, height), number = image.view.size, image.number
            cameras.write(f"{number} PINHOLE {width} {height} {_words(image.camera)}\n")
            pose = _words([*image.quat_wxyz, *image.translation])
            images.write(f"{number} {pose} {number} {image.view.name}\n")
            images.write(" ".join(f"{x:.4f} {y:.4f} {point}" for x, y, point in image.observations.tolist()) + "\n")
    with open(folder / "points3D.txt", "w") as file:
        file.write("# POINT3D_ID X Y Z R G B ERROR TRACK[]: IMAGE_ID POINT2D_IDX\n")
        rows = zip(points.places.tolist(), points.colors.tolist(), tracks.tolist(), strict=True)
        for number, (place, (r, g, b), (image, position)) in enumerate(rows, 1):
            track = f" {image} {position}" if image else ""
            file.write(f"{number} {_words(place)} {r} {g} {b} {_NO_POINT:g}{track}\n")


def write_binary(folder: Path, views: Iterable[View], points: Points) -> None:
    """Write cameras.bin, images.bin and points3D.bin. Points must be in the order of the take. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    tracks, count = np.zeros((len(points), 2), np.int64), 0
    with open(folder / "cameras.bin", "wb") as cameras, open(folder / "images.bin", "wb") as images:
        for file in (cameras, images):
            file.write(struct.pack("<Q", 0))
        for image in _images(views, points, tracks):
            count = image.number
            cameras.write(struct.pack("<iiQQ4d", count, _PINHOLE, *image.view.size, *image.camera))
            images.write(struct.pack("<I7dI", count, *image.quat_wxyz, *image.translation, count))
            images.write(image.view.name.encode() + b"\0" + struct.pack("<Q", len(image.observations)))
            images.write(image.observations.tobytes())
        for file in (cameras, images):
            file.seek(0)
            file.write(struct.pack("<Q", count))
    with open(folder / "points3D.bin", "wb") as file:
        file.write(struct.pack("<Q", len(points)))
        for chosen, kind in ((tracks[:, 0] > 0, _TRACKED), (tracks[:, 0] == 0, _LOOSE)):
            rows = np.empty(int(chosen.sum()), kind)
            rows["id"], rows["xyz"], rows["rgb"] = chosen.nonzero()[0] + 1, points.places[chosen], points.colors[chosen]
            rows["error"], rows["length"] = _NO_POINT, int(kind is _TRACKED)
            if kind is _TRACKED:
                rows["image"], rows["position"] = tracks[chosen].T
            file.write(rows.tobytes())


def _words(values: Iterable[float]) -> str:
    return " ".join(f"{value:.12g}" for value in values)
