# SPDX-License-Identifier: Apache-2.0
"""A take from pictures on disk: one file, a folder, a glob or a list of paths, in natural order."""

from __future__ import annotations

import re
from collections.abc import Generator, Sequence
from pathlib import Path

from PIL import Image

from longtake.errors import InputError
from longtake.frame import Frame
from longtake.sources.base import Source
from longtake.sources.picture import read_picture
from longtake.sources.selection import Picker, Selection

DEFAULT_FPS = 30.0
IMAGE_SUFFIXES = frozenset(
    (".avif", ".bmp", ".dib", ".jfif", ".jp2", ".jpe", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".pnm", ".ppm")
    + (".tga", ".tif", ".tiff", ".webp")
)


class ImageSource(Source):
    """Pictures in the given order, index / fps seconds apart. An unreadable one is skipped with a note.

    Raises InputError at the end if none of them could be read; for a single picture, the error of that picture.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        *,
        name: str,
        fps: float | None = None,
        selection: Selection | None = None,
        prefetch: bool = True,
    ) -> None:
        rate = fps or DEFAULT_FPS
        selection = selection or Selection()
        super().__init__(
            name=name,
            kind="images",
            fps=rate,
            size=header_size(paths[0]),
            length=selection.count(len(paths), rate),
            selection=selection,
            prefetch=prefetch and len(paths) > 1,
        )
        self.paths = list(paths)

    def _frames(self, picker: Picker) -> Generator[Frame, None, None]:
        failure: InputError | None = None
        for index, path in enumerate(self.paths):
            time = index / self.fps
            if picker.done(time):
                return
            if not picker.wants(index, time):
                continue
            try:
                image = read_picture(path)
            except InputError as error:
                failure = failure or error
                self._count("unreadable", str(error), "{count} unreadable picture(s) skipped: {names}")
                continue
            picker.took()
            yield Frame(image, time, index, path.name)
            if picker.full:
                return
        if failure and picker.taken == 0:
            if len(self.paths) == 1:
                raise failure
            raise InputError(f"{self.name}: none of its pictures can be read. The first: {failure}") from failure


def list_images(folder: Path) -> list[Path]:
    """List the pictures of one folder (by suffix, hidden files left out) in natural order.

    Raises InputError if there is none; the text points to videos or subfolders that may have been meant.
    """
    try:
        entries = sorted((p for p in folder.iterdir() if not p.name.startswith(".")), key=natural_key)
        found = [p for p in entries if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
    except PermissionError as error:
        raise InputError(f"{folder}: it may not be read (permission denied). Change its permissions.") from error
    if found:
        return found
    hint = "Pass a folder with PNG, JPEG or other image files, or a video file."
    if not entries:
        hint = f"It is empty. {hint}"
    for entry in entries:
        if entry.is_dir() and _holds_images(entry):
            hint = f"Did you mean its subfolder {entry}?"
            break
        if entry.suffix.lower() in (".mp4", ".mov", ".mkv", ".avi", ".webm", ".m4v", ".ts"):
            hint = f"It holds a video: pass {entry} itself."
            break
    raise InputError(f"{folder}: no images in this folder. {hint}")


def natural_key(path: Path) -> tuple[list[tuple[int, int, str]], str]:
    """Sort key in which frame10 comes after frame9: runs of digits compare as numbers."""
    parts = re.split(r"([0-9]+)", str(path).lower())
    return [(1, int(part), "") if part.isdecimal() else (0, 0, part) for part in parts], str(path)


def header_size(path: Path) -> tuple[int, int]:
    """Read the upright (width, height) from a picture's header; (0, 0) if it has none that can be read."""
    try:
        with Image.open(path) as image:
            width, height = image.size
            orientation = image.getexif().get(0x0112, 1)
    except Exception:  # the file is judged when it is read
        return 0, 0
    return (height, width) if orientation in (5, 6, 7, 8) else (width, height)


def _holds_images(folder: Path) -> bool:
    try:
        return any(p.suffix.lower() in IMAGE_SUFFIXES for p in folder.iterdir())
    except OSError:
        return False
