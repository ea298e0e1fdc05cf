# SPDX-License-Identifier: Apache-2.0
"""Which pixels become points, and which frames are kept for the report: properties for any take."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from take_maker import prediction

from longtake.outputs.pick import pick_pixels, scramble
from longtake.outputs.spread import Spread


@settings(deadline=None, max_examples=80)
@given(
    seed=st.integers(0, 999),
    share=st.floats(1, 100),
    budget=st.integers(0, 500),
    salt=st.integers(0, 10**6),
    holes=st.floats(0, 1),
)
def test_the_surest_finite_pixels(seed: int, share: float, budget: int, salt: int, holes: float) -> None:
    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 20, 2)
    confidence = torch.from_numpy(rng.choice([1.0, 1.5, 2.0, 7.0], (height, width)) + rng.random())
    points = torch.from_numpy(rng.normal(size=(height, width, 3)))
    points[torch.from_numpy(rng.random((height, width)) < holes)] = torch.nan
    confidence[torch.from_numpy(rng.random((height, width)) < holes / 4)] = torch.inf
    frame = prediction(0, points=points, confidence=confidence)
    picked = pick_pixels(frame, keep_percentile=share, budget=budget, salt=salt)
    flat = confidence.reshape(-1)
    usable = torch.isfinite(flat) & torch.isfinite(points.reshape(-1, 3)).all(-1)
    assert usable[picked].all() and (picked.diff() > 0).all() and len(picked) <= budget
    every = pick_pixels(frame, keep_percentile=share, budget=10**6, salt=salt)
    assert len(picked) == min(budget, len(every)) and set(picked.tolist()) <= set(every.tolist())
    left_out = usable.clone()
    left_out[every] = False
    if len(every):
        assert len(every) >= int(int(usable.sum()) * share / 100)  # at least the share; ties stay
        assert not left_out.any() or flat[left_out].max() < flat[every].min()
    else:
        assert not usable.any()


def test_neighbouring_frames_fill_each_others_gaps() -> None:
    frame = prediction(0)
    first, again, second = (pick_pixels(frame, keep_percentile=100, budget=100, salt=salt) for salt in (1, 1, 2))
    assert torch.equal(first, again)
    assert len(set(first.tolist()) & set(second.tolist())) < 40  # of 768 pixels; 13 by chance


def test_the_shuffle_is_fair_and_the_same_everywhere() -> None:
    mixed = scramble(torch.arange(100_000), 5)
    assert ((mixed >= 0) & (mixed < 2**32)).all() and len(mixed.unique()) == len(mixed)
    assert abs(mixed.double().mean() / 2**32 - 0.5) < 0.005
    assert scramble(torch.tensor([0, 1, 2]), 0).tolist() == [0, GOLDEN[0], GOLDEN[1]]


def _mix(value: int) -> int:
    """The same with Python's own integers."""
    for factor in (0x45D9F3B, 0x119DE1F3):
        value = ((value ^ (value >> 16)) * factor) & 0xFFFFFFFF
    return value ^ (value >> 16)


GOLDEN = (_mix(1), _mix(2))


@settings(deadline=None)
@given(length=st.integers(0, 3000), capacity=st.integers(2, 40), count=st.integers(1, 12))
def test_a_spread_keeps_every_so_many_th(length: int, capacity: int, count: int) -> None:
    kept: Spread[int] = Spread(capacity)
    made = []
    for item in range(length):
        kept.offer(lambda item=item: made.append(item) or item)
        assert len(kept.items) <= capacity
    assert len(kept.items) >= min(length, capacity // 2)
    step = kept.items[1] if len(kept.items) > 1 else 1
    assert step & (step - 1) == 0 and kept.items == list(range(0, length, step))
    assert len(made) <= 2 * capacity * max(1, int(np.log2(max(length, 2))))  # few thumbnails are made in vain
    picked = kept.pick(count)
    assert len(picked) == min(count, len(kept.items)) and sorted(set(picked)) == picked
    if count > 1 and picked:
        assert (picked[0], picked[-1]) == (kept.items[0], kept.items[-1])


def test_a_spread_needs_room() -> None:
    with pytest.raises(ValueError, match="at least 2"):
        Spread(1)
