# SPDX-License-Identifier: Apache-2.0
"""Say what a source is without reading it through."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from longtake.sources.image_files import ImageSource
from longtake.sources.open import open_source
from longtake.sources.video_file import VideoSource


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Facts of a source; None or (0, 0) where it does not tell."""

    kind: str  # "video", "images" or "arrays"
    name: str
    size: tuple[int, int]  # (width, height) of the first upright frame
    fps: float  # nominal
    duration: float | None  # seconds
    frames: int | None
    rotation: int = 0  # degrees clockwise that are applied to make the stored frames upright
    codec: str = ""  # of a video; the suffix of the first picture of a folder


def probe(source: str | os.PathLike[str] | Iterable[Any]) -> SourceInfo:
    """Describe a source. Reads headers and, of a video, its first frame; takes nothing from a generator.

    Raises InputError, as `open_source` does, if the source cannot be used.
    """
    opened = open_source(source)
    if isinstance(opened, VideoSource):
        info = opened.info
        return SourceInfo(
            opened.kind, opened.name, info.size, info.fps, info.duration, info.frames, info.rotation, info.codec
        )
    duration = None if opened.length is None else opened.length / opened.fps
    codec = opened.paths[0].suffix.lower().lstrip(".") if isinstance(opened, ImageSource) else ""
    return SourceInfo(opened.kind, opened.name, opened.size, opened.fps, duration, opened.length, codec=codec)
