# SPDX-License-Identifier: Apache-2.0
"""Continuous 3D rotary positions: against the text read literally, and what follows from it."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtake.nn.rope import rotate
from longtake.nn.rope3d import BASES, rope3d_table

WIDTHS = st.integers(3, 70)
PLACE = st.tuples(*[st.floats(-30, 30) for _ in range(3)])


def literal(x: Tensor, place: tuple[float, float, float], bases: tuple[float, ...] = BASES) -> Tensor:
    """Section 4.4 of the recurrent kit on one token x (width,), part by part and base by base."""
    width = len(x)
    third = width // 3
    sizes = [third] * 3 if width % 3 == 0 else [third, third, width - 2 * third]
    out = []
    for part, p in zip(x.split(sizes), place, strict=True):
        m = len(part)
        k = math.ceil(m / 2)
        results = []
        for base in bases:
            angles = torch.tensor([p * base ** (-2 * j / m) for j in range(k)] * 2, dtype=torch.float64)[:m]
            turned = torch.cat((-part[k:], part[:k]))
            results.append(part * angles.cos() + turned * angles.sin())
        out.append(sum(results) / len(bases))
    return torch.cat(out)


def random(width: int, n: int, seed: int = 0) -> Tensor:
    return torch.randn(1, 2, n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(width=WIDTHS, places=st.lists(PLACE, min_size=1, max_size=4), lead=st.booleans())
@example(width=64, places=[(0.5, -2.0, 3.0)], lead=True)
@example(width=48, places=[(0.5, -2.0, 3.0)], lead=False)
def test_it_is_the_text_literally(width: int, places: list[tuple[float, float, float]], lead: bool) -> None:
    x = random(width, len(places) + lead)
    points = torch.tensor([places], dtype=torch.float64)
    made = rotate(x, rope3d_table(points, width, x.dtype, lead=lead))
    for head in range(2):
        if lead:
            assert torch.equal(made[0, head, 0], x[0, head, 0])
        for i, place in enumerate(places):
            torch.testing.assert_close(
                made[0, head, i + lead], literal(x[0, head, i + lead], place), rtol=0, atol=1e-12
            )


@settings(deadline=None)
@given(width=WIDTHS)
def test_the_origin_turns_nothing(width: int) -> None:
    x = random(width, 3)
    assert torch.equal(rotate(x, rope3d_table(torch.zeros(1, 3, 3), width, x.dtype)), x)


@settings(deadline=None)
@given(place=PLACE)
def test_logits_of_one_even_base_depend_on_the_difference_only(place: tuple[float, float, float]) -> None:
    q, k = random(12, 1, 1), random(12, 1, 2)

    def logit(a: tuple[float, ...], b: tuple[float, ...]) -> Tensor:
        tables = (rope3d_table(torch.tensor([[each]], dtype=torch.float64), 12, q.dtype, (100.0,)) for each in (a, b))
        turned = [rotate(x, table) for x, table in zip((q, k), tables, strict=True)]
        return (turned[0] * turned[1]).sum(-1)

    moved = tuple(p + 1.5 for p in place)
    torch.testing.assert_close(logit(place, (0, 0, 0)), logit(moved, (1.5, 1.5, 1.5)), rtol=0, atol=1e-10)


def test_narrow_heads_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 3"):
        rope3d_table(torch.zeros(1, 1, 3), 2, torch.float32)
