# SPDX-License-Identifier: Apache-2.0
"""Every number of the synthetic world that a caller may want to change."""

from __future__ import annotations

from dataclasses import dataclass

# Slots of the primitives, in the order of their ids: boxes, ellipsoids, cylinders, then the room itself.
SETS, SET_SIZE = 5, 4  # pieces of furniture made of four boxes each (tables, chairs, shelves)
BLOCKS, STACKED, WALL_ITEMS, PARTITIONS, TILTED = 8, 8, 8, 2, 2
BOXES = SETS * SET_SIZE + BLOCKS + STACKED + WALL_ITEMS + PARTITIONS + TILTED  # 48
ELLIPSOIDS = 8
CYLINDERS = 8
PRIMITIVES = BOXES + ELLIPSOIDS + CYLINDERS  # 64
ROOM = PRIMITIVES  # id of the room's box
LIGHTS = 4


@dataclass(frozen=True, slots=True)
class WorldConfig:
    """Ranges from which rooms, paths, lenses and pictures are drawn. Lengths in metres, angles in degrees."""

    room_size: tuple[float, float] = (2.6, 10.0)  # sides of an ordinary room
    room_height: tuple[float, float] = (2.2, 4.0)
    hall_share: float = 0.1  # rooms stretched to 10-20 m and higher
    corridor_share: float = 0.08  # rooms 1.8-2.6 m wide and 7-20 m long
    clearance: float = 0.4  # nothing stands closer to the camera's path
    wall_margin: float = 0.35  # the path keeps this far from walls, floor and ceiling
    speed: tuple[float, float] = (0.4, 2.4)  # metres a second
    turn: tuple[float, float] = (8.0, 150.0)  # degrees a second, spread of free looking around
    step: tuple[float, float] = (2 / 30, 10 / 30)  # seconds between frames
    max_move: float = 0.28  # mean metres between frames; faster takes get a shorter step
    max_turn: float = 10.0  # mean degrees between frames, likewise
    revisit_share: float = 0.25  # takes that return along their own path
    loop_share: float = 0.12  # takes that walk a closed curve
    fov: tuple[float, float] = (45.0, 90.0)  # horizontal field of view of the long side
    shadows: bool = False  # one shadow ray per pixel to the strongest light; about 1.7 times the cost
    effects: bool = True  # exposure, colour, noise, blur; False gives clean pictures
    chunk: int = 0  # frames rendered at once where the plain twin draws; 0 means all
