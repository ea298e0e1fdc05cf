# SPDX-License-Identifier: Apache-2.0
"""A source of which more is known than it tells itself: its lens, the times of its frames."""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from typing import Any, Literal

from longtake.errors import InputError
from longtake.frame import Frame
from longtake.geometry.lens import Lens, Undistortion, undistortions
from longtake.geometry.solve import require_opencv
from longtake.sources.base import Source
from longtake.sources.exif import exif_lens
from longtake.sources.image_files import ImageSource
from longtake.sources.lens_file import read_lens
from longtake.sources.open import open_source
from longtake.sources.selection import Picker, Selection
from longtake.sources.timestamps import Times, read_times

KnownLens = Lens | Literal["exif"]


class KnownSource(Source):
    """Frames of another source with what is known of them: `Frame.intrinsics`, undistorted pictures, their times.

    lens: one camera of all frames, or "exif": each photo's own. times: frames without one are left out, with a note;
    `selection` goes by these times, counted from the first. Raises InputError where a frame cannot be of the lens,
    MissingExtra where OpenCV is missing that undistorts.
    """

    def __init__(
        self,
        source: Source,
        *,
        lens: KnownLens | None = None,
        times: Times | None = None,
        selection: Selection | None = None,
    ) -> None:
        if lens == "exif" and not isinstance(source, ImageSource):
            raise InputError(f"{source.name}: lens='exif' is for photos; this is {source.kind}. Give its intrinsics.")
        if isinstance(lens, Lens) and lens.distortion:
            require_opencv("undistortion")
        selection = selection or Selection()
        super().__init__(
            name=source.name,
            kind=source.kind,
            fps=source.fps,
            size=source.size,
            length=selection.count(source.length, source.fps),
            selection=selection,
            prefetch=source.prefetch,
        )
        self.source, self.lens, self.times = source, lens, times

    @property
    def notes(self) -> list[str]:
        """What went wrong without ending the take, also in the source that the frames come from."""
        return [*super().notes, *self.source.notes]

    def pinhole(self) -> Lens | None:
        """The one camera of all its frames, in pixels of their size; None where none is known before they come."""
        if not isinstance(self.lens, Lens):
            return None
        size = self.size if all(self.size) else self.lens.size
        if size is None:
            return None if self.lens.distortion else self.lens
        return Lens(Undistortion(self.lens, size).intrinsics, (), size) if self.lens.fits(size) else None

    def _frames(self, picker: Picker) -> Generator[Frame, None, None]:
        undistort = undistortions(self.lens) if isinstance(self.lens, Lens) else None
        start: float | None = None
        with closing(frame for frame in self.source) as frames:
            for frame in frames:
                time = frame.time if self.times is None else self.times.find(frame)
                if time is None:
                    self._count("times", frame.name, "{count} frame(s) without a time in the list left out: {names}")
                    continue
                start = (time if self.times is not None else 0.0) if start is None else start
                if picker.done(time - start):
                    return
                if not picker.wants(frame.index, time - start):
                    continue
                picker.took()
                yield self._informed(replace(frame, time=time), undistort)
                if picker.full:
                    return

    def _informed(self, frame: Frame, undistort: Callable[[tuple[int, int]], Undistortion] | None) -> Frame:
        if self.lens is None:
            return frame
        if undistort is None:
            assert isinstance(self.source, ImageSource)
            lens = exif_lens(self.source.paths[frame.index])
            if lens is None:
                self._count("exif", frame.name, "{count} photo(s) whose EXIF tells no focal length: {names}")
                return frame
            return replace(frame, intrinsics=lens.intrinsics)
        height, width = frame.image.shape[:2]
        pinhole = undistort((width, height))
        return replace(frame, image=pinhole(frame.image), intrinsics=pinhole.intrinsics)


def open_known(
    source: str | os.PathLike[str] | Iterable[Any],
    *,
    lens: Lens | str | os.PathLike[str] | None = None,
    timestamps: str | os.PathLike[str] | Mapping[int, float] | Sequence[float] | None = None,
    **options: Any,
) -> Source:
    """Open a source as `open_source` does, with what is known of its camera and its times.

    lens: the camera, a file that `read_lens` reads, or "exif". timestamps: a file that `read_times` reads, or seconds
    by the frame's index in the source; `start`, `end` and `fps` then go by them. options: those of `open_source`.
    Raises InputError, MissingExtra (undistortion: extra `solve`).
    """
    known = resolve_lens(lens)
    if known is None and timestamps is None:
        return open_source(source, **options)
    if timestamps is None:
        return KnownSource(open_source(source, **options), lens=known)
    times = read_times(timestamps) if isinstance(timestamps, str | os.PathLike) else Times.of(timestamps)
    prefetch = {"prefetch": options.pop("prefetch")} if "prefetch" in options else {}
    return KnownSource(open_source(source, **prefetch), lens=known, times=times, selection=Selection(**options))


def resolve_lens(lens: Lens | str | os.PathLike[str] | None) -> KnownLens | None:
    """Return a lens as it is, "exif" as it is, and the lens that a file holds. Raises InputError."""
    if lens is None or isinstance(lens, Lens):
        return lens
    return "exif" if lens == "exif" else read_lens(lens)
