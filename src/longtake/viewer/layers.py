# SPDX-License-Identifier: Apache-2.0
"""What is drawn in the scene: points in chunks, the path, cameras with their picture, and the camera of the moment."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from longtake.outputs.colormap import PATH, look_up
from longtake.outputs.spread import Spread
from longtake.outputs.take import TakeFrame
from longtake.viewer.camera import wxyz
from longtake.viewer.store import Store, Style

if TYPE_CHECKING:
    from viser import ViserServer

FRUSTA, PATH_POINTS = 32, 2048  # at most
_THUMB = 160  # pixels of a frustum's picture
_NOW = (234, 88, 12)  # of the camera of the moment


def thumbnail(frame: TakeFrame, longest: int = _THUMB) -> np.ndarray | None:
    """Return the frame's picture, made small, (h, w, 3) uint8; None where the take keeps none."""
    path = frame.files.get("image")
    if path is None:
        return None
    try:
        with Image.open(path) as image:
            image.thumbnail((longest, longest))
            return np.asarray(image.convert("RGB"))
    except OSError:  # gone since: a picture less is no reason to stop
        return None


class PointLayer:
    """Draws a store into a group of the scene: one node a chunk, and only what changed."""

    def __init__(self, server: ViserServer, group: str) -> None:
        self._server, self._group = server, group
        self._nodes: list[Any] = []
        self._drawn: list[tuple[Any, ...]] = []  # what each node shows: version, style, how many, one of every
        self.shown = 0

    def draw(self, store: Store, style: Style, last: int, size: float, every: int = 1) -> None:
        """Show the points up to frame `last`, or one of every so many. size: of a point, in units of the scene."""
        while len(self._nodes) > len(store.chunks):
            self._nodes.pop().remove()
            self._drawn.pop()
        self.shown = 0
        for i, chunk in enumerate(store.chunks):
            wanted = (chunk.version, style, min(chunk.reaches(last), len(chunk)), every)
            if i == len(self._nodes):
                self._nodes.append(self._node(i, size))
                self._drawn.append(())
            node = self._nodes[i]
            if self._drawn[i] != wanted:
                places, colors = (part[::every] for part in chunk.shown(style, last))
                node.visible = bool(len(places))
                if len(places):
                    node.points, node.colors = places, colors
                self._drawn[i] = wanted
            if node.point_size != size:
                node.point_size = size
            self.shown += len(node.points) if node.visible else 0

    def _node(self, number: int, size: float) -> Any:
        empty = np.zeros(
            (1, 3), np.float32
        )  # float16, which viser takes by default, is off by millimetres at ten metres
        return self._server.scene.add_point_cloud(
            f"{self._group}/{number:03d}", empty, empty.astype(np.uint8), point_size=size, point_shape="circle",
            precision="float32", point_shading="flat", visible=False,
        )  # fmt: skip


class CameraLayer:
    """Draws the path, a few cameras along it, and the one of the moment. `on_click` gets a client and a frame."""

    def __init__(self, server: ViserServer, on_click: Callable[[Any, TakeFrame], None]) -> None:
        self._server, self._on_click = server, on_click
        self._frames: Spread[TakeFrame] = Spread(FRUSTA)
        self._path: Spread[tuple[int, np.ndarray]] = Spread(PATH_POINTS)
        self._last: tuple[int, np.ndarray] | None = None
        self._frusta: dict[int, Any] = {}
        self._line: Any = None
        self._now: Any = None
        self._drawn: tuple[Any, ...] = ()

    def add(self, frame: TakeFrame) -> None:
        """Take note of the next frame with a pose."""
        assert frame.world_from_cam is not None
        spot = (frame.number, frame.world_from_cam[:3, 3].astype(np.float32))
        self._last = spot
        self._path.offer(lambda: spot)
        self._frames.offer(lambda: frame)

    def draw(self, now: TakeFrame | None, newest: int, scale: float, *, path: bool, frusta: bool) -> None:
        """Show path and cameras up to the frame `now`, coloured by their time in 0..newest."""
        wanted = (now.number if now else -1, newest, round(scale, 6), path, frusta)
        if wanted == self._drawn or now is None:
            return
        rescaled = bool(self._drawn) and self._drawn[2] != wanted[2]
        self._drawn = wanted
        self._draw_line(now.number, newest, path)
        kept = {frame.number: frame for frame in self._frames.items}
        for number in [n for n in self._frusta if n not in kept or rescaled]:
            self._frusta.pop(number).remove()
        for number, frame in kept.items():
            if number not in self._frusta:
                self._frusta[number] = self._frustum(f"/cameras/{number:06d}", frame, scale, (120, 120, 128))
                self._frusta[number].on_click(lambda event, frame=frame: self._on_click(event.client, frame))
            node = self._frusta[number]
            node.visible = frusta and number <= now.number
            color = tuple(look_up(PATH, np.array(number / max(newest, 1))).tolist())
            if node.color != color:
                node.color = color
        self._draw_now(now, scale)

    def _draw_line(self, last: int, newest: int, visible: bool) -> None:
        spots = [spot for spot in self._path.items if spot[0] <= last]
        if self._last is not None and self._last[0] <= last and spots and spots[-1][0] < self._last[0]:
            spots.append(self._last)
        if len(spots) < 2 or not visible:
            if self._line is not None:
                self._line.visible = False
            return
        places = np.stack([place for _, place in spots])
        shades = look_up(PATH, np.array([number for number, _ in spots]) / max(newest, 1))
        self._line = self._server.scene.add_line_segments(
            "/path", np.stack([places[:-1], places[1:]], 1), np.stack([shades[:-1], shades[1:]], 1),
            thickness=3.0, thickness_units="screen",
        )  # fmt: skip

    def _draw_now(self, frame: TakeFrame, scale: float) -> None:
        if self._now is not None:
            self._now.remove()
        self._now = self._frustum("/now", frame, 2.0 * scale, _NOW)

    def _frustum(self, name: str, frame: TakeFrame, scale: float, color: tuple[int, int, int]) -> Any:
        assert frame.world_from_cam is not None and frame.intrinsics is not None
        width, height = frame.size
        pose = frame.world_from_cam
        return self._server.scene.add_camera_frustum(
            name, fov=float(2 * np.arctan(height / 2 / frame.intrinsics[1, 1])), aspect=width / height, scale=scale,
            color=color, image=thumbnail(frame), thickness=1.6, thickness_units="screen", wxyz=wxyz(pose[:3, :3]),
            position=pose[:3, 3], cast_shadow=False, receive_shadow=False,
        )  # fmt: skip
