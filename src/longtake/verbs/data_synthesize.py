# SPDX-License-Identifier: Apache-2.0
"""`longtake data synthesize`: takes of procedural rooms and streets on disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tyro.conf import Positional, arg

if TYPE_CHECKING:
    from longtake.synthetic.world import Batch


def main(
    out: Annotated[Positional[Path], arg(metavar="FOLDER")],
    *,
    takes: int = 4,
    frames: int = 16,
    size: tuple[int, int] = (160, 128),
    seed: int = 0,
    no_shadows: bool = False,
    lens: bool = False,
    layout: str = "rgbd",
    world: Literal["mixture", "bare", "furnished", "painted", "streets", "first"] = "mixture",
) -> None:
    """Draw procedural rooms and walks through them, and write each as an RGB-D folder; sheet.png and film.mp4 show all.

    Each folder holds rgb/, depth/ (16-bit PNG, millimetres), poses.txt (world_from_cam) and intrinsics.txt, as
    `longtake evaluate` reads them, and sheet.png to look at. Other layouts are those of public data sets, with their
    own depth scales, pose directions and names, so that whatever reads those can be tried without them. The same seed
    gives the same takes.

    Args:
        out: Folder for the takes.
        takes: How many walks, each in a room of its own.
        frames: How many frames a walk has.
        size: Width and height in pixels.
        seed: Seed of everything random.
        no_shadows: Leave out the shadows, which is faster.
        lens: Also draw lenses that bend lines and shutters that roll, as training sees them: such pictures do not agree
            to the pixel with the camera matrix and the pose that are written beside them.
        layout: rgbd, tum, bonn, 7scenes, scannet, kitti (depth, no poses) or kitti-odometry (poses, no depth).
        world: What is drawn: all that models are trained on, a part of it, or what version 1 of the model saw.
    """
    from dataclasses import replace

    from longtake.synthetic.config import worlds
    from longtake.synthetic.takes import write_rgbd, write_world

    write = write_rgbd if layout == "rgbd" else _writer(layout)
    config = replace(worlds()[world], shadows=not no_shadows)
    if not lens:
        config = replace(config, distortion_share=0.0, rolling_share=0.0)
    for folder in write_world(out, takes, frames, size, seed, config, write):
        print(folder)


def _writer(layout: str) -> Callable[[Path, int, Batch], Path]:
    """Return what writes the take of a batch in another layout. Raises InputError if there is no such layout."""
    from longtake.datasets.write import WRITERS, Take, write_take
    from longtake.errors import InputError

    if layout not in WRITERS:
        raise InputError(f"--layout {layout}: no such layout; there are rgbd, {', '.join(WRITERS)}.")

    def write(out: Path, number: int, batch: Batch) -> Path:
        images = (batch.images[0].clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1)
        parts = (images, batch.depth[0], batch.world_from_cam[0].double(), batch.intrinsics[0].double())
        return write_take(layout, out, number, Take(*(part.cpu().numpy() for part in parts)))

    return write
