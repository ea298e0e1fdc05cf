# SPDX-License-Identifier: Apache-2.0
"""The focal length that a photo's EXIF tells (CIPA DC-008, Exif 2.32): a lens without distortion, centre in the middle.

First choice: FocalLength with the pixels a millimetre of the focal plane. Else FocalLengthIn35mmFilm, which compares
diagonals: a 35 mm frame's is 43.27 mm. Both are rounded by the camera's maker, to a few percent at worst.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image

from longtake.geometry.camera import camera_matrix
from longtake.geometry.lens import Lens

_DIAGONAL = math.hypot(36.0, 24.0)  # of 35 mm film, in millimetres
_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 0.001}  # by FocalPlaneResolutionUnit
_SANE = (0.2, 20.0)  # focal length over the longer side: from a 136 degree view to a 3 degree one


def exif_lens(path: Path) -> Lens | None:
    """Return the lens of a photo in pixels of the upright picture; None where its EXIF tells no focal length."""
    try:
        with Image.open(path) as image:
            exif = image.getexif()
            tags = {**exif, **exif.get_ifd(ExifTags.IFD.Exif)}
            width, height = image.size
            turned = exif.get(ExifTags.Base.Orientation, 1) in (5, 6, 7, 8)
    except Exception:  # damaged EXIF tells nothing; the picture is judged when it is read
        return None
    longer = max(width, height)
    for focal in (_focal_from_plane(tags, longer), _focal_from_film(tags, math.hypot(width, height))):
        if focal is not None and _SANE[0] < focal / longer < _SANE[1]:
            if turned:
                width, height = height, width
            return Lens(camera_matrix(focal, focal, (width - 1) / 2, (height - 1) / 2), size=(width, height))
    return None


def _focal_from_plane(tags: Mapping[int, Any], longer: int) -> float | None:
    """Pixels of the focal length by the density of the sensor, also where the picture was made smaller since."""
    millimetres, density = _number(tags, ExifTags.Base.FocalLength), _number(tags, ExifTags.Base.FocalPlaneXResolution)
    unit = _MILLIMETRES.get(int(_number(tags, ExifTags.Base.FocalPlaneResolutionUnit) or 2))
    if millimetres is None or density is None or unit is None:
        return None
    taken = max(
        _number(tags, ExifTags.Base.ExifImageWidth) or longer, _number(tags, ExifTags.Base.ExifImageHeight) or 0
    )
    return millimetres * density / unit * longer / taken


def _focal_from_film(tags: Mapping[int, Any], diagonal: float) -> float | None:
    film = _number(tags, ExifTags.Base.FocalLengthIn35mmFilm)
    return None if film is None else film * diagonal / _DIAGONAL


def _number(tags: Mapping[int, Any], tag: int) -> float | None:
    """Return a positive finite number; 0 and 0/0 mean unknown."""
    try:
        value = float(tags[tag])
    except (KeyError, TypeError, ValueError, ZeroDivisionError):
        return None
    return value if math.isfinite(value) and value > 0 else None
