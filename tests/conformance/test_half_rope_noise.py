# SPDX-License-Identifier: Apache-2.0
"""When a tensor beyond its limit is float32's noise, and when it is not: each of the three conditions on its own."""

from __future__ import annotations

import pytest
import torch
from conformance_half_rope import DRAWS, judge, nudged
from conformance_report import FAIL, NOISE

GOLDEN = torch.linspace(-1, 1, 100, dtype=torch.float64)
ALLOWED = 2e-4
ONE_TIPPED = GOLDEN.clone()
ONE_TIPPED[3] += 4e-4
UNROUNDED = GOLDEN + 1e-3


def test_one_tipped_value_is_noise_where_a_neighbouring_draw_meets_the_golden() -> None:
    status, why = judge(ONE_TIPPED, GOLDEN, ALLOWED, GOLDEN, UNROUNDED, lambda i: GOLDEN if i == 5 else ONE_TIPPED)
    assert status == NOISE
    assert "draw 6" in why


def test_not_where_float64_is_beyond_the_limit_too() -> None:
    status, why = judge(ONE_TIPPED, GOLDEN, ALLOWED, ONE_TIPPED, UNROUNDED, lambda i: GOLDEN)
    assert (status, "float64" in why) == (FAIL, True)


def test_not_where_it_is_as_far_away_as_without_rounding() -> None:
    status, why = judge(GOLDEN + 6e-4, GOLDEN, ALLOWED, GOLDEN, UNROUNDED, lambda i: GOLDEN)
    assert (status, "closer" in why) == (FAIL, True)


def test_not_where_no_draw_meets_the_golden() -> None:
    asked = []
    status, _ = judge(ONE_TIPPED, GOLDEN, ALLOWED, GOLDEN, UNROUNDED, lambda i: asked.append(i) or ONE_TIPPED)
    assert status == FAIL
    assert asked == list(range(DRAWS))


@pytest.mark.parametrize("draw", [0, 7])
def test_weights_move_by_at_most_one_unit_in_the_last_place(draw: int) -> None:
    weights = {"w": torch.randn(50, 20, generator=torch.Generator().manual_seed(1))}
    moved = nudged(weights, draw)["w"]
    assert torch.equal(moved, nudged(weights, draw)["w"])
    w = weights["w"]
    assert torch.equal(torch.nextafter(w, moved), moved)
    shares = [(moved < w).float().mean(), (moved == w).float().mean(), (moved > w).float().mean()]
    assert all(0.25 < share < 0.42 for share in shares)
