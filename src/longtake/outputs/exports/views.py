# SPDX-License-Identifier: Apache-2.0
"""The frames as other tools take them: a picture, its size, a camera matrix, a pose."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from longtake.errors import InputError
from longtake.frame import Frame
from longtake.geometry.lens import undistortions
from longtake.outputs.take import Take, TakeFrame

QUALITY = 95  # of the JPEGs cut from an original: the next tool learns from them


@dataclass(frozen=True, slots=True)
class View:
    """One exported picture."""

    frame: TakeFrame
    name: str  # of the file in the folder of pictures
    size: tuple[int, int]  # (width, height)
    intrinsics: np.ndarray  # (3, 3) in pixels of size, centres at integers
    world_from_cam: np.ndarray  # (4, 4)


def write_views(take: Take, folder: Path, originals: Iterable[Frame] | None) -> Iterator[View]:
    """Write a JPEG for each frame with a pose and yield its view.

    originals: the frames of the source, at least those of the take in its order; without them, the pictures that the
    model saw, with intrinsics of their size. Where the take knew its lens, they are undistorted as they were for it.
    Raises InputError where the originals are not those of the take, MissingExtra without OpenCV for undistortion.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if originals is None:
        for frame in take.posed:
            assert frame.intrinsics is not None and frame.world_from_cam is not None
            name = f"frame_{frame.number:06d}.jpg"
            if "image" not in frame.files:
                raise InputError(f"{take.folder}: keeps no pictures; pass the video that it was made from (--source).")
            shutil.copyfile(frame.files["image"], folder / name)
            yield View(frame, name, frame.size, frame.intrinsics, frame.world_from_cam)
        return
    wanted = {frame.index: frame for frame in take.posed}
    undistort = None if take.lens is None else undistortions(take.lens)
    for original in originals:
        frame = wanted.pop(original.index, None)
        if frame is None:
            continue
        height, width = original.image.shape[:2]
        if (width, height) != frame.original_size:
            raise InputError(
                f"the source's frames are {width}x{height}; those of {take.folder} were "
                f"{frame.original_size[0]}x{frame.original_size[1]}. Pass the source that the take was made from."
            )
        assert frame.intrinsics_original is not None and frame.world_from_cam is not None
        name = f"frame_{frame.number:06d}.jpg"
        picture = original.image if undistort is None else undistort(frame.original_size)(original.image)
        Image.fromarray(picture).save(folder / name, quality=QUALITY)
        yield View(frame, name, frame.original_size, frame.intrinsics_original, frame.world_from_cam)
        if not wanted:
            return
    if wanted:
        raise InputError(
            f"the source has no frame {min(wanted)}, which {take.folder} was made from ({len(wanted)} are missing). "
            "Pass the source that the take was made from."
        )


def project(view: View, places: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, 2) pixel positions (centres at integers) of world points, and (n,) whether they are in the picture."""
    rotation, centre = view.world_from_cam[:3, :3], view.world_from_cam[:3, 3]
    own = (places.astype(np.float64) - centre) @ rotation
    with np.errstate(divide="ignore", invalid="ignore"):
        flat = own[:, :2] / own[:, 2:]
        spots = flat @ view.intrinsics[:2, :2].T + view.intrinsics[:2, 2]
    low, high = np.array([-0.5, -0.5]), np.array(view.size) - 0.5
    with np.errstate(invalid="ignore"):
        inside = (own[:, 2] > 0) & (spots >= low).all(-1) & (spots < high).all(-1)
    return spots, inside
