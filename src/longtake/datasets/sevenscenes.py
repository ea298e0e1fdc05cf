# SPDX-License-Identifier: Apache-2.0
"""7-Scenes, `7scenes`.

Layout       SCENE/seq-NN/frame-NNNNNN.{color.png, depth.png, depth.proj.png, pose.txt} and SCENE/TestSplit.txt
             (`sequence3` a line). A scene or a folder of scenes gives the sequences of TestSplit.txt (18 in all), or
             all where there is no such file; a seq-NN folder gives itself.
Depth        16-bit PNG, millimetres, z. frame-N.depth.proj.png (registered to colour) goes first; frame-N.depth.png is
             in the depth camera, a few pixels off: the notes say which was read.
Invalid      65535 and 0; beyond 10 m or below 1 mm.
Poses        camera to world, 4x4, metres, OpenCV axes.
Camera       525, 525, 320, 240; an intrinsics.txt (3x3) in the sequence or the scene goes first.
Time         none: nominal, 30 frames a second. Association: by the number in the name.
Source       field.md 5.4 (TestSplit, depth.proj.png, camera, 65535, limits); every second frame and the first N are
             the evaluation's.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from longtake.datasets.depth import read_png_depth
from longtake.datasets.numbers import read_camera, read_lines, read_matrix
from longtake.datasets.reading import FrameFiles, LazySequence, Listing, find_folders, open_each, pictures
from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix

DATASET = "7scenes"
LAYOUT = "SCENE/{TestSplit.txt, seq-NN/frame-NNNNNN.{color.png, depth.proj.png or depth.png, pose.txt}}"
SCALE, NO_RETURN = 1000.0, 65535
NEAREST, FARTHEST = 0.001, 10.0  # metres
CAMERA = camera_matrix(525.0, 525.0, 320.0, 240.0)
RATE = 30.0  # frames a second, nominal
NOTES = (
    "poses: camera to world, 4x4, OpenCV axes",
    "times: nominal, 30 frames a second",
)


def looks_like(folder: Path) -> bool:
    """Say whether this is one sequence: a folder of frame-NNNNNN.pose.txt files."""
    return next(folder.glob("frame-*.pose.txt"), None) is not None


def open_folder(folder: Path) -> list[LazySequence]:
    """Open a sequence, a scene or a folder of scenes. Raises InputError where nothing can be used."""
    found = find_folders(folder, looks_like)
    if found != [folder]:
        found = [path for path in found if path.name in _wanted(path.parent, path.name)]
    return open_each(DATASET, folder, found, _open, LAYOUT)


def _wanted(scene: Path, name: str) -> set[str]:
    """Return the names of the sequences that a scene's TestSplit.txt lists; without one, any name is wanted."""
    split = scene / "TestSplit.txt"
    if not split.is_file():
        return {name}
    numbers = ["".join(filter(str.isdigit, line)) for line in read_lines(split)]
    return {f"seq-{int(number):02d}" for number in numbers if number}


def _open(folder: Path) -> LazySequence:
    folder = folder.resolve()
    camera_file = next(
        (p / "intrinsics.txt" for p in (folder, folder.parent) if (p / "intrinsics.txt").is_file()), None
    )
    camera = read_camera(camera_file) if camera_file else CAMERA
    images = {path.name.split(".")[0]: path for path in pictures(folder, "frame-*.color.*")}
    registered = {path.name.split(".")[0]: path for path in pictures(folder, "frame-*.depth.proj.png")}
    depths = registered or {path.name.split(".")[0]: path for path in pictures(folder, "frame-*.depth.png")}
    poses = {path.name.split(".")[0]: path for path in folder.glob("frame-*.pose.txt")}
    listing = Listing()
    for i, key in enumerate(sorted(images.keys() | poses.keys())):
        name = f"{key}.color.png" if key not in images else images[key].name
        missing = [f"{key}.{end}" for end, of in (("color.png", images), ("pose.txt", poses)) if key not in of]
        if missing or (depths and key not in depths):
            listing.drop(name, f"{(missing or [f'{key}.depth'])[0]} is missing")
            continue
        try:
            pose = read_matrix(poses[key], 4, 4)
        except InputError as error:
            listing.drop(name, str(error))
            continue
        listing.add(FrameFiles(i, i / RATE, name, images[key], depths.get(key), pose, camera))
    kind = "depth.proj.png, registered to colour" if registered else "depth.png, in the depth camera: not registered"
    notes = (
        f"depth: {kind}; PNG / 1000 m, z, 0, 65535, below 1 mm and beyond 10 m = unknown" if depths else "depth: none",
        *NOTES,
        "camera: intrinsics.txt" if camera_file else "camera: 525 525 320 240",
    )
    read = partial(read_png_depth, scale=SCALE, invalid=NO_RETURN, nearest=NEAREST, farthest=FARTHEST)
    return LazySequence(DATASET, f"{folder.parent.name}/{folder.name}", listing, notes=notes, read_depth=read)
