# SPDX-License-Identifier: Apache-2.0
"""Sparsification against sorting by hand, its bounds, and what ties and unusable pixels do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from evaluation_oracle import Oracle, write_take

from longtake.evaluation.folder import TakeFolder
from longtake.evaluation.sparsification import DROPS, Pixels, ause, curves, depth_error, gather, gather_pixels, sparsify
from longtake.frame import Frame, Prediction

RNG = np.random.default_rng(0)


def _pixels(n: int = 500) -> Pixels:
    """Noise that grows with a number that the confidence knows; depth itself says nothing of it."""
    true, noise = RNG.uniform(1, 9, n), RNG.uniform(0, 1, n)
    return Pixels(true * np.exp(0.5 * noise * RNG.standard_normal(n)) * 0.1, true, 1 + 1 / (0.1 + noise))


def test_dropping_is_what_sorting_by_hand_says() -> None:
    error, sure = RNG.random(40), RNG.random(40)
    order = np.argsort(-sure)
    for drop in (0.0, 0.25, 0.5, 0.9):
        left = order[: round(40 * (1 - drop))]
        assert sparsify(error, sure, np.array([drop]))[0] == pytest.approx(error[left].mean())
    assert sparsify(error, sure, np.array([1.0]))[0] == error[order[0]], "a pixel is always left"


def test_equally_sure_pixels_are_dropped_in_no_order() -> None:
    error = RNG.random(60)
    assert np.allclose(sparsify(error, np.ones(60)), error.mean())
    sure = np.repeat([3.0, 2.0, 1.0], 20)
    shuffled = np.concatenate([RNG.permutation(part) for part in error.reshape(3, 20)])
    assert np.allclose(sparsify(error, sure), sparsify(shuffled, sure))


def test_the_oracle_is_the_lower_bound_and_its_reverse_the_upper() -> None:
    error = RNG.random(200)
    low, high = sparsify(error, -error), sparsify(error, error)
    for _ in range(5):
        curve = sparsify(error, RNG.random(200))
        assert (curve >= low - 1e-12).all()
        assert (curve <= high + 1e-12).all()
    assert ause(low, low) == 0
    assert ause(np.full(100, error.mean()), low) > 0


def test_a_confidence_that_knows_the_noise_wins_and_noise_does_not() -> None:
    takes = [_pixels() for _ in range(8)]
    knows = gather([curves(take) for take in takes])
    assert knows.ause["oracle"] == 0 < knows.ause["confidence"] < knows.ause["random"]
    assert knows.better["random"] == knows.better["1/depth"] == 1
    blind = gather([curves(replace(take, confidence=RNG.random(500))) for take in takes])
    assert blind.ause["confidence"] == pytest.approx(blind.ause["random"], rel=0.15)
    against = gather([curves(replace(take, confidence=1 / take.confidence)) for take in takes])
    assert against.ause["confidence"] > against.ause["random"]


def test_the_order_alone_counts() -> None:
    take = _pixels()
    squared = replace(take, confidence=take.confidence**3, predicted=take.predicted * 40)
    assert np.allclose(curves(take)["confidence"], curves(squared)["confidence"])


def test_unusable_predictions_are_errors_of_one() -> None:
    take = _pixels(50)
    broken = take.predicted.copy()
    broken[:3] = (np.nan, 0, -1)
    error = depth_error(replace(take, predicted=broken))
    assert (error[:3] == 1).all()
    sure = take.confidence.copy()
    sure[:3] = np.nan
    found = curves(replace(take, predicted=broken, confidence=sure))
    assert all(np.isfinite(curve).all() for curve in found.values())
    assert found["confidence"][0] == pytest.approx(error.mean())
    assert found["confidence"][50] < 1


def test_depth_and_confidence_are_read_at_the_same_pixels(tmp_path: Path) -> None:
    """An oracle that is wrong on the right quarter and says so."""
    take = TakeFolder(write_take(tmp_path / "take", frames=4, depth_every=2))

    class Unsure(Oracle):
        def look(self, frame: Frame) -> Prediction:
            p = super().look(frame)
            right = torch.arange(p.depth.shape[1]) >= 3 * p.depth.shape[1] // 4
            worse = 1 + 0.5 * (torch.arange(p.depth.shape[0]) % 2)[:, None]
            return replace(
                p,
                depth=torch.where(right, p.depth * worse, p.depth),
                confidence=torch.where(right, 1.1, 9.0).expand_as(p.depth),
            )

    pixels = gather_pixels(Unsure(take, 1.0, 0.5), take)
    assert pixels.true.shape == pixels.confidence.shape == (2 * 21 * 32,)
    found = curves(pixels)
    assert found["confidence"][0] > 0.05
    assert found["confidence"][60] < 0.2 * found["confidence"][0]
    assert len(DROPS) == len(found["oracle"])
