# SPDX-License-Identifier: Apache-2.0
"""The eyes of all visitors: which way is up, how large the scene is, and who is moved where."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import numpy as np

from longtake.outputs.take import TakeFrame
from longtake.viewer.camera import FIELD, behind, fly, mean_up, overview, place
from longtake.viewer.store import Store

if TYPE_CHECKING:
    from viser import ClientHandle, ViserServer

_POSES = 500  # that are looked at to find out which way is up
_GLIDE = 0.25  # share of the way to the followed camera in one step: it glides, and does not shake
_PANEL = 325  # pixels of the controls, which are not there yet when a visitor comes
_SETTLED = 30  # frames after which visitors' eyes are left where they are


class Eyes:
    """Moves visitors' eyes when they ask for it, and once at the beginning."""

    def __init__(self, server: ViserServer) -> None:
        self._server = server
        self.up = np.array([0.0, -1.0, 0.0])
        self.reach = 1.0  # diagonal of the scene
        self.walk = 0.0  # diagonal of the path
        self._scene: tuple[np.ndarray, np.ndarray] | None = None  # points and poses
        self._settled = False
        server.scene.set_up_direction(self.up)
        server.initial_camera.fov = FIELD

        @server.on_client_connect
        def _(client: ClientHandle) -> None:
            if self._scene is not None:
                place(client, *self._overview(client, beside=_PANEL))

    def measure(self, store: Store, frames: list[TakeFrame]) -> None:
        """Find up, size and the overview; visitors who came before there was anything to see are shown it."""
        posed = [f.world_from_cam for f in frames[:: max(len(frames) // _POSES, 1)] if f.world_from_cam is not None]
        if not posed:
            return
        poses, places = np.stack(posed), store.sample(4000)
        centres = poses[:, :3, 3]
        everything = np.concatenate([places, centres])
        self.up = mean_up(poses)
        self.walk = float(np.linalg.norm(np.ptp(centres, axis=0)))
        self.reach = max(float(np.linalg.norm(np.ptp(everything, axis=0))), 1e-3)
        self._scene = places, poses
        self._server.scene.set_up_direction(self.up)
        start = self._server.initial_camera
        start.position, start.look_at, start.up = *overview(places, poses, self.up), self.up
        if not self._settled:
            for client in self._server.get_clients().values():
                place(client, *self._overview(client))
        self._settled = len(frames) >= _SETTLED

    @property
    def frustum(self) -> float:
        """How large to draw a camera: a few percent of the scene, less where many stand in one place."""
        return float(np.clip(0.12 * self.walk, 0.012 * self.reach, 0.03 * self.reach))

    def see_all(self) -> None:
        """Let every visitor fly to the overview."""
        if self._scene is not None:
            for client in self._server.get_clients().values():
                where = self._overview(client)
                threading.Thread(target=self._fly, args=(client, *where, self.up), daemon=True).start()

    def _overview(self, client: ClientHandle, beside: int = 0) -> tuple[np.ndarray, np.ndarray]:
        """Where a visitor sees everything in the window, but for so many columns of pixels beside it."""
        assert self._scene is not None
        camera = client.camera
        aspect = (camera.image_width - beside) / max(camera.image_height, 1)
        return overview(*self._scene, self.up, float(np.clip(aspect, 0.4, 4)))

    def follow(self, frame: TakeFrame) -> None:
        """Let every visitor glide after a frame's camera."""
        assert frame.world_from_cam is not None
        position, target = behind(frame.world_from_cam, self.up, self.reach)
        for client in self._server.get_clients().values():
            here, there = np.asarray(client.camera.position), np.asarray(client.camera.look_at)
            if not np.allclose(here, position, atol=1e-4 * self.reach):
                place(client, here + _GLIDE * (position - here), there + _GLIDE * (target - there))

    def visit(self, client: ClientHandle, frame: TakeFrame) -> None:
        """Let a visitor fly to where a frame's camera was, a little behind it."""
        assert frame.world_from_cam is not None
        centre, forward = frame.world_from_cam[:3, 3], frame.world_from_cam[:3, 2]
        back = 1.5 * self.frustum
        self._fly(client, centre - back * forward, centre + 0.3 * self.reach * forward, -frame.world_from_cam[:3, 1])

    def _fly(self, client: ClientHandle, position: np.ndarray, target: np.ndarray, up: np.ndarray) -> None:
        """Fly as long as the visitor stays: a page may be closed at any time."""
        fly(client, position, target, up, lambda: client.client_id in self._server.get_clients())
