# SPDX-License-Identifier: Apache-2.0
"""Read a take with ground truth from a plain RGB-D folder.

    rgb/*.jpg or *.png      colour, in the order of their names
    depth/*.png             uint16 millimetres, z-depth registered to colour, 0 = unknown; some frames may have none
    poses.txt               one row-major 4x4 world_from_cam a line, metres, OpenCV axes, one line a colour frame
    intrinsics.txt          3x3 camera matrix in colour pixels, centres at integers

A depth map may hold every r-th colour pixel only, from pixel (0, 0) on: depth pixel (u, v) lies at colour pixel
(r u, r v).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from longtake.errors import InputError
from longtake.frame import Frame

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png")
MILLIMETRE = 0.001
NOMINAL_RATE = 30.0  # frames/s; these folders carry no time stamps
ROTATION_TOLERANCE = 2e-3  # poses are often written with 6 digits or fewer
LAYOUT = "a take folder holds rgb/, depth/ (may be empty), poses.txt and intrinsics.txt"


class TakeFolder:
    """A take of RGB frames with true poses, intrinsics and depth; files are opened only when a frame is asked for.

    `start`, `stride` and `max_frames` choose the frames start, start + stride, ... (at most max_frames of them),
    counted over the sorted names of rgb/. Raises InputError where the folder does not hold what the layout promises.
    """

    def __init__(self, path: str | Path, start: int = 0, stride: int = 1, max_frames: int | None = None) -> None:
        self.path = Path(path)
        if start < 0 or stride < 1 or (max_frames is not None and max_frames < 1):
            raise InputError(
                f"{self.path}: start {start}, stride {stride}, max_frames {max_frames} select no frames; "
                "start must be 0 or more, stride and max_frames 1 or more."
            )
        colour = _images(self.path)
        poses = read_poses(self.path / "poses.txt")
        if len(poses) != len(colour):
            raise InputError(
                f"{self.path}: {len(colour)} images in rgb/ but {len(poses)} lines in poses.txt; "
                "each image needs exactly one pose line."
            )
        depth = _depths(self.path, {image.stem for image in colour})
        chosen = range(start, len(colour), stride)[:max_frames]
        if not chosen:
            raise InputError(f"{self.path}: has {len(colour)} frames, none from frame {start} on; lower the start.")
        self.name = self.path.resolve().name
        self.indices = tuple(chosen)  # positions among all frames of the folder
        self.images = tuple(colour[i] for i in chosen)
        self.depths = tuple(depth.get(colour[i].stem) for i in chosen)
        self.world_from_cam = poses[list(chosen)]  # (T, 4, 4) float64
        self.intrinsics = read_intrinsics(self.path / "intrinsics.txt")  # (3, 3) float64, colour pixels

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[Frame]:
        return (self.frame(t) for t in range(len(self)))

    def frame(self, t: int) -> Frame:
        """Read colour frame t of the chosen ones: (H, W, 3) uint8 RGB; its time is nominal (30 frames/s)."""
        index, path = self.indices[t], self.images[t]
        with _opened(path) as image:
            pixels = np.asarray(image.convert("RGB"))
        return Frame(image=pixels, time=index / NOMINAL_RATE, index=index, name=path.name)

    def depth(self, t: int) -> np.ndarray | None:
        """Read the true depth of frame t: (h, w) float64 metres along z, 0 = unknown; None where the frame has none."""
        path = self.depths[t]
        if path is None:
            return None
        with _opened(path) as image:
            raw = np.asarray(image)
        if raw.ndim != 2 or not np.issubdtype(raw.dtype, np.integer) or raw.dtype == np.uint8:
            raise InputError(f"{path}: is {raw.dtype} {raw.shape}; depth must be one channel of 16-bit millimetres.")
        return raw.astype(np.float64) * MILLIMETRE

    def depth_ratio(self, t: int) -> int:
        """Return r, where depth pixel (u, v) of frame t lies at colour pixel (r u, r v)."""
        path = self.depths[t]
        if path is None:
            raise InputError(f"{self.images[t]}: this frame has no depth file, so no ratio of sizes.")
        with _opened(self.images[t]) as image, _opened(path) as depth:
            return size_ratio(image.size, depth.size, path)


def size_ratio(colour: tuple[int, int], depth: tuple[int, int], path: Path | str = "depth") -> int:
    """Return the integer r with depth size = ceil(colour size / r), both (width, height); InputError if none fits."""
    ratio = max(1, round(colour[0] / depth[0]))
    if tuple(-(-side // ratio) for side in colour) != tuple(depth):
        raise InputError(
            f"{path}: is {depth[0]}x{depth[1]} for a colour image of {colour[0]}x{colour[1]}; "
            "depth must hold every r-th colour pixel for one whole number r."
        )
    return ratio


def read_poses(path: Path) -> np.ndarray:
    """Read poses.txt: (T, 4, 4) float64 world_from_cam. Raises InputError unless every line is a rigid motion."""
    rows = _numbers(path)
    wrong = next((line for line, row in enumerate(rows, 1) if len(row) != 16), None)
    if wrong is not None or not rows:
        what = f"line {wrong} has {len(rows[wrong - 1])} numbers" if wrong else "is empty"
        raise InputError(f"{path}: {what}; each line must be a row-major 4x4 world_from_cam, 16 numbers.")
    poses = np.array(rows, dtype=np.float64).reshape(-1, 4, 4)
    rigid = np.array([np.isfinite(pose).all() for pose in poses])
    r = np.where(rigid[:, None, None], poses[:, :3, :3], 0)
    rigid &= np.abs(r @ r.transpose(0, 2, 1) - np.eye(3)).max((1, 2)) < ROTATION_TOLERANCE
    rigid &= (np.linalg.det(r) > 0) & (np.abs(poses[:, 3] - [0, 0, 0, 1]).max(1) < 1e-9)
    if not rigid.all():
        raise InputError(
            f"{path}: line {int(np.argmin(rigid)) + 1} is not a rigid motion (rotation with determinant 1, "
            "last row 0 0 0 1); write camera-to-world matrices without scale."
        )
    return poses


def read_intrinsics(path: Path) -> np.ndarray:
    """Read intrinsics.txt: (3, 3) float64 in colour pixels, integer centres."""
    rows = _numbers(path)
    if [len(row) for row in rows] != [3, 3, 3] or not np.isfinite(rows).all() or rows[0][0] <= 0 or rows[1][1] <= 0:
        raise InputError(f"{path}: must be a 3x3 camera matrix with positive focal lengths, three numbers a line.")
    return np.array(rows, dtype=np.float64)


def is_take(path: Path) -> bool:
    """Say whether a folder looks like a take: it has rgb/ and poses.txt."""
    return (path / "rgb").is_dir() and (path / "poses.txt").is_file()


def _images(path: Path) -> list[Path]:
    if not (path / "rgb").is_dir():
        raise InputError(f"{path / 'rgb'}: no such folder; {LAYOUT}.")
    images = sorted(file for file in (path / "rgb").iterdir() if file.suffix.lower() in IMAGE_SUFFIXES)
    if not images:
        raise InputError(f"{path / 'rgb'}: holds no .jpg or .png; {LAYOUT}.")
    return images


def _depths(path: Path, stems: set[str]) -> dict[str, Path]:
    folder = path / "depth"
    files = {file.stem: file for file in folder.glob("*.png")} if folder.is_dir() else {}
    stray = sorted(files.keys() - stems)
    if stray:
        raise InputError(f"{folder}: {len(stray)} depth maps have no image of the same name in rgb/, the first is "
                         f"{files[stray[0]].name}; depth and colour must share their names.")  # fmt: skip
    return files


def _numbers(path: Path) -> list[list[float]]:
    try:
        text = path.read_text(encoding="utf-8")
        return [[float(word) for word in line.split()] for line in text.splitlines() if line.strip()]
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; {LAYOUT}.") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}; it must be plain text with numbers only.") from error


def _opened(path: Path) -> Image.Image:
    try:
        image = Image.open(path)
        image.load()
    except (OSError, UnidentifiedImageError, SyntaxError) as error:
        raise InputError(f"{path}: cannot be read as an image ({error}); write it again or remove it.") from error
    return image
