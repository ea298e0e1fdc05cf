# SPDX-License-Identifier: Apache-2.0
"""The viewer's points: bounded however long the take, never none, cut exactly by time."""

from __future__ import annotations

import numpy as np
import pytest

from longtake.viewer.store import CHUNKS, COLOR_BY, Store


def fill(store: Store, frames: int, per_frame: int, seed: int = 0) -> list[np.ndarray]:
    """Offer frames of random points; return each frame's places."""
    rng, offered = np.random.default_rng(seed), []
    for frame in range(frames):
        places = rng.normal(size=(per_frame, 3)).astype(np.float32)
        offered.append(places)
        colors = rng.integers(0, 255, (per_frame, 3), dtype=np.uint8)
        store.add(places, colors, rng.uniform(1, 9, per_frame), rng.uniform(0.5, 4, per_frame), frame)
    return offered


def shown(store: Store, last: int, percent: float = 100.0) -> np.ndarray:
    style = store.style("image", percent)
    return np.concatenate([chunk.shown(style, last)[0] for chunk in store.chunks])


def test_below_its_bound_the_store_shows_every_point_up_to_a_frame() -> None:
    store = Store(10_000)
    offered = fill(store, 20, 300)
    for last in (0, 7, 19):
        np.testing.assert_array_equal(shown(store, last), np.concatenate(offered[: last + 1]))


@pytest.mark.parametrize("frames", [50, 500])
def test_the_store_stays_within_its_bound_and_spread_over_the_take(frames: int) -> None:
    store = Store(3200)
    fill(store, frames, 100)
    assert len(store) <= 3200 and len(store.chunks) <= 2 * CHUNKS
    assert len(store) > 1000 and store.offered == 100 * frames
    numbers = np.concatenate([chunk.joined()["frame"] for chunk in store.chunks])
    assert (np.diff(numbers) >= 0).all()
    counts = np.bincount(numbers, minlength=frames)
    assert counts.min() >= 1 and counts.max() <= 2 * max(counts.min(), 1) + 1, "no part of the take is thinner"


@pytest.mark.parametrize("percent", [100, 60, 10, 1])
def test_a_percentile_shows_that_share(percent: float) -> None:
    store = Store(10_000)
    fill(store, 10, 500)
    assert len(shown(store, 9, percent)) == pytest.approx(5000 * percent / 100, rel=0.02, abs=2)


def test_equal_confidence_leaves_everything() -> None:
    store = Store(1000)
    store.add(np.zeros((50, 3), np.float32), np.zeros((50, 3), np.uint8), np.ones(50), np.ones(50), 0)
    assert len(shown(store, 0, 1)) == 50


def test_colours_follow_what_was_asked_for() -> None:
    store = Store(1000)
    depth = np.linspace(1, 5, 100)
    rows = (np.zeros((100, 3), np.float32), np.full((100, 3), 7, np.uint8), depth[::-1].copy(), depth)
    for frame in range(2):
        store.add(*rows, frame)
    colors = {}
    for kind in COLOR_BY:
        style = store.style(kind, 100)
        colors[kind] = np.concatenate([chunk.shown(style, 1)[1] for chunk in store.chunks]).astype(int)
    assert (colors["image"] == 7).all()
    near_is_light = colors["depth"][:100].sum(1)
    assert (np.diff(near_is_light) <= 6).all() and near_is_light[0] > near_is_light[-1] + 300
    sure_is_light = colors["confidence"][:100].sum(1)
    assert sure_is_light[0] > sure_is_light[-1] + 300
    assert (colors["age"][:100] == colors["age"][0]).all() and (colors["age"][0] != colors["age"][150]).any()


def test_points_that_are_not_finite_are_left_out() -> None:
    store = Store(1000)
    places = np.array([[0, 0, 1], [np.nan, 0, 1], [0, np.inf, 1]], np.float32)
    store.add(places, np.zeros((3, 3), np.uint8), np.array([1, 2, 3.0]), np.ones(3), 0)
    assert len(store) == 1
