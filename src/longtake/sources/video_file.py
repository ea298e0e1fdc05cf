# SPDX-License-Identifier: Apache-2.0
"""Frames of a video file with the times that are written in it, upright, in constant memory.

A damaged or cut-off file gives every frame that decodes, and notes say what is missing.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from pathlib import Path

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from longtake.frame import Frame
from longtake.sources.base import Source
from longtake.sources.selection import Picker, Selection
from longtake.sources.video_header import VideoInfo, choose_stream, open_container, promised_end, read_header
from longtake.sources.video_picture import upright_rgb

# Transport streams seek to any packet, not to key frames: aim earlier until decoding starts before the wanted time.
_SEEK_EARLIER = (0, 4, 16)  # seconds


class VideoSource(Source):
    """Frames of the best video stream of a file.

    Time is the presentation time in seconds since the first intact frame; index counts decoded frames (on files that
    are damaged before `start`, packets). Raises InputError at once if the file is missing, no video, or without a
    single intact frame.
    """

    def __init__(self, path: Path | str, *, selection: Selection | None = None, prefetch: bool = True) -> None:
        self.path = Path(path)
        self.info: VideoInfo = read_header(self.path)
        selection = selection or Selection()
        super().__init__(
            name=self.path.name,
            kind="video",
            fps=self.info.fps,
            size=self.info.size,
            length=selection.count(self.info.frames, self.info.fps),
            selection=selection,
            prefetch=prefetch,
        )

    def _frames(self, picker: Picker) -> Generator[Frame, None, None]:
        if self.selection.fps and self.selection.fps > self.fps + 1e-3:
            self._note("fps", f"the video has only {self.fps:g} frames a second: fps={self.selection.fps:g} drops none")
        container, stream, index, target = self._open_at(self.selection.start or 0.0)
        with container:
            clock = _Clock(self.info)
            for picture in self._decoded(container, stream):
                if target is not None and picture.pts is not None and picture.pts < target:
                    picker.passed(_seconds(picture.pts, self.info))  # already counted in index
                    continue
                time = clock.time(picture.pts)
                if clock.repaired:
                    self._note("clock", f"{clock.repaired} frame(s) without a usable time: placed at {self.fps:g} fps")
                if picker.done(time):
                    return
                if picker.wants(index, time):
                    picker.took()
                    yield Frame(
                        upright_rgb(picture, self.info.pixel_aspect, self.info.matrix),
                        time,
                        index,
                        f"{self.name}:{index}",
                    )
                    if picker.full:
                        return
                index += 1
                clock.end = time + (float(picture.duration * self.info.time_base) if picture.duration else 0.0)
            promised = promised_end(container, stream, self.path)
            if promised is not None and clock.end < promised - max(0.5, 3 / self.fps):
                self._note(
                    "cut off",
                    f"the file is cut off or damaged: its header promises {promised:.2f} s, "
                    f"{clock.end:.2f} s ({index} frames) could be read",
                )

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[av.VideoFrame]:
        """Decode everything that can be decoded; frames that the decoder marks as broken are left out."""
        packets = container.demux(stream)
        while True:
            try:
                packet = next(packets)
            except StopIteration:
                return
            except FFmpegError as error:
                self._note("read", f"reading stopped at a damaged place ({error.strerror})")
                return
            try:
                pictures = packet.decode()
            except FFmpegError:
                at = "the end" if packet.pts is None else f"{_seconds(packet.pts, self.info):.2f} s"
                self._count("packets", at, "{count} damaged packet(s) could not be decoded, at {names}")
                continue
            for picture in pictures:
                if picture.is_corrupt:
                    at = "?" if picture.pts is None else f"{_seconds(picture.pts, self.info):.2f} s"
                    self._count("corrupt", at, "{count} broken frame(s) left out, at {names}")
                else:
                    yield picture

    def _open(self) -> tuple[InputContainer, VideoStream]:
        container = open_container(self.path)
        stream = choose_stream(container, self.path)
        stream.thread_type = "AUTO"
        return container, stream

    def _open_at(self, start: float) -> tuple[InputContainer, VideoStream, int, int | None]:
        """Open the file at or before `start`; also the index of the first wanted frame, and its least pts.

        The index is exact because the packets before it are counted, which reads but does not decode them. Where the
        container has no times, or its seek overshoots, decoding begins at the start: index 0 and no pts.
        """
        container, stream = self._open()
        if start <= 0:
            return container, stream, 0, None
        target = self.info.origin + int(-(-(start - 1e-6) // float(self.info.time_base)))
        try:
            index = self._count_before(container, stream, target)
            if index:
                for earlier in _SEEK_EARLIER:
                    aim = max(target - int(earlier / self.info.time_base), self.info.origin)
                    container.seek(aim, stream=stream)
                    if self._lands_before(container, stream, target):
                        container.seek(aim, stream=stream)
                        return container, stream, index, target
        except FFmpegError:
            pass
        container.close()
        return *self._open(), 0, None

    def _count_before(self, container: InputContainer, stream: VideoStream, target: int) -> int | None:
        """Count frames before a presentation time; None if the file does not tell."""
        count = 0
        for packet in container.demux(stream):
            if packet.size == 0:  # the empty packet that flushes the decoder: the target lies behind the end
                return None
            if packet.pts is None:
                return None
            count += self.info.origin <= packet.pts < target and not packet.is_discard
            if packet.dts is not None and packet.dts >= target:  # later packets have dts, so pts, beyond the target
                return count
        return None

    @staticmethod
    def _lands_before(container: InputContainer, stream: VideoStream, target: int) -> bool:
        """Tell whether decoding from here begins at or before the target with an intact key frame."""
        for packet in container.demux(stream):
            for picture in packet.decode():
                return picture.pts is not None and picture.pts <= target and not picture.is_corrupt
        return False


def _seconds(pts: int, info: VideoInfo) -> float:
    return float((pts - info.origin) * info.time_base)


class _Clock:
    """Presentation times in seconds, strictly increasing; missing or backward ones continue at the nominal rate."""

    def __init__(self, info: VideoInfo) -> None:
        self.info = info
        self.repaired = 0
        self.end = 0.0  # when the last frame stops being shown
        self._last: float | None = None

    def time(self, pts: int | None) -> float:
        step = 1 / self.info.fps
        time = None if pts is None else _seconds(pts, self.info)
        if time is None or (self._last is not None and time <= self._last):
            self.repaired += 1
            time = 0.0 if self._last is None else self._last + step
        self._last = time
        return time
