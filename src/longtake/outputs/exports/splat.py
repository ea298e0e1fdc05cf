# SPDX-License-Identifier: Apache-2.0
"""A start for Gaussian splatting: one small round splat a point, in the PLY layout of Kerbl et al. (2023).

Fields: x y z, nx ny nz (zero), f_dc_0..2 (colour = 0.5 + 0.28209 f_dc), opacity (before the sigmoid), scale_0..2
(before the exponential), rot_0..3 (quaternion w x y z).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from longtake.files import replacing
from longtake.outputs.display import surface
from longtake.outputs.exports.points import Points
from longtake.outputs.take import Take

_SH0 = 0.28209479177387814  # the constant spherical harmonic, 1 / (2 sqrt(pi))
_OPACITY = 0.1  # as the paper's program starts
_NAMES = ["x", "y", "z", "nx", "ny", "nz", "f_dc_0", "f_dc_1", "f_dc_2", "opacity", "scale_0", "scale_1", "scale_2",
          "rot_0", "rot_1", "rot_2", "rot_3"]  # fmt: skip


def write_splat(path: Path, take: Take, points: Points) -> None:
    """Write the splats; a splat's standard deviation is half the typical distance to the next point. Raises OSError."""
    centres = np.zeros((len(take.frames), 3))
    for frame in take.posed:
        assert frame.world_from_cam is not None
        centres[frame.number] = frame.world_from_cam[:3, 3]
    _, spacing = surface(points.places.astype(np.float64), centres[points.frame])
    rows = np.zeros((len(points), len(_NAMES)), "<f4")
    rows[:, 0:3] = points.places
    rows[:, 6:9] = (points.colors / 255 - 0.5) / _SH0
    rows[:, 9] = np.log(_OPACITY / (1 - _OPACITY))
    rows[:, 10:13] = np.log(np.maximum(spacing / 2, 1e-9))[:, None]
    rows[:, 13] = 1
    fields = "".join(f"property float {name}\n" for name in _NAMES)
    header = f"ply\nformat binary_little_endian 1.0\nelement vertex {len(rows)}\n{fields}end_header\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as draft, open(draft, "wb") as file:
        file.write(header.encode())
        file.write(rows.tobytes())
