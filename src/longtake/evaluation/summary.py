# SPDX-License-Identifier: Apache-2.0
"""One row for many takes: each figure is gathered over takes in the way that its definition says."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np

from longtake.evaluation.figures import DepthFigures, PoseFigures


@dataclass(frozen=True, slots=True)
class TakeFigures:
    """All figures of one take."""

    depth: DepthFigures
    pose: PoseFigures
    focal_error: float  # percent
    by_length: dict[int, PoseFigures] = field(default_factory=dict)  # of the first 16, 32, ... frames


@dataclass(frozen=True, slots=True)
class Summary:
    """Figures of a set of takes; angles in degrees, shares in 0 to 1. NaN where no take defines the figure."""

    takes: int
    frames: int
    abs_rel: float  # mean over takes
    const: float  # mean over takes
    delta: float  # mean over takes
    rotation: float  # mean over takes
    identity: float  # mean over takes
    rotation_ratio: float  # rotation / identity: the ratio of the two means
    direction: float  # median over takes of the takes' medians
    ate_over_spread: float  # median over takes
    ate_over_spread_mean: float
    focal_error: float  # median over takes, percent
    unusable_pixels: int
    unusable_poses: int
    without_depth: int  # takes left out of the depth figures: no true depth
    without_motion: int  # takes left out of a path figure: the true camera stands still


def summarize(takes: Sequence[TakeFigures]) -> Summary:
    """Gather takes into one row. A figure that a take does not define (no depth, no motion) is left out and counted."""
    depth, pose = [take.depth for take in takes], [take.pose for take in takes]
    rotation, identity = _gather(np.mean, [p.rotation for p in pose]), _gather(np.mean, [p.identity for p in pose])
    return Summary(
        takes=len(takes),
        frames=sum(p.frames for p in pose),
        abs_rel=_gather(np.mean, [d.abs_rel for d in depth]),
        const=_gather(np.mean, [d.const for d in depth]),
        delta=_gather(np.mean, [d.delta for d in depth]),
        rotation=rotation,
        identity=identity,
        rotation_ratio=rotation / identity if identity > 0 else float("nan"),
        direction=_gather(np.median, [p.direction for p in pose]),
        ate_over_spread=_gather(np.median, [p.ate_over_spread for p in pose]),
        ate_over_spread_mean=_gather(np.mean, [p.ate_over_spread for p in pose]),
        focal_error=_gather(np.median, [take.focal_error for take in takes]),
        unusable_pixels=sum(d.unusable for d in depth),
        unusable_poses=sum(p.unusable for p in pose),
        without_depth=sum(d.pixels == 0 for d in depth),
        without_motion=sum(np.isnan(p.ate_over_spread) or np.isnan(p.direction) for p in pose),
    )


def summarize_by_length(takes: Sequence[TakeFigures]) -> dict[int, Summary]:
    """Gather pose figures of the prefixes of each length; a length counts only takes that reach it."""
    lengths = sorted({length for take in takes for length in take.by_length})
    return {
        n: summarize([TakeFigures(_NO_DEPTH, take.by_length[n], float("nan")) for take in takes if n in take.by_length])
        for n in lengths
    }


_NAN = float("nan")
_NO_DEPTH = DepthFigures(_NAN, _NAN, _NAN, _NAN, 0, 0)  # depth is scored on whole takes only


def _gather(how: Callable[[np.ndarray], np.floating], values: Sequence[float]) -> float:
    known = np.array(values, np.float64)
    known = known[~np.isnan(known)]
    return float(how(known)) if known.size else _NAN
