# SPDX-License-Identifier: Apache-2.0
"""Depth maps for other tools: 16-bit PNG with a scale of one's choice, or NPZ with everything that a frame has."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

from longtake.outputs.depth import encode_depth, read_depth
from longtake.outputs.pictures import read_confidence
from longtake.outputs.take import Take


def write_png16(folder: Path, take: Take, scale: float) -> None:
    """Write NNNNNN.png = depth x scale, and depth.txt: `timestamp file` a line, as TUM's tools take it.

    0 is unknown; depths beyond 65535 / scale become 0, and depth.json says how many. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    too_far, lines = 0, ["# timestamp filename\n"]
    for frame in take.frames:
        name = f"{frame.number:06d}.png"
        data, beyond = encode_depth(take.scale * read_depth(frame.files["depth"]), scale)
        (folder / name).write_bytes(data)
        too_far += beyond
        lines.append(f"{frame.time:.6f} {name}\n")
    (folder / "depth.txt").write_text("".join(lines), "utf-8")
    note = {"scale": scale, "unit": take.unit, "invalid": 0, "pixels_too_far": too_far, "frames": len(take.frames)}
    (folder / "depth.json").write_text(json.dumps(note, indent=1) + "\n", "utf-8")


def write_npz(folder: Path, take: Take) -> None:
    """Write NNNNNN.npz: depth and confidence (H, W) float32, intrinsics (3, 3), world_from_cam (4, 4), time, index.

    A matrix that was not finite is full of nan. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for frame in take.frames:
        np.savez_compressed(
            folder / f"{frame.number:06d}.npz",
            depth=np.float32(take.scale) * read_depth(frame.files["depth"]),
            confidence=read_confidence(frame.files["confidence"]),
            intrinsics=np.full((3, 3), np.nan) if frame.intrinsics is None else frame.intrinsics,
            world_from_cam=np.full((4, 4), np.nan) if frame.world_from_cam is None else frame.world_from_cam,
            time=np.float64(frame.time),
            index=np.int64(frame.index),
        )
