# SPDX-License-Identifier: Apache-2.0
"""nerfstudio's transforms.json with pictures, depth maps and a point cloud.

Cameras are OpenGL's (y up, looking along -z) in a world whose z is up; `applied_transform` says how that world came
from ours. Pixels count from the corner of the first one: half a pixel is added. Depth is z, 16 bits, in thousandths.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from longtake.files import replacing
from longtake.outputs.depth import DEPTH_SCALE, encode_depth, read_depth
from longtake.outputs.exports.axes import NERF_FROM_WORLD, OUR_FROM_GL
from longtake.outputs.exports.points import Points
from longtake.outputs.exports.views import View
from longtake.outputs.ply import PlyWriter


def write_nerfstudio(folder: Path, views: Iterable[View], points: Points, scale: float = 1.0) -> None:
    """Write transforms.json, sparse.ply and depth/ beside the folder `images` of the views.

    scale: what depths on disk are multiplied by. Raises OSError.
    """
    (folder / "depth").mkdir(parents=True, exist_ok=True)
    with PlyWriter(folder / "sparse.ply") as cloud:
        turned = points.places @ NERF_FROM_WORLD[:3, :3].T.astype(np.float32)
        cloud.append(turned, points.colors, points.confidence)
    frames = []
    for view in views:
        name = f"depth/{Path(view.name).stem}.png"
        (folder / name).write_bytes(encode_depth(scale * depth_on(view))[0])
        frames.append(_frame(view, f"images/{view.name}", name))
    document = {
        "camera_model": "OPENCV",
        "depth_unit_scale_factor": 1 / DEPTH_SCALE,
        "applied_transform": NERF_FROM_WORLD[:3].tolist(),
        "ply_file_path": "sparse.ply",
        "frames": frames,
    }
    with replacing(folder / "transforms.json") as draft:
        draft.write_text(json.dumps(document, indent=1) + "\n", "utf-8")


def _frame(view: View, image: str, depth: str) -> dict[str, Any]:
    k, (width, height) = view.intrinsics, view.size
    return {
        "file_path": image,
        "depth_file_path": depth,
        "w": width,
        "h": height,
        "fl_x": k[0, 0],
        "fl_y": k[1, 1],
        "cx": k[0, 2] + 0.5,
        "cy": k[1, 2] + 0.5,
        "transform_matrix": (NERF_FROM_WORLD @ view.world_from_cam @ OUR_FROM_GL).tolist(),
    }


def depth_on(view: View) -> np.ndarray:
    """Return the view's depth map, (H, W) of the view's size: the nearest pixel of the model's, 0 where none is.

    The two camera matrices tell how the original was resized and cropped: a pixel (u, v) of the view lies at
    K_model K_view^-1 (u, v, 1) of the map.
    """
    depth = read_depth(view.frame.files["depth"])
    if view.size == view.frame.size:
        return depth
    assert view.frame.intrinsics is not None
    turn = view.frame.intrinsics @ np.linalg.inv(view.intrinsics)
    columns = np.rint(turn[0, 0] * np.arange(view.size[0]) + turn[0, 2]).astype(np.int64)
    rows = np.rint(turn[1, 1] * np.arange(view.size[1]) + turn[1, 2]).astype(np.int64)
    known = ((rows >= 0) & (rows < depth.shape[0]))[:, None] & ((columns >= 0) & (columns < depth.shape[1]))
    found = depth[rows.clip(0, depth.shape[0] - 1)[:, None], columns.clip(0, depth.shape[1] - 1)]
    return np.where(known, found, 0)
