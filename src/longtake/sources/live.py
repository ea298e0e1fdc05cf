# SPDX-License-Identifier: Apache-2.0
"""Frames of a webcam or a stream as they come: always the newest, never a queue of old ones."""

from __future__ import annotations

import contextlib
import sys
import threading
import time
from collections.abc import Generator
from pathlib import Path

import av
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError

from longtake.background import Background
from longtake.errors import InputError
from longtake.frame import Frame
from longtake.sources.address import Address, parse_address
from longtake.sources.base import Source
from longtake.sources.selection import Picker, Selection
from longtake.sources.video_picture import upright_rgb

_TIMEOUT = (10.0, 5.0)  # seconds to connect, and of silence after which a connection is taken for dead
_BACK_OFF = (0.25, 5.0)  # seconds before the first new try, and at most; each try doubles the wait
_POLL = 0.1  # seconds between looks at whether anybody still wants frames


class LiveSource(Source):
    """Frames of a live source. Time is the clock of arrival, in seconds since the first frame.

    A thread reads and decodes all the time and keeps one frame, the newest: what the model has no time for is dropped,
    and `dropped` counts it. Where the connection ends, it is made again, for at most `patience` seconds without a
    frame; then the take ends, with a note. The index counts decoded frames, so that gaps show what was dropped.
    """

    def __init__(
        self,
        source: str | Address,
        *,
        selection: Selection | None = None,
        patience: float = 30.0,
        record: Path | None = None,
    ) -> None:
        """Say what to read; nothing is opened before the first frame is asked for.

        patience: seconds to try to connect again, 0: never. record: keep the stream as it comes in this Matroska file;
        each new connection begins a file of its own. Raises InputError for what is no live source.
        """
        self.address = parse_address(source) if isinstance(source, str) else source
        super().__init__(name=self.address.name, kind="live", fps=30.0, selection=selection)
        self.patience = 0.0 if self.address.is_pipe else patience
        self.record = record
        self.dropped = 0
        self.connections = 0  # begun so far, also those that gave nothing
        self.reconnections = 0  # that gave frames again

    def _frames(self, picker: Picker) -> Generator[Frame, None, None]:
        slot = _Slot()
        thread = Background(target=self._read, args=(slot,), name="longtake-live")
        thread.start()
        try:
            first: float | None = None
            while (item := slot.get()) is not None:
                picture, index, arrived, aspect = item
                first = arrived if first is None else first
                if picker.done(arrived - first):
                    return
                if picker.wants(index, arrived - first):
                    picker.took()
                    yield Frame(upright_rgb(picture, aspect), arrived - first, index, f"{self.name}:{index}")
                    if picker.full:
                        return
            if slot.error is not None:
                raise slot.error
        finally:
            slot.stop.set()
            thread.wait(_TIMEOUT[1] + 1)
            self.dropped = slot.dropped
            if slot.dropped:
                self._note("dropped", f"{slot.dropped} of {slot.count} frames were dropped to stay with the newest")

    def _nothing(self, picker: Picker) -> str:
        return f"{self.name}: it gave no frame. Check the address with another player, and that the source is running."

    def _read(self, slot: _Slot) -> None:
        """Run in the thread: connect, decode, connect again."""
        wait, last = _BACK_OFF[0], time.monotonic()
        while not slot.stop.is_set():
            before = slot.count
            trouble = self._connect_once(slot)
            if slot.stop.is_set():
                return
            if slot.count > before:
                wait, last = _BACK_OFF[0], time.monotonic()
            if slot.count == 0:  # it never worked: say why at once
                slot.close(InputError(f"{self.name}: cannot be read ({trouble or 'it gave no frame'}). {_HINT}"))
                return
            if time.monotonic() - last + wait > self.patience:
                if self.patience:
                    self._note("ended", f"the stream ended ({trouble or 'no more data'}), and stayed away")
                slot.close()
                return
            slot.stop.wait(wait)
            wait = min(2 * wait, _BACK_OFF[1])

    def _connect_once(self, slot: _Slot) -> str:
        """Read one connection to its end; return what ended it, empty for a plain end."""
        try:
            with self._open() as container, contextlib.ExitStack() as stack:
                stream = container.streams.video[0]
                stream.thread_type = "NONE"  # threads of the decoder would hold back a frame each
                aspect = float(stream.sample_aspect_ratio or 1)
                aspect = aspect if 0.25 <= aspect <= 4 else 1.0
                recorder = self._recorder(container, stack)
                for packet in container.demux(stream):
                    if slot.stop.is_set():
                        return ""
                    for picture in _decode(packet):
                        if slot.broken and slot.count:
                            self.reconnections += 1
                            self._note("again", f"connected again {self.reconnections} time(s) after it broke off")
                        slot.put(picture, aspect)
                    if recorder is not None and packet.dts is not None:
                        packet.stream = recorder.streams.video[0]
                        recorder.mux(packet)
        except (FFmpegError, OSError, ValueError, IndexError) as error:
            return getattr(error, "strerror", None) or str(error)
        finally:
            self.connections += 1
            slot.broken = True
        return ""

    def _open(self) -> InputContainer:
        address = self.address
        file = sys.stdin.buffer if address.is_pipe else address.file
        timeout = None if address.is_pipe else _TIMEOUT
        options = address.options or {"fflags": "nobuffer"}
        found = av.open(file, "r", address.format, options, timeout=timeout, metadata_errors="ignore")
        assert isinstance(found, InputContainer)
        return found

    def _recorder(self, container: InputContainer, stack: contextlib.ExitStack) -> OutputContainer | None:
        if self.record is None:
            return None
        number = f"_{self.connections + 1}" if self.connections else ""
        path = self.record.with_name(f"{self.record.stem}{number}.mkv")
        path.parent.mkdir(parents=True, exist_ok=True)
        output = stack.enter_context(av.open(f"file:{path}", "w", format="matroska"))
        output.add_stream_from_template(container.streams.video[0])
        return output


_HINT = "Check that it is running, and the address with another player."


def _decode(packet: av.Packet) -> list[av.VideoFrame]:
    """Return the pictures of a packet that are whole; a damaged one is left out, the stream goes on."""
    try:
        return [picture for picture in packet.decode() if isinstance(picture, av.VideoFrame) and not picture.is_corrupt]
    except FFmpegError:
        return []


class _Slot:
    """Room for one frame, the newest, between the thread that reads and the one that asks."""

    def __init__(self) -> None:
        self.stop = threading.Event()  # nobody wants frames any more
        self.error: InputError | None = None
        self.count = 0  # frames put
        self.dropped = 0
        self.broken = False  # a connection ended since the last frame
        self._item: tuple[av.VideoFrame, int, float, float] | None = None
        self._closed = False
        self._changed = threading.Condition()

    def put(self, picture: av.VideoFrame, aspect: float) -> None:
        """Replace what is there."""
        with self._changed:
            self.dropped += self._item is not None
            self._item = (picture, self.count, time.monotonic(), aspect)
            self.count += 1
            self.broken = False
            self._changed.notify()

    def close(self, error: InputError | None = None) -> None:
        """Say that no frame will come any more."""
        with self._changed:
            self.error, self._closed = error, True
            self._changed.notify()

    def get(self) -> tuple[av.VideoFrame, int, float, float] | None:
        """Wait for a frame; None at the end. Wakes up often enough for Ctrl-C on every system."""
        with self._changed:
            while self._item is None and not self._closed:
                self._changed.wait(_POLL)
            item, self._item = self._item, None
            return item
