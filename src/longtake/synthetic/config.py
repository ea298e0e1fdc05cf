# SPDX-License-Identifier: Apache-2.0
"""Every number of the synthetic world that a caller may want to change."""

from __future__ import annotations

from dataclasses import dataclass, replace

# Slots of the primitives, in the order of their ids: boxes, ellipsoids, cylinders, then the room itself.
SETS, SET_SIZE = 5, 4  # pieces of furniture made of four boxes each (tables, chairs, shelves)
BLOCKS, STACKED, WALL_ITEMS, PARTITIONS, TILTED = 8, 8, 8, 2, 2
BOXES = SETS * SET_SIZE + BLOCKS + STACKED + WALL_ITEMS + PARTITIONS + TILTED  # 48
ELLIPSOIDS = 8
CYLINDERS = 8
PRIMITIVES = BOXES + ELLIPSOIDS + CYLINDERS  # 64
MESH = PRIMITIVES  # id of the first furniture mesh
# meshes: a table and the seats round it, things on the floor, on tops, on walls, doors and windows, at the ceiling
TABLES, SEATS, FLOORS, TOPS, WALLS, OPENINGS, CEILINGS, MOVERS = 1, 4, 8, 7, 2, 2, 2, 2
MESHES = TABLES + SEATS + FLOORS + TOPS + WALLS + OPENINGS + CEILINGS + MOVERS  # 28
MOVER = MESH + MESHES - MOVERS  # id of the first mesh that moves
ROOM = MESH + MESHES  # id of the room's box
BODIES = ROOM + 1
LIGHTS = 4
FLOOR_CELLS = 32  # a side of the map of occlusion on the floor


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
    walking_share: float = 0.3  # cameras that bob as somebody walks
    robot_share: float = 0.1  # cameras on wheels, low and level
    drone_share: float = 0.08  # cameras that fly
    car_share: float = 0.4  # of the takes in streets, those from a car
    fov: tuple[float, float] = (45.0, 90.0)  # horizontal field of view of the long side
    mesh_share: float = 0.5  # takes in rooms furnished with meshes
    street_share: float = 0.08  # takes in streets
    painted_share: float = 0.5  # of the takes in rooms, those painted in patterns of any colours
    people_share: float = 0.15  # of two places for a person in such takes, how many are taken
    shadow_share: float = 0.6  # takes with shadows, where `shadows` is set
    shadows: bool = True  # shadow rays to the strongest lamp; False leaves their code out altogether
    distortion_share: float = 0.3  # takes through a lens that bends straight lines a little
    rolling_share: float = 0.3  # takes whose lines are read one after the other
    blur_share: float = 0.4  # takes with motion blur
    compression_share: float = 0.4  # takes that were compressed in blocks
    effects: bool = True  # exposure, colour, noise, blur; False gives clean pictures
    chunk: int = 0  # frames rendered at once where the plain twin draws; 0 means all


def worlds() -> dict[str, WorldConfig]:
    """The mixture that models are trained on, its parts apart, and the world that versions 1 and 2 of the model saw."""
    mixture = WorldConfig()
    bare = replace(mixture, mesh_share=0.0, street_share=0.0, painted_share=0.0)
    return {
        "mixture": mixture,
        "bare": bare,
        "furnished": replace(mixture, mesh_share=1.0, street_share=0.0, painted_share=0.0),
        "painted": replace(mixture, street_share=0.0, painted_share=1.0),
        "streets": replace(mixture, street_share=1.0, painted_share=0.0),
        "first": replace(
            bare,
            shadows=False,
            walking_share=0.0,
            robot_share=0.0,
            drone_share=0.0,
            distortion_share=0.0,
            rolling_share=0.0,
            blur_share=0.0,
            compression_share=0.0,
        ),
    }
