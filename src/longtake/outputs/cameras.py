# SPDX-License-Identifier: Apache-2.0
"""Cameras as JSON: one line a frame while the take runs, one document in the end, never all frames in memory."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from longtake.errors import InputError
from longtake.files import replacing
from longtake.frame import Prediction
from longtake.outputs.manifest import writable

CONVENTIONS = {
    "camera_axes": "OpenCV: x right, y down, z forward",
    "world": "the first camera of the take",
    "world_from_cam": "4x4, row-major; maps homogeneous camera coordinates to world coordinates",
    "intrinsics": "3x3 in pixels of the model's image (size); pixel centres at integer coordinates",
    "intrinsics_original": "3x3 in pixels of the upright original frame (original_size); the same centres",
    "camera": "where the pose comes from: head (the model says it), solve (from its points), or why the solve failed",
    "tracking": "whether the frame could be followed from those before it: ok, weak or lost",
    "lens": "what was known of the camera: null, exif, or its matrix and distortion; frames of a lens with distortion "
    "were undistorted first, and every matrix and picture here is of the undistorted camera",
    "written": "mean rate, 0 to 1, at which the frame went into the memory; null where no update rule says so",
    "metres_per_unit": "metres in one unit of the take as the model guesses them, each frame for itself; at the top, "
    "their median. An estimate, by which nothing here was scaled; null where the model does not say it",
    "size": "[width, height]",
    "time": "seconds since the start of the source, or as the file of timestamps says",
    "index": "position in the source, counted before stride and start",
    "depth": "16-bit PNG in pixels of size: z = value / scale, see depth/depth.json",
    "confidence": "16-bit PNG in pixels of size: confidence = 2 ** (value / 4096)",
    "image": "JPEG in pixels of size: what the model saw",
    "cloud": "[first, count]: the frame's points in cloud.ply",
}


def pose_rows(values: np.ndarray) -> list[list[float]] | None:
    """Return rows of numbers, or None where one is not finite (JSON has no NaN)."""
    array = np.asarray(values, np.float64)
    return [[float(f"{value:.9g}") for value in row] for row in array] if np.isfinite(array).all() else None


def camera_record(prediction: Prediction, *, files: Mapping[str, str], cloud: tuple[int, int]) -> dict[str, Any]:
    """Return what cameras.json says of one frame.

    files: the frame's files by kind: depth, confidence, image. cloud: its first point and the number of its points.
    """
    height, width = prediction.depth.shape
    original = prediction.pixel_map.original_size if prediction.pixel_map else (width, height)
    return {
        "index": int(prediction.index),
        "time": round(float(prediction.time), 6),
        "name": writable(prediction.name),
        "world_from_cam": pose_rows(prediction.world_from_cam.detach().cpu().double().numpy()),
        "intrinsics": pose_rows(prediction.intrinsics.detach().cpu().double().numpy()),
        "camera": prediction.camera,
        "tracking": prediction.tracking,
        "written": _number(prediction.written),
        "metres_per_unit": _number(prediction.metric_scale),
        "size": [width, height],
        "intrinsics_original": pose_rows(prediction.intrinsics_original),
        "original_size": list(original),
        **files,
        "cloud": list(cloud),
    }


def _number(value: Tensor | None) -> float | None:
    """A number that JSON has, or None."""
    number = math.nan if value is None else float(value)
    return round(number, 6) if math.isfinite(number) else None


def read_lines(path: Path) -> Iterator[dict[str, Any]]:
    """Yield the records of a JSON-lines file; a last line cut off by a crash is left out."""
    with open(path, encoding="utf-8") as file:
        for line in file:
            try:
                record = json.loads(line)
            except ValueError:
                return
            if isinstance(record, dict):
                yield record


def assemble_cameras(
    part: Path, path: Path, *, is_metric: bool, metres_per_unit: float | None = None, lens: Any = None
) -> None:
    """Write cameras.json from the frames' lines, one frame at a time. Raises OSError.

    metres_per_unit: the estimate for the whole take. lens: what was known of the camera, in plain values.
    """
    head = {
        "format": "longtake-cameras/1",
        "conventions": CONVENTIONS,
        "unit": "metre" if is_metric else "scene unit",
        "is_metric": is_metric,
        "metres_per_unit": metres_per_unit,
        "lens": lens,
    }
    with replacing(path) as draft, open(draft, "w", encoding="utf-8") as file:
        file.write(json.dumps(head, indent=1)[:-2] + ',\n "frames": [')
        for position, record in enumerate(read_lines(part)):
            record.pop("files", None)  # kept for the manifest
            file.write(("," if position else "") + "\n  " + json.dumps(record, ensure_ascii=False))
        file.write("\n ]\n}\n")


def read_cameras(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a cameras.json written by Longtake. Raises InputError where it is not one."""
    try:
        document = json.loads(Path(path).read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{Path(path).name}: not readable as cameras.json ({error})") from error
    if not isinstance(document, dict) or not str(document.get("format", "")).startswith("longtake-cameras/"):
        raise InputError(f"{Path(path).name}: JSON, but not a cameras.json of Longtake (no longtake-cameras format)")
    return document
