# SPDX-License-Identifier: Apache-2.0
"""Errors of depth on the valid pixels of a sequence, and what the published programs count as valid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

DELTA = 1.25
FLOOR = 1e-5  # of the aligned prediction, for logarithms and ratios only


@dataclass(frozen=True, slots=True)
class DepthErrors:
    """All zero where there is no valid pixel, as the published programs print it: see `valid_pixels`."""

    abs_rel: float  # mean |a - g| / g
    sq_rel: float  # mean (a - g)^2 / g
    rmse: float  # root of mean (a - g)^2
    log_rmse: float  # root of mean (ln a - ln g)^2
    delta1: float  # share with max(a / g, g / a) < 1.25
    delta2: float  # < 1.25^2
    delta3: float  # < 1.25^3
    valid_pixels: int


def valid_pixels(true: np.ndarray, max_depth: float | None = None) -> np.ndarray:
    """Return a mask of true depths > 0 and, where a limit is given, < max_depth; what is not finite is not valid."""
    mask = np.isfinite(true) & (true > 0)
    return mask if max_depth is None else mask & (true < max_depth)


def depth_errors(aligned: np.ndarray, true: np.ndarray, clip: float | None = None) -> DepthErrors:
    """Compare aligned predictions (n,) with true depths (n,), all valid; `clip` caps the predictions first."""
    a, g = np.asarray(aligned, np.float64).ravel(), np.asarray(true, np.float64).ravel()
    if a.shape != g.shape:
        raise ValueError(f"aligned and true depth must be of one shape, got {a.shape} and {g.shape}")
    if not len(g):
        return DepthErrors(0, 0, 0, 0, 0, 0, 0, 0)
    if clip is not None:
        a = np.minimum(a, clip)
    off = a - g
    positive = np.maximum(a, FLOOR)
    ratio = np.maximum(positive / g, g / positive)
    return DepthErrors(
        abs_rel=float((np.abs(off) / g).mean()),
        sq_rel=float((off**2 / g).mean()),
        rmse=float(np.sqrt((off**2).mean())),
        log_rmse=float(np.sqrt(((np.log(positive) - np.log(g)) ** 2).mean())),
        delta1=float((ratio < DELTA).mean()),
        delta2=float((ratio < DELTA**2).mean()),
        delta3=float((ratio < DELTA**3).mean()),
        valid_pixels=len(g),
    )


def pooled(errors: list[DepthErrors]) -> dict[str, float]:
    """Return the data set's figures: each the mean over sequences, weighted by valid pixels; empty if there is none."""
    weights = np.array([e.valid_pixels for e in errors], np.float64)
    if not weights.sum():
        return {}
    names = [name for name in DepthErrors.__slots__ if name != "valid_pixels"]
    return {name: float(np.average([getattr(e, name) for e in errors], weights=weights)) for name in names}
