# SPDX-License-Identifier: Apache-2.0
"""The true optima of the absolute-error fits: what a number that has to be the same every time is made with.

All minimise sum w |s p (+ t) - g|. Weights 1 give the least absolute error, weights 1 / g the least AbsRel.
"""

from __future__ import annotations

import numpy as np

from longtake.evaluation.figures import weighted_median

BISECTIONS = 200  # more than a double has bits between its smallest and its largest power


def exact_scale(p: np.ndarray, g: np.ndarray, weights: np.ndarray | float = 1.0) -> float:
    """Return the s that minimises sum w |s p - g|: the median of g / p, weighted by w |p|.

    Predictions of zero cannot be scaled and do not matter. NaN where all are zero.
    """
    p, g = np.asarray(p, np.float64).ravel(), np.asarray(g, np.float64).ravel()
    w = np.broadcast_to(np.asarray(weights, np.float64), p.shape)
    used = p != 0
    return weighted_median(g[used] / p[used], w[used] * np.abs(p[used]))


def exact_scale_shift(p: np.ndarray, g: np.ndarray, weights: np.ndarray | float = 1.0) -> tuple[float, float]:
    """Return the (s, t) that minimise sum w |s p + t - g|.

    For one s the best t is the weighted median of g - s p, and what remains is convex in s: its slope is found in
    closed form and its sign change by bisection, to the last bit. Where all p are equal s is 0 and t the median.
    """
    p, g = np.asarray(p, np.float64).ravel(), np.asarray(g, np.float64).ravel()
    w = np.broadcast_to(np.asarray(weights, np.float64), p.shape)
    if not len(p) or np.ptp(p) == 0:
        return 0.0, weighted_median(g, w)
    low, high, reach = 0.0, 0.0, max(float(np.ptp(g) / np.ptp(p)), 1e-12)
    while _slope(low, p, g, w) > 0:
        low, reach = low - reach, 2 * reach
    while _slope(high, p, g, w) < 0:
        high, reach = high + reach, 2 * reach
    for _ in range(BISECTIONS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if _slope(middle, p, g, w) < 0:
            low = middle
        else:
            high = middle
    s = min((low, high), key=lambda each: _cost(each, p, g, w))
    return s, weighted_median(g - s * p, w)


def _cost(s: float, p: np.ndarray, g: np.ndarray, w: np.ndarray) -> float:
    return float((w * np.abs(s * p + weighted_median(g - s * p, w) - g)).sum())


def _slope(s: float, p: np.ndarray, g: np.ndarray, w: np.ndarray) -> float:
    """Return a slope of min over t of the cost at s.

    Residuals of zero pull with a share in [-1, 1] of their weight, the one that balances all others: t is a minimum.
    """
    residual = s * p - g
    residual = residual + weighted_median(-residual, w)
    sign = np.sign(residual)
    zero = sign == 0
    held = float(w[zero].sum())
    share = -float((w * sign).sum()) / held if held else 0.0
    return float((w * p * np.where(zero, np.clip(share, -1, 1), sign)).sum())
