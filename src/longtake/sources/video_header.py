# SPDX-License-Identifier: Apache-2.0
"""What a video file says about itself, and named errors for files that are no videos."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.stream import Disposition
from av.video.stream import VideoStream

from longtake.errors import InputError
from longtake.sources.picture import looks_like_text
from longtake.sources.video_picture import Matrix, display_matrix, turns

_DEFAULT_FPS = 30.0


@dataclass(frozen=True, slots=True)
class VideoInfo:
    """Facts of one video stream."""

    size: tuple[int, int]  # (width, height) as shown: after rotation and with square pixels
    fps: float  # nominal frames a second
    frames: int | None  # as the header promises, else estimated from the duration
    duration: float | None  # seconds
    rotation: int  # degrees clockwise that make the stored picture upright: 0, 90, 180 or 270
    mirrored: bool
    matrix: Matrix  # the same as signs, see `display_matrix`; that of the first intact frame
    codec: str
    pixel_aspect: float  # width of a stored pixel over its height
    time_base: Fraction  # seconds per unit of pts
    origin: int  # pts of the first intact frame


def open_container(path: Path) -> InputContainer:
    """Open a media file and nothing else: no network address, no play list that points elsewhere.

    Raises InputError for a file that is missing, empty, text, or in no format that FFmpeg knows.
    """
    if not path.is_file():
        raise InputError(f"{path}: there is no such file.")
    try:
        if path.stat().st_size == 0:
            raise InputError(f"{path}: the file is empty (0 bytes). Copy it again.")
        if looks_like_text(path):  # FFmpeg would draw text as a terminal, or follow it as a play list
            raise InputError(f"{path}: this is text, not a video, in spite of its name. Pass a video file or a folder.")
        return av.open(f"file:{path}", options={"protocol_whitelist": "file"}, metadata_errors="ignore")
    except PermissionError as error:
        raise InputError(f"{path}: it may not be read (permission denied). Change its permissions.") from error
    except FFmpegError as error:
        raise InputError(
            f"{path}: this is not a video that can be opened ({error.strerror}). If it is an MP4 that was not finished "
            "or not copied in full, its index is missing: copy or record it again, or pass another file."
        ) from error


def choose_stream(container: InputContainer, path: Path) -> VideoStream:
    """Choose the largest moving picture; cover art is none. Raises InputError if there is no video stream."""
    streams = [s for s in container.streams.video if not s.disposition & Disposition.attached_pic]
    if not streams:
        raise InputError(f"{path}: no video stream in this {container.format.long_name} file. Pass a video file.")
    return max(streams, key=lambda s: s.width * s.height)  # the first of equals


def read_header(path: Path) -> VideoInfo:
    """Read the facts of a video file; decodes up to its first intact frame.

    Raises InputError if the file cannot be opened or holds no intact frame.
    """
    with open_container(path) as container:
        stream = choose_stream(container, path)
        first = _first_picture(container, stream)
        if first is None:
            raise InputError(
                f"{path}: it looks like a {container.format.name} video, but not one frame of it can be decoded. "
                "It is probably cut off or damaged: copy it again."
            )
        rate = stream.average_rate or stream.guessed_rate
        fps = float(rate) if rate else _DEFAULT_FPS
        time_base = first.time_base or stream.time_base or Fraction(1, 90000)
        aspect = float(stream.sample_aspect_ratio or 1)
        aspect = aspect if 0.25 <= aspect <= 4 else 1.0  # anything else is a writer's mistake
        matrix = display_matrix(first)
        rotation, mirrored = turns(matrix)
        size = (round(first.width * aspect), first.height)
        end = promised_end(container, stream, path) or (container.duration / 1e6 if container.duration else None)
        return VideoInfo(
            size=size if rotation % 180 == 0 else (size[1], size[0]),
            fps=fps,
            frames=stream.frames or (None if end is None else round(end * fps)),
            duration=end,
            rotation=rotation,
            mirrored=mirrored,
            matrix=matrix,
            codec=stream.codec_context.name,
            pixel_aspect=aspect,
            time_base=time_base,
            origin=first.pts or 0,
        )


def promised_end(container: InputContainer, stream: VideoStream, path: Path) -> float | None:
    """Tell for how many seconds the header says that the stream lasts; None if it says nothing to rely on.

    MP4 headers count what an edit list hides, so there the index decides: it is believed only if it points behind the
    end of the file.
    """
    duration = float(stream.duration * stream.time_base) if stream.duration and stream.time_base else None
    if "mp4" in container.format.name:
        entries = stream.index_entries
        last = entries[len(entries) - 1] if len(entries) else None
        if last is not None and last.pos + last.size <= path.stat().st_size:
            return None
        return duration
    if container.format.name == "avi" and stream.frames and stream.average_rate:
        return float(stream.frames / stream.average_rate)
    written = stream.metadata.get("DURATION", "")  # Matroska: 00:00:02.667000000
    try:
        hours, minutes, seconds = written.split(":")
        return int(hours) * 3600 + int(minutes) * 60 + float(seconds)
    except ValueError:
        pass
    if duration is None and container.duration and len(container.streams) == 1:
        return container.duration / 1e6
    return duration


def _first_picture(container: InputContainer, stream: VideoStream) -> av.VideoFrame | None:
    packets = container.demux(stream)
    while True:
        try:
            packet = next(packets)
        except (StopIteration, FFmpegError):
            return None
        try:
            for picture in packet.decode():
                if not picture.is_corrupt:
                    return picture
        except FFmpegError:
            continue
