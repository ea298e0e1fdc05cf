# SPDX-License-Identifier: Apache-2.0
"""COLMAP's cameras as lenses."""

from __future__ import annotations

from pathlib import Path

from longtake.errors import InputError
from longtake.geometry.lens import Lens, brown
from longtake.sources.colmap_cameras import Camera

_BROWN = {  # what the numbers behind the centre are, of models that are Brown's
    "SIMPLE_PINHOLE": (),
    "PINHOLE": (),
    "SIMPLE_RADIAL": ("k1",),
    "RADIAL": ("k1", "k2"),
    "OPENCV": ("k1", "k2", "p1", "p2"),
    "FULL_OPENCV": ("k1", "k2", "p1", "p2", "k3", "k4", "k5", "k6"),
}
UNDO = "Undistort the frames first with the tool that this camera is from."


def lens_of(path: Path, camera: Camera) -> Lens:
    """Return a camera's lens. Raises InputError for a model that is not Brown's."""
    if camera.model not in _BROWN:
        raise InputError(f"{path}: camera model {camera.model}; {', '.join(_BROWN)} can be used. {UNDO}")
    distortion = brown(dict(zip(_BROWN[camera.model], camera.distortion, strict=True)))
    assert camera.intrinsics is not None
    return Lens(camera.intrinsics, distortion, camera.size)
