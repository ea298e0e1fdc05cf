# SPDX-License-Identifier: Apache-2.0
"""`longtake data synthesize`: takes of procedural rooms and streets on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from tyro.conf import Positional, arg


def main(
    out: Annotated[Positional[Path], arg(metavar="FOLDER")],
    *,
    takes: int = 4,
    frames: int = 16,
    size: tuple[int, int] = (160, 128),
    seed: int = 0,
    no_shadows: bool = False,
    world: Literal["mixture", "bare", "furnished", "streets", "first"] = "mixture",
) -> None:
    """Draw procedural rooms and walks through them, and write each as an RGB-D folder; sheet.png and film.mp4 show all.

    Each folder holds rgb/, depth/ (16-bit PNG, millimetres), poses.txt (world_from_cam) and intrinsics.txt, as
    `longtake evaluate` reads them, and sheet.png to look at. The same seed gives the same takes.

    Args:
        out: Folder for the takes.
        takes: How many walks, each in a room of its own.
        frames: How many frames a walk has.
        size: Width and height in pixels.
        seed: Seed of everything random.
        no_shadows: Leave out the shadows, which is faster.
        world: What is drawn: all that models are trained on, a part of it, or what version 1 of the model saw.
    """
    from dataclasses import replace

    from longtake.synthetic.config import worlds
    from longtake.synthetic.takes import write_world

    config = worlds()[world]
    for folder in write_world(out, takes, frames, size, seed, replace(config, shadows=not no_shadows)):
        print(folder)
