# SPDX-License-Identifier: Apache-2.0
"""Rerun's .rrd: points, path, cameras with picture and depth, on a time line. Needs the extra `rerun`."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from longtake.errors import MissingExtra
from longtake.outputs.depth import read_depth
from longtake.outputs.exports.points import Points
from longtake.outputs.take import Take


def write_rrd(path: Path, take: Take, points: Points) -> None:
    """Write the take to a file that `rerun FILE` opens. Nothing is sent anywhere. Raises OSError, MissingExtra."""
    try:
        import rerun as rr  # pyright: ignore[reportMissingImports]
    except ImportError as error:
        raise MissingExtra("the format rrd needs rerun-sdk: pip install 'longtake[rerun]'") from error
    path.parent.mkdir(parents=True, exist_ok=True)
    stream = rr.RecordingStream("longtake")
    stream.save(str(path))
    stream.log("world", rr.ViewCoordinates.RDF, static=True)
    starts = np.searchsorted(points.frame, np.arange(len(take.frames) + 1))
    for frame in take.frames:
        stream.set_time("frame", sequence=frame.number)
        stream.set_time("take", duration=frame.time)
        if frame.world_from_cam is None or frame.intrinsics is None:
            continue
        pose = frame.world_from_cam
        stream.log("world/camera", rr.Transform3D(translation=pose[:3, 3], mat3x3=pose[:3, :3]))
        stream.log("world/camera/lens", rr.Pinhole(image_from_camera=frame.intrinsics, resolution=frame.size))
        stream.log("world/camera/lens/image", rr.EncodedImage(path=frame.files["image"]))
        depth = np.float32(take.scale) * read_depth(frame.files["depth"])
        stream.log("world/camera/lens/depth", rr.DepthImage(depth, meter=1.0))
        part = slice(starts[frame.number], starts[frame.number + 1])
        stream.log(
            f"world/points/{frame.number // 32:05d}/{frame.number % 32:02d}",
            rr.Points3D(points.places[part], colors=points.colors[part]),
        )
    centres = [f.world_from_cam[:3, 3] for f in take.posed if f.world_from_cam is not None]
    stream.log("world/path", rr.LineStrips3D([np.array(centres)]), static=True)
    stream.disconnect()
