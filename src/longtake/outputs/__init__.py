# SPDX-License-Identifier: Apache-2.0
"""What a take leaves on disk, written while it runs; and readers for it."""

from longtake.outputs.cameras import read_cameras
from longtake.outputs.depth import read_depth
from longtake.outputs.manifest import Run
from longtake.outputs.ply import Cloud, PlyWriter, read_ply
from longtake.outputs.recorder import Recorder
from longtake.outputs.takefiles import clear_earlier_take
from longtake.outputs.trajectory import Trajectory, read_tum

__all__ = [
    "Cloud",
    "PlyWriter",
    "Recorder",
    "Run",
    "Trajectory",
    "clear_earlier_take",
    "read_cameras",
    "read_depth",
    "read_ply",
    "read_tum",
]
