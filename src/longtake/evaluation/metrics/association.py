# SPDX-License-Identifier: Apache-2.0
"""Which predicted pose is compared with which true one."""

from __future__ import annotations

import numpy as np

from longtake.errors import InputError

TOLERANCE = 0.01  # seconds


def associate(predicted: np.ndarray, true: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Return (n, 2) integer pairs (predicted index, true index) for time stamps (p,) and (g,) in seconds.

    As the published programs do: trajectories of equal length are matched by index, whatever their stamps say; else by
    time, see `associate_by_time`. Raises InputError where nothing matches.
    """
    p, g = np.asarray(predicted, np.float64).ravel(), np.asarray(true, np.float64).ravel()
    if len(p) == len(g) and len(p):
        return np.stack([np.arange(len(p))] * 2, -1)
    return associate_by_time(p, g, tolerance)


def associate_by_time(predicted: np.ndarray, true: np.ndarray, tolerance: float = TOLERANCE) -> np.ndarray:
    """Return (n, 2) pairs: each pose of the shorter trajectory and the nearest in time of the longer, if near enough.

    The prediction counts as the shorter one where both are equally long. A pose of the longer one may be used twice; of
    two equally near ones the first is taken. Raises InputError where nothing matches.
    """
    p, g = np.asarray(predicted, np.float64).ravel(), np.asarray(true, np.float64).ravel()
    swap = len(p) > len(g)
    short, long = (g, p) if swap else (p, g)
    nearest = np.array([np.argmin(np.abs(long - t)) for t in short], np.intp) if len(long) else np.zeros(0, np.intp)
    kept = np.abs(long[nearest] - short[: len(nearest)]) <= tolerance
    pairs = np.stack([np.arange(len(nearest)), nearest], -1)[kept]
    if not len(pairs):
        raise InputError(
            f"no predicted pose lies within {tolerance:g} s of a true one ({len(p)} predicted, {len(g)} true): check "
            "that both clocks are the same, or give one pose for each true one."
        )
    return pairs[:, ::-1] if swap else pairs
