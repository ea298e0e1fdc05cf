# SPDX-License-Identifier: Apache-2.0
"""Show a take's folder in a browser. All is read from the folder, so a running take and a finished one are alike."""

from __future__ import annotations

import io
import threading
import time
from collections import deque
from contextlib import redirect_stdout
from html import escape
from pathlib import Path
from typing import Any, Self

import numpy as np

from longtake.errors import InputError, LongtakeError, MissingExtra
from longtake.meter import resident_bytes
from longtake.outputs.manifest import portable, read_manifest
from longtake.outputs.ply import PlyRows
from longtake.outputs.size import in_metres, median_metres
from longtake.outputs.take import Follower, TakeFrame
from longtake.outputs.takefiles import CLOUD, MANIFEST
from longtake.viewer.download import pack
from longtake.viewer.eyes import Eyes
from longtake.viewer.layers import CameraLayer, PointLayer
from longtake.viewer.panel import Panel
from longtake.viewer.store import Store, Style
from longtake.viewer.thinning import ALL, FEW, MANY, Thinning, one_of

_TICK = 0.05  # seconds between looks at folder and controls
_BATCH = 64  # frames that are read in one go
_GROWTH = 1.1  # colours and percentile are worked out anew when the take has grown by so much
_POINT = 0.0022  # size of a point as a share of the scene
_PAPER = (251, 250, 247)


class Viewer:
    """A web page that shows a take: a thread reads the folder and redraws. Use it in a `with` block, or close it."""

    def __init__(
        self,
        folder: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8080,
        max_points: int = 1_000_000,
        pausable: bool = False,
    ) -> None:
        """Bind the port (or the next free one) and build the page.

        host: only this machine can see the page, unless another address of it is given.
        pausable: show a button that makes `wait_while_paused` wait.
        Raises MissingExtra where viser is not installed, InputError where the port cannot be had.
        """
        try:
            import viser
        except ImportError as error:
            raise MissingExtra("the viewer needs viser: pip install 'longtake[view]'") from error
        try:
            with redirect_stdout(io.StringIO()):  # it prints a box whatever `verbose` says
                self._server = viser.ViserServer(host=host, port=port, label="Longtake", verbose=False)
        except OSError as error:
            raise InputError(f"{host}:{port}: the viewer cannot listen here ({error}). Give another --port.") from error
        self.folder, self.host = folder, host
        self._server.gui.configure_theme(show_logo=False, show_share_button=False, brand_color=(194, 65, 12))
        self._server.scene.set_background_image(np.full((2, 2, 3), _PAPER, np.uint8), format="png")
        self._panel = Panel(self._server, pausable=pausable)
        self._eyes = Eyes(self._server)
        self._thinning = Thinning(self._server)
        self._points, self._few = PointLayer(self._server, ALL), PointLayer(self._server, FEW)
        self._cameras = CameraLayer(self._server, self._visit)
        self._store = Store(max_points)
        self._frames: list[TakeFrame] = []
        self._follower = Follower(folder)
        self._style, self._style_key = Style(), ()
        self._depths = (1.0, 2.0)  # where the colours of depth begin and end
        self._arrivals: deque[float] = deque(maxlen=30)
        self._said = self._played = 0.0
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="longtake-viewer", daemon=True)
        self.trouble = ""  # what ended the thread, if anything did

    @property
    def url(self) -> str:
        """Where the page is."""
        host = "127.0.0.1" if self.host in ("0.0.0.0", "::") else self.host
        return f"http://{host}:{self._server.get_port()}"

    def start(self) -> None:
        """Begin to read the folder. Calling it twice is fine."""
        if not self._thread.is_alive() and not self._stop.is_set():
            self._thread.start()

    def close(self) -> None:
        """Stop the thread and the server."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        with redirect_stdout(io.StringIO()):
            self._server.stop()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def wait_while_paused(self) -> None:
        """Return at once, or when the visitor resumes the take."""
        while self._panel.paused and not self._stop.is_set():
            time.sleep(_TICK)

    def wait(self) -> None:
        """Return when the viewer is closed; raise InputError if it cannot go on. Ctrl-C passes through."""
        while self._thread.is_alive() and not self._stop.is_set():
            time.sleep(0.2)
        if self.trouble:
            raise InputError(self.trouble)

    # --- the thread ---

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                begin = time.monotonic()
                self._read()
                self._tick(begin)
                self._stop.wait(max(_TICK - (time.monotonic() - begin), 0.005))
        except LongtakeError as error:
            self.trouble = str(error)

    def _read(self) -> None:
        new = self._follower.poll(limit=_BATCH)
        if not new:
            return
        with PlyRows(self.folder / CLOUD) as rows:
            for frame in new:
                self._frames.append(frame)
                if frame.world_from_cam is None or not frame.posed:
                    continue
                part = rows.read(*frame.points)
                depth = (part.points - frame.world_from_cam[:3, 3]) @ frame.world_from_cam[:3, 2]
                self._store.add(part.points, part.colors, part.confidence, depth, frame.number)
                self._cameras.add(frame)
        self._arrivals.extend([time.monotonic()] * len(new))
        self._panel.grow(len(self._frames))

    def _tick(self, now: float) -> None:
        panel, eyes, frames = self._panel, self._eyes, self._frames
        if frames:
            self._advance(now)
            last = min(int(panel.time.value), len(frames) - 1)
            self._restyle()
            frame = next((f for f in reversed(frames[: last + 1]) if f.posed), None)
            size = _POINT * eyes.reach * panel.size.value
            self._points.draw(self._store, self._style, last, size)
            if len(self._store) > MANY:
                every = one_of(len(self._store))
                self._few.draw(self._store, self._style, last, every**0.25 * size, every)
            self._thinning.update(self._points.shown)
            self._cameras.draw(frame, len(frames) - 1, eyes.frustum, path=panel.path.value, frusta=panel.frusta.value)
            panel.show(frames[last], *self._depths)
            if panel.overview.is_set():
                panel.overview.clear()
                eyes.see_all()
            if panel.follow.value and frame is not None:
                eyes.follow(frame)
            if panel.export.is_set():
                panel.export.clear()
                self._export(panel.exporter)
        self._say(now)

    def _advance(self, now: float) -> None:
        """Move the time slider: to the newest frame, by steps, or as the take plays."""
        panel, newest = self._panel, len(self._frames) - 1
        value = int(panel.time.value)
        if panel.newest.value:
            value = newest
        elif panel.steps:
            value, panel.steps = value + panel.steps, 0
        elif panel.playing and now - self._played >= 1 / panel.speed.value:
            value = 0 if value >= newest else value + max(1, min(int((now - self._played) * panel.speed.value), 4))
        else:
            return
        self._played = now
        value = min(max(value, 0), newest)
        if value != panel.time.value:
            panel.time.value = value
        if panel.playing and value >= newest and self._follower.finished:
            panel.playing = False
            panel.show_playing()

    def _restyle(self) -> None:
        """Work out percentile, colours, size and up again when a person or the take's growth asks for it."""
        panel, store = self._panel, self._store
        size = int(np.log(max(store.offered, 1)) / np.log(_GROWTH))
        key = (panel.color, panel.percent.value, self._follower.finished, size)
        if key == self._style_key:
            return
        grown = self._style_key[2:] != key[2:]
        self._style, self._style_key = store.style(panel.color, panel.percent.value), key
        if grown:
            depths = store.style("depth", 100)
            self._depths = (float(np.exp(depths.low)), float(np.exp(depths.high)))
            self._eyes.measure(store, self._frames)

    def _visit(self, client: Any, frame: TakeFrame) -> None:
        """A visitor clicked on a camera: fly to where it was, and back in time to when it was there."""
        panel = self._panel
        panel.follow.value = panel.newest.value = panel.playing = False
        panel.show_playing()
        panel.time.value = frame.number
        if client is not None:
            self._eyes.visit(client, frame)

    def _export(self, client: Any) -> None:
        clients = [client] if client is not None else list(self._server.get_clients().values())
        try:
            name, data = pack(self.folder, self._panel.format.value, float(self._panel.percent.value))
        except LongtakeError as error:
            for each in clients:
                each.add_notification("The export failed", str(error), color="red")
            return
        for each in clients:
            each.send_file_download(name, data, save_immediately=True)

    def _say(self, now: float) -> None:
        """Tell how the take stands, twice a second."""
        if now - self._said < 0.5:
            return
        self._said = now
        manifest = read_manifest(self.folder / MANIFEST) or {}
        source = manifest.get("source")
        name = (source.get("name") if isinstance(source, dict) else source) or self.folder.resolve().name
        status = manifest.get("status", "waiting for the first frame")
        recent = self._arrivals
        rate = f"{manifest['fps']:.1f} frames/s" if "fps" in manifest else ""
        if not self._follower.finished and len(recent) > 1 and recent[-1] > recent[0]:
            rate = f"{(len(recent) - 1) / (recent[-1] - recent[0]):.1f} frames/s"
        memory = resident_bytes()
        metres = None if manifest.get("is_metric") else median_metres(f.metres_per_unit for f in self._frames)
        lines = [
            Path(str(portable(name))).name,
            " · ".join(part for part in (status, manifest.get("model"), manifest.get("rule")) if part),
            " · ".join(part for part in (f"{len(self._frames):,} frames", rate) if part),
            f"{self._points.shown:,} of {self._store.offered:,} points shown",
            *([] if metres is None else [f"1 unit is {in_metres(1, metres)}: the model's estimate"]),
            *([] if memory is None else [f"{memory / 1e6:,.0f} MB of memory in this process"]),
        ]
        self._panel.say([escape(line) for line in lines])
