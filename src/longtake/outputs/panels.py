# SPDX-License-Identifier: Apache-2.0
"""The pictures that sheet and page share: the cloud from two sides, the path from above, frames beside depth."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

from longtake.outputs.colormap import color_depth
from longtake.outputs.display import Display
from longtake.outputs.lines import draw_floor, draw_path
from longtake.outputs.picture import draw_cloud, eye_from_above, eye_from_side
from longtake.outputs.thumbs import Thumb

SIZE = (1100, 760)
_GRID = (128, 128, 136, 70)
_CASING = (255, 255, 255, 225)
_UNKNOWN = (232, 230, 224)


@dataclass(frozen=True, slots=True)
class Panels:
    """Pictures on transparent ground, so that they sit on light and on dark pages."""

    sides: tuple[Image.Image, Image.Image]  # RGBA
    above: Image.Image  # RGBA
    scale: float  # pixels per unit in `above`
    square: float  # side of a square of its grid in units


def draw_panels(display: Display) -> Panels:
    """Draw the three pictures of a take. The eye stands off the corners: low sun angles show depth best."""
    sides = []
    for azimuth in (-62, 118):
        eye = eye_from_side(display, azimuth, 36, SIZE)
        picture, _ = draw_floor(display, eye, _GRID)
        picture.alpha_composite(draw_cloud(display, eye))
        picture.alpha_composite(draw_path(display, eye, cameras=9, casing=_CASING))
        sides.append(picture)
    eye = eye_from_above(display, SIZE)
    above, square = draw_floor(display, eye, _GRID)
    cloud = draw_cloud(display, eye)
    cloud.putalpha(cloud.getchannel("A").point([value * 0.55 for value in range(256)]))  # a quiet floor plan
    above.alpha_composite(cloud)
    above.alpha_composite(draw_path(display, eye, width=4, cameras=9, casing=_CASING))
    return Panels((sides[0], sides[1]), above, eye.scale, square)


@dataclass(frozen=True, slots=True)
class Strip:
    """Frames and their depth, all depths on one scale."""

    pairs: tuple[tuple[Image.Image, Image.Image, Thumb], ...]
    nearest: float  # where the colours begin, in units
    farthest: float  # where they end


def draw_strip(thumbs: list[Thumb]) -> Strip:
    """Return each frame beside its coloured depth; the ramp spans 2 to 98 % of the known depths."""
    known = np.concatenate([thumb.depth[thumb.depth > 0] for thumb in thumbs] or [np.zeros(0)])
    nearest, farthest = np.percentile(known, (2, 98)).tolist() if len(known) else (1.0, 2.0)
    pairs = tuple(
        (Image.fromarray(t.image), Image.fromarray(color_depth(t.depth, nearest, farthest, _UNKNOWN)), t)
        for t in thumbs
    )
    return Strip(pairs, nearest, farthest)
