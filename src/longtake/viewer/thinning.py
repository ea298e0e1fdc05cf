# SPDX-License-Identifier: Apache-2.0
"""Fewer points while a slow visitor's eye moves, all of them at rest.

A graphics card draws a million points at any rate; without one a picture of them takes a second, and nobody can steer.
A browser tells where its eye is with every picture that it draws while the eye moves: so far apart are its pictures.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from viser import CameraHandle, ClientHandle, ViserServer

ALL, FEW = "/points/all", "/points/few"  # groups of the scene: one of them is seen
MANY = 100_000  # so many points and fewer are nowhere too slow
_FEW = 40_000  # at most
_SLOW = 0.1  # seconds between two pictures, from which on nobody can steer
_TIMES = 2.0  # so much later than quick: browsers draw in twos and threes, and a hand stops and goes
_QUICK = 0.25  # how much of that one quick picture makes up for
_REST = 0.5  # seconds without a word of the eye, after which it stands still
_DRAIN, _STEADY = 6.0, 6  # the same, until so many pictures came without a rest: some of all points may be under way


def one_of(points: int) -> int:
    """Return of how many points one is among the few: a power of two, so that it changes seldom as a take grows."""
    every = 1
    while points > _FEW * every:
        every *= 2
    return every


@dataclass(slots=True)
class _Visitor:
    client: ClientHandle
    told: float  # when the eye last moved
    late: float = 0.0
    slow: bool = False
    groups: tuple[Any, Any] | None = None  # this visitor's own, of all points and of the few
    thinned: bool = False
    steady: int = 0  # pictures in a row that were not apart for a rest, since the points are thinned


class Thinning:
    """Switches each slow visitor between all points and a few of them; who draws fast never sees it."""

    def __init__(self, server: ViserServer) -> None:
        self._visitors: dict[int, _Visitor] = {}
        server.scene.add_frame(ALL, show_axes=False)
        server.scene.add_frame(FEW, show_axes=False, visible=False)

        @server.on_client_connect
        async def _(client: ClientHandle) -> None:
            visitor = self._visitors[client.client_id] = _Visitor(client, time.monotonic())

            @client.camera.on_update
            async def _(_: CameraHandle) -> None:  # in the event loop, so one after the other
                _note(visitor, time.monotonic())

        @server.on_client_disconnect
        async def _(client: ClientHandle) -> None:
            self._visitors.pop(client.client_id, None)

    def update(self, shown: int) -> None:
        """Show all or few to each visitor. shown: how many points all are. Call it often, from one thread."""
        now = time.monotonic()
        for visitor in list(self._visitors.values()):
            rest = _DRAIN if visitor.thinned and visitor.steady < _STEADY else _REST
            wanted = visitor.slow and shown > MANY and now - visitor.told < rest
            if wanted == visitor.thinned:
                continue
            visitor.thinned, visitor.steady = wanted, 0
            with visitor.client.atomic():
                if visitor.groups is None:  # a visitor's own group hides the one of the same name that all share
                    scene = visitor.client.scene
                    visitor.groups = (scene.add_frame(ALL, show_axes=False), scene.add_frame(FEW, show_axes=False))
                visitor.groups[0].visible, visitor.groups[1].visible = not wanted, wanted


def _note(visitor: _Visitor, now: float) -> None:
    """Take note that the eye moved."""
    passed, visitor.told = now - visitor.told, now
    visitor.late = visitor.late + 1 if passed > _SLOW else max(visitor.late - _QUICK, 0.0)
    visitor.slow |= visitor.late >= _TIMES
    visitor.steady = visitor.steady + 1 if passed < _REST else 0
