# SPDX-License-Identifier: Apache-2.0
"""The fits behind the published video-depth tables: one scale, or scale and shift, a sequence.

None of them is the optimum of what it minimises; `depth_exact` has those. `scale` is chaotic: its weights blow up at
near-zero residuals, so the order of summation alone moves the result by up to a percent. Predictions p and true depths
g are (n,), all valid pixels of all frames of a sequence.
"""

from __future__ import annotations

import numpy as np

IRLS_STEPS = 10
LEAST_SCALE = 1e-3
ADAM_STEPS = 1000
ADAM_RATE, ADAM_MEAN, ADAM_SQUARE, ADAM_EPS = 1e-4, 0.9, 0.999, 1e-8


def lower_median(values: np.ndarray) -> float:
    """Return element floor((n - 1) / 2) of the sorted values (n,): no mean of two, as torch.median has it."""
    values = np.asarray(values).ravel()
    middle = (len(values) - 1) // 2
    return float(np.partition(values, middle)[middle])


def scale_iterates(p: np.ndarray, g: np.ndarray) -> list[float]:
    """Return s_0 .. s_10 of the reweighted least squares for sum |s p - g|.

    s_0 = mean(g) / mean(p); then w = 1 / (|s p - g| + 1e-8), s = sum(w p g) / sum(w p^2).
    """
    p, g = np.asarray(p, np.float64), np.asarray(g, np.float64)
    steps = [float(g.mean() / p.mean())]
    for _ in range(IRLS_STEPS):
        w = 1 / (np.abs(steps[-1] * p - g) + 1e-8)
        steps.append(float((w * p * g).sum() / (w * p * p).sum()))
    return steps


def scale_irls(p: np.ndarray, g: np.ndarray) -> float:
    """Return the published `scale` fit: the last iterate, at least 1e-3."""
    return max(scale_iterates(p, g)[-1], LEAST_SCALE)


def scale_median(p: np.ndarray, g: np.ndarray) -> float:
    """Return med(g) / med(p), lower medians."""
    return lower_median(g) / lower_median(p)


def scale_shift_adam(p: np.ndarray, g: np.ndarray) -> tuple[float, float]:
    """Return the published `scale&shift` fit (s, t): Adam on sum |s p + t - g| from (`scale_median`, 0).

    At most 1000 steps; it stops after one that changes the loss by less than 1e-6. A step moves each number by about
    1e-4, so the result can hardly leave the start by more than 0.1: this is close to median scaling.
    """
    p, g = np.asarray(p, np.float64), np.asarray(g, np.float64)
    theta = np.array([scale_median(p, g), 0.0])
    mean, square, before = np.zeros(2), np.zeros(2), np.inf
    for step in range(1, ADAM_STEPS + 1):
        residual = theta[0] * p + theta[1] - g
        loss, sign = float(np.abs(residual).sum()), np.sign(residual)
        gradient = np.array([sign @ p, sign.sum()])
        mean = ADAM_MEAN * mean + (1 - ADAM_MEAN) * gradient
        square = ADAM_SQUARE * square + (1 - ADAM_SQUARE) * gradient**2
        corrected = np.sqrt(square / (1 - ADAM_SQUARE**step)) + ADAM_EPS
        theta = theta - ADAM_RATE * (mean / (1 - ADAM_MEAN**step)) / corrected
        if abs(loss - before) < 1e-6:
            break
        before = loss
    return float(theta[0]), float(theta[1])


def scale_shift_least_squares(p: np.ndarray, g: np.ndarray) -> tuple[float, float]:
    """Return the (s, t) that minimise sum (s p + t - g)^2."""
    p, g = np.asarray(p, np.float64), np.asarray(g, np.float64)
    centred = p - p.mean()
    power = float(centred @ centred)
    s = float(centred @ (g - g.mean()) / power) if power > 0 else 0.0
    return s, float(g.mean() - s * p.mean())
