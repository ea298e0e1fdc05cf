# SPDX-License-Identifier: Apache-2.0
"""Figures of video depth: metric, one scale, scale and shift, by exact fits and by the published ones."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from longtake.evaluation.benchmark.gathered import FrameResult, thinned
from longtake.evaluation.benchmark.path_score import Scored
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.evaluation.figures import weighted_median
from longtake.evaluation.metrics import depth_published as published
from longtake.evaluation.metrics.depth_errors import depth_errors
from longtake.evaluation.metrics.depth_exact import exact_scale, exact_scale_shift

FITS = ("metric", "scale", "scale_shift", "scale_published", "scale_shift_published")
NAMES = (*(f"{figure}_{fit}" for fit in FITS for figure in ("absrel", "delta1")), "absrel_constant")


def score_depth(frames: Sequence[FrameResult], protocol: Protocol) -> Scored:
    """Return (figures, reasons) over the valid pixels of all frames together.

    `scale` and `scale_shift` are the exact minimisers of AbsRel (weighted medians), `_published` the fits behind the
    published tables. Predictions that are not positive numbers are left out of the fits and scored as depth 0.
    """
    p, g = (
        np.concatenate([frame.depth[name] for frame in frames] or [np.zeros(0)]).astype(np.float64)
        for name in ("predicted", "true")
    )
    p, g = thinned((p, g), protocol.depth_pixels)
    usable = np.isfinite(p) & (p > 0)
    counts = {
        "depth_pixels": len(g),
        "depth_pixels_lost": int((~usable).sum()),
        "depth_pixels_cropped": sum(frame.cropped for frame in frames),
    }
    if not len(g):
        return counts | dict.fromkeys(NAMES), dict.fromkeys(NAMES, "no pixel has a valid true depth")
    constant = weighted_median(g, 1 / g)
    figures: dict[str, float | int | None] = {**counts, "absrel_constant": float((np.abs(constant - g) / g).mean())}
    if not usable.any():
        figures |= {name: 0.0 if name.startswith("delta") else 1.0 for name in NAMES if name != "absrel_constant"}
        return figures, dict.fromkeys(NAMES[:-1], "no predicted depth is a positive number: scored as depth 0")
    good, true = p[usable], g[usable]
    few, few_true = thinned((good, true), protocol.fit_pixels)
    fits = {
        "metric": (1.0, 0.0),
        "scale": (exact_scale(good, true, 1 / true), 0.0),
        "scale_shift": exact_scale_shift(few, few_true, 1 / few_true),
        "scale_published": (published.scale_irls(good, true), 0.0),
        "scale_shift_published": published.scale_shift_adam(few, few_true),
    }
    for name, (s, t) in fits.items():
        errors = depth_errors(np.where(usable, s * np.where(usable, p, 0.0) + t, 0.0), g, protocol.depth_limits[1])
        figures |= {f"absrel_{name}": errors.abs_rel, f"delta1_{name}": errors.delta1, f"fit_{name}": s}
        figures |= {f"rmse_{name}": errors.rmse} | ({f"shift_{name}": t} if t else {})
    return figures, {}
