# SPDX-License-Identifier: Apache-2.0
"""What the flags of a verb say of the camera."""

from __future__ import annotations

from typing import Any

from longtake.errors import InputError
from longtake.geometry.camera import camera_matrix
from longtake.geometry.lens import Lens


def camera_options(
    intrinsics: tuple[float, float, float, float] | None,
    distortion: tuple[float, float, float, float, float] | None,
    lens: str | None,
) -> dict[str, Any]:
    """Return `intrinsics` and `lens` as `longtake.reconstruct` takes them. Raises InputError."""
    if intrinsics is None or lens is not None:
        if distortion is not None:
            raise InputError("--distortion goes with --intrinsics FX FY CX CY; a --lens file holds its own.")
        return {"intrinsics": None if intrinsics is None else camera_matrix(*intrinsics), "lens": lens}
    known = camera_matrix(*intrinsics)
    if distortion is None:
        return {"intrinsics": known, "lens": None}
    return {"intrinsics": None, "lens": Lens(known, distortion)}
