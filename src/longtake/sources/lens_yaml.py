# SPDX-License-Identifier: Apache-2.0
"""A camera in YAML: ROS's camera_info (its calibration file, or the message as `topic echo` prints it), OpenCV's
calibration file, Kalibr's camchain and EuRoC's sensor.yaml. All count pixels as we do, centres at integers.

Sources: ROS sensor_msgs/CameraInfo and camera_calibration_parsers; OpenCV's camera calibration tutorial; Kalibr's wiki.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from longtake.errors import InputError, MissingExtra
from longtake.geometry.camera import camera_matrix
from longtake.geometry.lens import Lens
from longtake.sources.lens_colmap import UNDO

# What each tool calls Brown's lens, whose numbers are in OpenCV's order.
_BROWN = ("plumb_bob", "rational_polynomial", "radtan", "radial-tangential", "none", "")


def read_yaml(path: Path, text: str) -> list[Lens]:
    """Return the lenses of a YAML file. Raises InputError; MissingExtra without PyYAML (extra `solve`)."""
    try:
        import yaml
    except ModuleNotFoundError as error:
        raise MissingExtra(f"{path}: a YAML file needs PyYAML: pip install 'longtake[solve]'") from error

    class Loader(yaml.SafeLoader):
        """Plain values only, and OpenCV's matrices as the mappings that they are."""

    def matrix(loader: Loader, node: yaml.MappingNode) -> dict[Any, Any]:
        return loader.construct_mapping(node, deep=True)

    Loader.add_constructor("tag:yaml.org,2002:opencv-matrix", matrix)
    body = text.split("\n", 1)[1] if text.startswith("%YAML:") else text  # OpenCV's first line is no YAML
    try:
        (document, *_) = [each for each in yaml.load_all(body, Loader) if each is not None] or [None]  # a topic's first
    except yaml.YAMLError as error:
        raise ValueError(f"it is no YAML: {str(error).splitlines()[0]}") from error
    if not isinstance(document, dict):
        raise ValueError("it holds no object")
    cameras = [each for name, each in document.items() if str(name).startswith("cam") and isinstance(each, dict)]
    chain = [each for each in cameras if "intrinsics" in each]  # Kalibr: cam0, cam1, ...
    return [_lens(path, each) for each in chain or [document]]


def _lens(path: Path, keys: Mapping[str, Any]) -> Lens:
    """Return the lens of one camera. Raises KeyError, ValueError, TypeError for what is missing or no number."""
    for name, known in (("camera_model", ("pinhole", "")), ("distortion_model", _BROWN)):
        model = str(keys.get(name) or "")
        if model not in known:
            raise InputError(f"{path}: {name} {model} is no lens with k1 k2 p1 p2 k3. {UNDO}")
    if "intrinsics" in keys:
        k = camera_matrix(*(float(value) for value in keys["intrinsics"]))
    else:
        k = np.array(_numbers(keys, "camera_matrix", "k", "K"), np.float64).reshape(3, 3)
        if not k.any():
            raise InputError(f"{path}: all of its matrix is 0: this camera was never calibrated.")
    named = ("distortion_coefficients", "distortion_coeffs", "d", "D")
    bent = _numbers(keys, *named) if any(name in keys for name in named) else []
    return Lens(k, tuple(bent) if any(bent) else (), _size(path, keys))


def _numbers(keys: Mapping[str, Any], *names: str) -> list[float]:
    """Return what stands under the first of these names: a list, or a matrix with its numbers as `data`."""
    found = next((keys[name] for name in names if name in keys), None)
    if found is None:
        raise KeyError(names[0])
    return [float(value) for value in (found["data"] if isinstance(found, dict) else found)]


def _size(path: Path, keys: Mapping[str, Any]) -> tuple[int, int] | None:
    for width, height in (("image_width", "image_height"), ("width", "height")):
        if width in keys and height in keys:
            size, roi = (int(keys[width]), int(keys[height])), keys.get("roi") or {}
            if (roi.get("width") or size[0], roi.get("height") or size[1]) != size:
                raise InputError(f"{path}: it is of a part of the picture (roi). Give that of the whole picture.")
            return size
    width, height = keys.get("resolution") or (0, 0)
    return (int(width), int(height)) if width else None
