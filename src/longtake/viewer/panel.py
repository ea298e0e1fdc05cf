# SPDX-License-Identifier: Apache-2.0
"""The controls at the side: time, points, cameras, the frame's pictures, exports."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, cast

import numpy as np
from PIL import Image

from longtake.errors import InputError
from longtake.outputs.colormap import DEPTH, color_depth, look_up
from longtake.outputs.depth import read_depth
from longtake.outputs.exports import FORMATS
from longtake.outputs.pictures import read_confidence
from longtake.outputs.take import TakeFrame
from longtake.viewer.store import COLOR_BY, ColorBy

if TYPE_CHECKING:
    from viser import ViserServer

_UNKNOWN = (232, 230, 224)
_WIDTH = 320  # pixels of the frame's pictures
MUTED = "#6b6b73"


class Panel:
    """The widgets. Their values are read by the viewer's loop; buttons leave a note for it."""

    def __init__(self, server: ViserServer, *, pausable: bool) -> None:
        from viser import Icon

        gui, self._icon = server.gui, Icon
        gui.main_panel.dock_right()
        self._shown: int | None = None
        self.frames = 0
        self.overview = threading.Event()  # the visitor wants to see everything
        self.export = threading.Event()
        self.exporter: object | None = None  # the visitor who wants the file
        self.steps = 0  # that a visitor wants to go
        self.playing = False
        self.paused = False
        self.status = gui.add_html("")
        with gui.add_folder("Time"):
            self.time = gui.add_slider("Frame", min=0, max=1, step=1, initial_value=0)
            self.play = gui.add_button("Play", icon=self._icon.PLAYER_PLAY)
            self.step = gui.add_button_group("Step", ("-10", "-1", "+1", "+10"))
            self.speed = gui.add_slider("Frames/s", min=1, max=60, step=1, initial_value=15)
            self.newest = gui.add_checkbox("Stay at the newest frame", initial_value=True)
            self.pause = gui.add_button("Pause the take", icon=self._icon.PLAYER_PAUSE, visible=pausable)
        with gui.add_folder("Points"):
            self.percent = gui.add_slider("Surest %", min=1, max=100, step=1, initial_value=100)
            self.size = gui.add_slider("Size", min=0.2, max=4.0, step=0.1, initial_value=1.0)
            self.color_by = gui.add_dropdown("Colour by", COLOR_BY, initial_value="image")
        with gui.add_folder("Camera"):
            self.follow = gui.add_checkbox("Follow the camera", initial_value=False)
            self.path = gui.add_checkbox("Path", initial_value=True)
            self.frusta = gui.add_checkbox("Cameras", initial_value=True, hint="Click one to fly there")
            self.see_all = gui.add_button("See everything", icon=self._icon.MAXIMIZE)
        with gui.add_folder("Frame"):
            blank = np.full((2, 3, 3), _UNKNOWN, np.uint8)
            self.caption = gui.add_html("")
            self.image = gui.add_image(blank, label="What the model saw", jpeg_quality=90)
            self.depth = gui.add_image(blank, label="Depth: near is light", jpeg_quality=90)
            self.confidence = gui.add_image(blank, label="Confidence: sure is light", jpeg_quality=90)
        with gui.add_folder("Export", expand_by_default=False):
            self.format = gui.add_dropdown("Format", tuple(FORMATS), initial_value="ply")
            self.download = gui.add_button("Download", icon=self._icon.DOWNLOAD, hint="The points that are sure enough")
        self._wire()

    def _wire(self) -> None:
        @self.play.on_click
        def _(_: object) -> None:
            self.playing = not self.playing
            self.newest.value = False
            self.show_playing()

        @self.pause.on_click
        def _(_: object) -> None:
            self.paused = not self.paused
            self.pause.label = "Resume the take" if self.paused else "Pause the take"
            self.pause.icon = self._icon.PLAYER_PLAY if self.paused else self._icon.PLAYER_PAUSE

        @self.step.on_click
        def _(_: object) -> None:
            self.newest.value = False
            self.steps += int(self.step.value)

        @self.time.on_update
        def _(event: object) -> None:
            if getattr(event, "client", None) is not None:  # moved by a person, not by the loop
                self.newest.value = False

        @self.see_all.on_click
        def _(_: object) -> None:
            self.follow.value = False
            self.overview.set()

        @self.download.on_click
        def _(event: object) -> None:
            self.exporter = getattr(event, "client", None)
            self.export.set()

    def show_playing(self) -> None:
        """Make the button say what it will do."""
        self.play.label = "Stop" if self.playing else "Play"
        self.play.icon = self._icon.PLAYER_STOP if self.playing else self._icon.PLAYER_PLAY

    @property
    def color(self) -> ColorBy:
        """What points are coloured by."""
        return cast(ColorBy, self.color_by.value)

    def grow(self, frames: int) -> None:
        """Let the slider reach the newest frame."""
        if frames != self.frames:
            self.frames = frames
            self.time.max = max(frames - 1, 1)

    def show(self, frame: TakeFrame, nearest: float, farthest: float) -> None:
        """Show a frame's pictures, once. nearest, farthest: where the colours of depth begin and end."""
        if self._shown == frame.number:
            return
        self._shown = frame.number
        self.caption.content = _line(f"frame {frame.index} &middot; {frame.time:.2f} s")
        try:
            if "image" in frame.files:
                with Image.open(frame.files["image"]) as image:
                    self.image.image = _fit(np.asarray(image.convert("RGB")))
            if "depth" in frame.files:
                self.depth.image = _fit(color_depth(read_depth(frame.files["depth"]), nearest, farthest, _UNKNOWN))
            if "confidence" in frame.files:
                self.confidence.image = _fit(_paint(read_confidence(frame.files["confidence"])))
        except (OSError, InputError):  # a new take is being written over this one: its frames come in a moment
            self._shown = None

    def say(self, lines: list[str]) -> None:
        """Show a few lines at the top; the first is the title."""
        head = f'<div style="font-weight:600;font-size:1.05em;overflow-wrap:anywhere">{lines[0]}</div>'
        content = f'<div style="padding:0.4em 0.9em 0.2em">{head}{"".join(_row(line) for line in lines[1:])}</div>'
        if self.status.content != content:
            self.status.content = content


def _row(text: str) -> str:
    return f'<div style="color:{MUTED};font-size:0.85em;font-variant-numeric:tabular-nums">{text}</div>'


def _line(text: str) -> str:
    return f'<div style="padding:0 0.9em">{_row(text)}</div>'


def _fit(picture: np.ndarray) -> np.ndarray:
    """Enlarge a small picture by whole steps, so that its pixels stay sharp, and make a large one small."""
    factor = max(1, _WIDTH // picture.shape[1])
    picture = picture.repeat(factor, 0).repeat(factor, 1)
    if picture.shape[1] > 2 * _WIDTH:
        step = picture.shape[1] // _WIDTH
        picture = picture[::step, ::step]
    return np.ascontiguousarray(picture)


def _paint(confidence: np.ndarray) -> np.ndarray:
    """Return (H, W, 3) uint8 colours of a confidence map, over its own 2 to 98 %."""
    values = np.log(confidence)
    low, high = np.percentile(values, (2, 98))
    return look_up(DEPTH, 1 - (values - low) / max(float(high - low), 1e-9))
