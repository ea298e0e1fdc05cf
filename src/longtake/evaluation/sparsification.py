# SPDX-License-Identifier: Apache-2.0
"""Whether confidence means something: drop the least sure pixels and see what error the rest has.

The sparsification curve and the area between it and the oracle's (AUSE) follow Ilg et al. 2018, arXiv 1802.07095,
section 4.2. All in float64 numpy, without torch.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from longtake.evaluation.figures import best_scale
from longtake.evaluation.folder import TakeFolder, size_ratio
from longtake.evaluation.run import Reconstructor
from longtake.evaluation.sampling import sample_depth

DROPS = np.arange(100) / 100  # shares of the pixels that are dropped
ORDERS = ("confidence", "1/depth", "random", "oracle")


@dataclass(frozen=True, slots=True)
class Pixels:
    """All pixels of a take that have a true depth and lie inside the model's crop, (N,) each."""

    predicted: np.ndarray  # in the model's units
    true: np.ndarray  # metres, > 0
    confidence: np.ndarray  # larger is surer


def gather_pixels(model: Reconstructor, take: TakeFolder, rule: str = "overwrite") -> Pixels:
    """Run a model over a take and read depth and confidence at the true pixels, both as `sample_depth` does."""
    streams = model.streams(1, rule=rule, reset_every=None)
    kept: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []
    for t in range(len(take)):
        frame, true = take.frame(t), take.depth(t)
        (prediction,) = streams.step([frame])
        if true is None or prediction is None:
            continue
        ratio = size_ratio((frame.image.shape[1], frame.image.shape[0]), (true.shape[1], true.shape[0]), take.path)
        read = [
            sample_depth(x.detach().cpu().double().numpy(), prediction.pixel_map, true.shape, ratio)
            for x in (prediction.depth, prediction.confidence)
        ]
        known = (true > 0) & read[0][1]
        kept.append((read[0][0][known], true[known], read[1][0][known]))
    return Pixels(*(np.concatenate(parts) for parts in zip(*kept, strict=True)))


def depth_error(pixels: Pixels) -> np.ndarray:
    """Return |s z - g| / g (N,) with the take's one best scale; 1 where the prediction cannot be used."""
    z, g = pixels.predicted, pixels.true
    usable = np.isfinite(z) & (z > 0)
    error = np.ones_like(g)
    error[usable] = np.abs(best_scale(z[usable], g[usable]) * z[usable] / g[usable] - 1)
    return error


def sparsify(error: np.ndarray, sureness: np.ndarray, drops: np.ndarray = DROPS) -> np.ndarray:
    """Return the mean error of what is left when the least sure share of the pixels is dropped, for each of `drops`.

    error, sureness: (N,), N > 0. Pixels that are equally sure are dropped in no order: each counts as their mean. The
    rest always keeps a pixel.
    """
    _, group = np.unique(-np.asarray(sureness, np.float64), return_inverse=True)  # surest first
    sizes = np.bincount(group)
    level = (np.bincount(group, error) / sizes)[np.sort(group)]
    total = np.cumsum(level)
    left = np.maximum(1, np.rint((1 - np.asarray(drops)) * len(level)).astype(int))
    return total[left - 1] / left


def curves(pixels: Pixels) -> dict[str, np.ndarray]:
    """Return the sparsification curve (100,) of a take under each of ORDERS; dropping at random changes nothing."""
    error = depth_error(pixels)
    with np.errstate(divide="ignore", invalid="ignore"):
        near = np.where(pixels.predicted > 0, 1 / pixels.predicted, 0.0)
    sure = {"confidence": np.nan_to_num(pixels.confidence), "1/depth": np.nan_to_num(near), "oracle": -error}
    found = {name: sparsify(error, values) for name, values in sure.items()}
    return {name: found.get(name, np.full(len(DROPS), error.mean())) for name in ORDERS}


def ause(curve: np.ndarray, oracle: np.ndarray) -> float:
    """Return the mean gap between a curve and the oracle's, over the error of all pixels: 0 is perfect."""
    return float((curve - oracle).mean() / curve[0]) if curve[0] > 0 else 0.0


@dataclass(frozen=True, slots=True)
class Sparsification:
    """Curves and areas of a set of takes."""

    curves: Mapping[str, np.ndarray]  # by order: the mean over takes of their curves
    ause: Mapping[str, float]  # by order: the mean over takes of their AUSE
    better: Mapping[str, float]  # by order: share of the takes whose AUSE by confidence is smaller


def gather(takes: Sequence[Mapping[str, np.ndarray]]) -> Sparsification:
    """Gather the curves of takes into one."""
    areas = {name: np.array([ause(take[name], take["oracle"]) for take in takes]) for name in ORDERS}
    return Sparsification(
        {name: np.mean([take[name] for take in takes], axis=0) for name in ORDERS},
        {name: float(area.mean()) for name, area in areas.items()},
        {name: float((areas["confidence"] < area).mean()) for name, area in areas.items()},
    )
