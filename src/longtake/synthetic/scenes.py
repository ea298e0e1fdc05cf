# SPDX-License-Identifier: Apache-2.0
"""What a batch of rooms is made of: tensors only, so that one kernel can draw all of them.

Room frame: x right, y down, z forward; the floor is y = 0, the ceiling y = -height, the room is centred in x and z.
A primitive lives in its own unit space p = local_from_room (x - centre): a box is |p|_inf <= 1, an ellipsoid |p| <= 1,
a cylinder px^2 + pz^2 <= 1 and |py| <= 1. The room itself is the last primitive, a box seen from inside.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# tile, 2x2 map of face coordinates to texture (4), offset (2), log2 texels per metre, tint (3), contrast, emission
FACE_FIELDS = 13


@dataclass(frozen=True, slots=True)
class Scenes:
    """B rooms. P = 65 primitives: 48 boxes, 8 ellipsoids, 8 cylinders, the room."""

    half: Tensor  # (B, 3) half extents of the room, metres
    centre: Tensor  # (B, P, 3) room frame
    local_from_room: Tensor  # (B, P, 3, 3) rotation and 1 / half extent
    extent: Tensor  # (B, P, 3) half extents, metres
    faces: Tensor  # (B, P, 6, 13): face = 2 axis + (positive side), fields as FACE_FIELDS says
    shine: Tensor  # (B, P) strength of the highlight
    light_position: Tensor  # (B, 4, 3) room frame; light 0 is the strongest
    light_color: Tensor  # (B, 4, 3) linear
    ambient: Tensor  # (B, 3) linear

    @property
    def batch(self) -> int:
        return self.half.shape[0]
