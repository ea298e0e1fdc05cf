# SPDX-License-Identifier: Apache-2.0
"""From what the user typed to a source: the string decides, and what cannot be used is named with a remedy."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from longtake.errors import InputError
from longtake.sources.arrays import ArraySource
from longtake.sources.base import Source
from longtake.sources.image_files import IMAGE_SUFFIXES, ImageSource, header_size, list_images, natural_key
from longtake.sources.selection import Selection
from longtake.sources.video_file import VideoSource


def open_source(
    source: str | os.PathLike[str] | Iterable[Any],
    *,
    stride: int = 1,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    max_frames: int | None = None,
    prefetch: bool = True,
) -> Source:
    """Open a video file, an image, a folder, glob or list of images, an array or an iterable of arrays or Frames.

    stride: show every stride-th frame. fps: of a video, drop frames so that at most this many a second remain; of
    pictures and arrays, which have no times of their own, the rate at which they were taken (default 30).
    start, end: seconds since the first frame, start <= time < end. max_frames: stop after so many shown frames.
    prefetch: read files ahead in a background thread (at most four frames).
    Raises InputError if nothing usable is there; while iterating, if no frame comes at all.
    """
    options = {"stride": stride, "start": start, "end": end, "max_frames": max_frames}
    if isinstance(source, (str, os.PathLike)):
        path = Path(os.path.expanduser(source))
        if not _exists(path):
            given = os.fspath(source)
            _refuse_address(given)
            if glob.has_magic(given):
                return _pictures(_expand(str(path)), given, fps, options, prefetch)
            raise InputError(_missing(path))
        if path.is_dir():
            return _pictures(list_images(path), path.resolve().name, fps, options, prefetch)
        if not path.is_file():
            raise InputError(f"{path}: this is a device, not a file. For a camera: `longtake live {path}`.")
        # A picture by its name, or by its content if the name says nothing (GIF counts as a video: it may move).
        if path.suffix.lower() in IMAGE_SUFFIXES or (not path.suffix and header_size(path) != (0, 0)):
            return _pictures([path], path.name, fps, options, prefetch)
        return VideoSource(path, selection=Selection(**options, fps=fps), prefetch=prefetch)
    if isinstance(source, (list, tuple)) and source and all(isinstance(item, (str, os.PathLike)) for item in source):
        return _pictures([Path(os.path.expanduser(item)) for item in source], "images", fps, options, prefetch)
    if isinstance(source, Source) and fps is None and Selection(**options) == Selection():
        return source
    if isinstance(source, (bytes, bytearray)) or not isinstance(source, Iterable):
        raise InputError(
            f"A {type(source).__name__} is no source of frames; pass the path of a video or folder, or an iterable of "
            "(height, width, 3) arrays."
        )
    _check_rate(fps)
    return ArraySource(source, fps=fps, selection=Selection(**options))


def video(
    path: str | os.PathLike[str],
    *,
    stride: int = 1,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    max_frames: int | None = None,
    prefetch: bool = True,
) -> VideoSource:
    """Open a video file; the options are those of `open_source`. Raises InputError if it is not one video file."""
    opened = open_source(path, stride=stride, fps=fps, start=start, end=end, max_frames=max_frames, prefetch=prefetch)
    if not isinstance(opened, VideoSource):
        raise InputError(f"{path}: these are pictures, not a video. Use longtake.images for them.")
    return opened


def images(
    path: str | os.PathLike[str] | list[str] | list[Path],
    *,
    stride: int = 1,
    fps: float | None = None,
    start: float | None = None,
    end: float | None = None,
    max_frames: int | None = None,
    prefetch: bool = True,
) -> ImageSource:
    """Open a folder, glob, list or single file of pictures, `fps` (default 30) of them a second, in natural order.

    The options are those of `open_source`. Raises InputError if there are no pictures.
    """
    opened = open_source(path, stride=stride, fps=fps, start=start, end=end, max_frames=max_frames, prefetch=prefetch)
    if not isinstance(opened, ImageSource):
        raise InputError(f"{path}: this is not a picture or a folder of pictures. For a video use longtake.video.")
    return opened


def _pictures(paths: list[Path], name: str, fps: float | None, options: dict[str, Any], prefetch: bool) -> ImageSource:
    _check_rate(fps)
    return ImageSource(paths, name=name, fps=fps, selection=Selection(**options), prefetch=prefetch)


def _check_rate(fps: float | None) -> None:
    Selection(fps=fps)  # raises InputError if it is not a rate


def _refuse_address(source: str) -> None:
    """Raise InputError for addresses and cameras: what drops frames and never ends is asked for by name."""
    if re.match(r"[A-Za-z][A-Za-z0-9+.-]+://", source):
        raise InputError(
            f"{source}: this is an address, not a file. For a stream: `longtake live {source}`, or "
            "longtake.sources.LiveSource in Python."
        )
    if source == "-" or source.isdecimal() or source.startswith("/dev/"):
        raise InputError(
            f"{source}: this is a camera or a pipe, not a file: `longtake live {source}`, or "
            "longtake.sources.LiveSource in Python."
        )


def _exists(path: Path) -> bool:
    """Tell whether there is something at a path. Raises InputError where permissions hide it."""
    try:
        path.stat()
    except PermissionError as error:
        raise InputError(
            f"{path}: it may not be read (permission denied). Change the permissions of its folder."
        ) from error
    except (OSError, ValueError):  # not there, a loop of links, too long or impossible a name
        return False
    return True


def _expand(pattern: str) -> list[Path]:
    """List the files of a glob in natural order; raises InputError if there is none, or only other files."""
    found = [p for p in map(Path, glob.glob(pattern, recursive=True)) if p.is_file()]
    pictures = [p for p in found if p.suffix.lower() in IMAGE_SUFFIXES]
    if pictures:
        return sorted(pictures, key=natural_key)
    if found:
        raise InputError(f"{pattern}: none of the {len(found)} files found is a picture. Pass one video by its name.")
    raise InputError(f"{pattern}: no file matches this pattern. Check the folder and quote the pattern in the shell.")


def _missing(path: Path) -> str:
    """Say that a path does not exist, and what similar names do."""
    folder = path.parent
    while not folder.is_dir() and folder != folder.parent:
        folder = folder.parent
    try:
        names = sorted(p.name for p in folder.iterdir())
    except OSError:
        names = []
    wanted = path.relative_to(folder).parts[0] if path != folder else path.name
    near = get_close_matches(wanted, names, n=3, cutoff=0.6)
    if near:
        return f"{path}: there is no such file or folder. Did you mean {' or '.join(str(folder / n) for n in near)}?"
    return f"{path}: there is no such file or folder (looked in {folder.resolve()}). Check the name."
