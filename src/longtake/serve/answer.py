# SPDX-License-Identifier: Apache-2.0
"""From a prediction to the bytes of its answer, with the parts that the client wants."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from longtake.frame import Prediction
from longtake.outputs.colormap import color_depth
from longtake.outputs.depth import DEPTH_SCALE, encode_depth
from longtake.outputs.pick import pick_pixels
from longtake.outputs.pictures import STEPS_PER_OCTAVE, encode_confidence, encode_picture
from longtake.outputs.ply import VERTEX, ply_bytes
from longtake.serve.protocol import Hello, pack_answer

_UNKNOWN = (24, 26, 32)


def encode_answer(prediction: Prediction, hello: Hello, facts: dict[str, Any]) -> bytes:
    """Return the answer's message. facts: what the service adds to the header (latency, dropped frames)."""
    height, width = prediction.depth.shape
    header = {
        "type": "answer",
        "index": prediction.index,
        "time": prediction.time,
        "world_from_cam": _list(prediction.world_from_cam),
        "intrinsics": _list(prediction.intrinsics),
        "intrinsics_original": prediction.intrinsics_original.tolist(),
        "size": [width, height],
        "is_metric": prediction.is_metric,
        "tracking": prediction.tracking,
        "confidence": float(prediction.confidence.float().median()),
        **facts,
    }
    return pack_answer(header, list(_parts(prediction, hello)))


def _list(tensor: torch.Tensor) -> list[list[float]]:
    """Plain numbers; what is not finite would not be JSON."""
    return torch.nan_to_num(tensor.detach().cpu().double(), nan=0.0, posinf=0.0, neginf=0.0).tolist()


def _parts(prediction: Prediction, hello: Hello) -> Iterator[tuple[dict[str, Any], bytes]]:
    if "depth" in hello.want:
        depth = prediction.depth.float().cpu().numpy()
        data, too_far = encode_depth(depth)
        yield {"name": "depth", "type": "image/png", "scale": DEPTH_SCALE, "too_far": too_far}, data
    if "confidence" in hello.want:
        data = encode_confidence(prediction.confidence.float().cpu().numpy())
        yield {"name": "confidence", "type": "image/png", "steps_per_octave": STEPS_PER_OCTAVE}, data
    if "points" in hello.want:
        points = prediction.points.float().cpu().numpy().astype("<f4")
        yield {"name": "points", "type": "float32", "shape": list(points.shape)}, points.tobytes()
    if "ply" in hello.want:
        count, data = _cloud(prediction, hello)
        yield {"name": "ply", "type": "model/ply", "points": count, "row_bytes": VERTEX.itemsize}, data
    if "picture" in hello.want:
        yield {"name": "picture", "type": "image/jpeg"}, encode_picture(_picture(prediction))


def _cloud(prediction: Prediction, hello: Hello) -> tuple[int, bytes]:
    chosen = pick_pixels(
        prediction, keep_percentile=hello.keep_percentile, budget=hello.most_points, salt=prediction.index
    )
    points = prediction.points.reshape(-1, 3)[chosen].float().cpu().numpy()
    colors = prediction.image.reshape(-1, 3)[chosen.cpu()].numpy()
    sure = prediction.confidence.reshape(-1)[chosen].float().cpu().numpy()
    return len(points), ply_bytes(points, colors, sure)


def _picture(prediction: Prediction) -> np.ndarray:
    """The depth map in colours, near and far taken from this frame."""
    depth = prediction.depth.float().cpu().numpy()
    depth = np.where(np.isfinite(depth), depth, 0)
    known = depth[depth > 0]
    nearest, farthest = np.percentile(known, (2, 98)) if known.size else (1.0, 2.0)
    return color_depth(depth, float(nearest), float(farthest), _UNKNOWN)
