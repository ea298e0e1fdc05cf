# SPDX-License-Identifier: Apache-2.0
"""What a batch of rooms is made of: tensors only, so that one kernel can draw all of them.

Room frame: x right, y down, z forward; the floor is y = 0, the ceiling y = -height, the room is centred in x and z.
A primitive lives in its own unit space p = local_from_room (x - centre): a box is |p|_inf <= 1, an ellipsoid |p| <= 1,
a cylinder px^2 + pz^2 <= 1 and |py| <= 1, a mesh has its triangles in |p|_inf <= 1. The room itself is the last
primitive, a box seen from inside.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

# tile, 2x2 map of face coordinates to texture (4), offset (2), log2 texels per metre, tint (3), contrast, emission,
# lattice: cells a face coordinate (2), half side of a pane in cells, brightness in and between, log2 cells a metre
FACE_FIELDS = 19
PLAIN = (0.0, 0.0, 0.5, 1.0, 1.0, -20.0)  # no lattice


@dataclass(frozen=True, slots=True)
class Scenes:
    """B rooms. P = 93 primitives: 48 boxes, 8 ellipsoids, 8 cylinders, 28 meshes, the room."""

    half: Tensor  # (B, 3) half extents of the room, metres
    centre: Tensor  # (B, P, 3) room frame
    local_from_room: Tensor  # (B, P, 3, 3) rotation and 1 / half extent
    extent: Tensor  # (B, P, 3) half extents, metres
    faces: Tensor  # (B, P, 6, 19): face = 2 axis + (positive side), fields as FACE_FIELDS says
    shine: Tensor  # (B, P) strength of the highlight
    gloss: Tensor  # (B, P) share of light that is mirrored, 0 to 1; 1 is a mirror
    floor: Tensor  # (B, 32, 32) share of the ambient light that reaches the floor, rows along z
    light_position: Tensor  # (B, 4, 3) room frame; light 0 is the strongest
    light_color: Tensor  # (B, 4, 3) linear
    light_normal: Tensor  # (B, 4, 5) the way that a lamp faces, how much it shines that way alone (0 to 1), its radius
    ambient: Tensor  # (B, 3) linear
    model: Tensor  # (B, 28) int32 number of the mesh in each slot, -1: none
    rests: Tensor  # (B, 28) int64 the mesh slot that carries each, its own where it stands by itself
    shadowed: Tensor  # (B,) 1 where lamp 0 casts shadows, else 0
    moving: Tensor | None = None  # (B, T, 2, 12) centre and local_from_room of the last two meshes in each frame

    @property
    def batch(self) -> int:
        return self.half.shape[0]
