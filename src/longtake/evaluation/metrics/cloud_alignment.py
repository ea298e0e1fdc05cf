# SPDX-License-Identifier: Apache-2.0
"""How the published programs bring a predicted cloud to the true one before ICP: a shift in z, a scale, and a crop.

Maps of points are (T, H, W, 3), all frames of a sequence, in the first camera's frame of each side. No rotation is
fitted here. All medians are lower ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from longtake.evaluation.metrics.depth_published import lower_median

CROP = 224  # pixels: the side of the central square that is compared
SCALE_RANGE = (1e-3, 1e3)  # of the predicted size


@dataclass(frozen=True, slots=True)
class CloudAlignment:
    """What was fitted: prediction -> (prediction - (0, 0, pred_shift)) gt_scale / pred_scale + (0, 0, gt_shift)."""

    gt_shift: float  # median z of the true points
    pred_shift: float  # median z of the predicted points, on the same pixels
    gt_scale: float  # median distance of the true points from their median centre
    pred_scale: float

    @property
    def multiplier(self) -> float:
        """What the predicted points are multiplied by."""
        return self.gt_scale / self.pred_scale

    def predicted(self, points: np.ndarray) -> np.ndarray:
        """Move predicted points (..., 3) to where they are compared."""
        moved = (np.asarray(points, np.float64) - [0, 0, self.pred_shift]) * self.multiplier
        return moved + [0, 0, self.gt_shift]


def fit_clouds(predicted: np.ndarray, true: np.ndarray) -> CloudAlignment:
    """Fit shift and scale to points (n, 3) of the same pixels: those with a true depth, of all frames, uncropped."""
    p, g = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    p_shift, g_shift = lower_median(p[:, 2]), lower_median(g[:, 2])
    p_size, g_size = _size(p - [0, 0, p_shift]), _size(g - [0, 0, g_shift])
    return CloudAlignment(g_shift, p_shift, g_size, float(np.clip(p_size, *SCALE_RANGE)))


def central_crop(height: int, width: int, side: int = CROP) -> tuple[slice, slice]:
    """Return the (rows, columns) of the central square; all of an axis that is shorter.

    The published programs slice blindly, so that axes of 76 to 223 pixels keep a strip at their end only; nobody means
    that, and no published table has such sizes.
    """

    def middle(n: int) -> slice:
        return slice(None) if n < side else slice(n // 2 - side // 2, n // 2 - side // 2 + side)

    return middle(height), middle(width)


def _size(points: np.ndarray) -> float:
    centre = [lower_median(points[:, axis]) for axis in range(3)]
    return lower_median(np.linalg.norm(points - centre, axis=1))
