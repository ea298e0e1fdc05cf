# SPDX-License-Identifier: Apache-2.0
"""Merging pointers by distance: against a plain twin with loops, and the properties that the text promises."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtake.memory.pointers import merge, merge_distance

Rows = list[list[float]]


def plain(
    positions: Rows,
    features: Rows,
    new: Rows,
    looks: Rows,
    steps: int,
) -> tuple[Rows, Rows]:
    """Section 9.1.7 of the recurrent kit with loops over plain lists."""
    both = positions + new
    sides = [(max(p[axis] for p in both) - min(p[axis] for p in both)) / steps for axis in range(3)]
    threshold = sum(side * side for side in sides) ** 0.5
    assigned: dict[int, list[int]] = {}
    appended = []
    for i, place in enumerate(new):
        distances = [sum((a - b) ** 2 for a, b in zip(place, old, strict=True)) ** 0.5 for old in positions]
        nearest = distances.index(min(distances))
        if distances[nearest] >= threshold:
            appended.append(i)
        else:
            assigned.setdefault(nearest, []).append(i)

    def mean(rows: Rows, chosen: list[int]) -> list[float]:
        return [sum(rows[i][c] for i in chosen) / len(chosen) for c in range(len(rows[0]))]

    def merged(old: Rows, rows: Rows) -> Rows:
        kept = [mean(rows, assigned[i]) if i in assigned else row for i, row in enumerate(old)]
        return kept + [rows[i] for i in appended]

    return merged(positions, new), merged(features, looks)


def scene(old: int, new: int, seed: int, near: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Random pointers; new ones lie around old ones, by `near` of the scene's size."""
    g = torch.Generator().manual_seed(seed)
    positions = torch.randn(old, 3, dtype=torch.float64, generator=g)
    around = positions[torch.randint(0, old, (new,), generator=g)]
    places = around + near * torch.randn(new, 3, dtype=torch.float64, generator=g)
    features, looks = (torch.randn(n, 5, dtype=torch.float64, generator=g) for n in (old, new))
    return positions, features, places, looks


SCENES = st.builds(
    scene, st.integers(1, 30), st.integers(1, 30), st.integers(0, 10**6), st.sampled_from([0.0, 0.05, 0.2, 2])
)


@settings(deadline=None)
@given(given_scene=SCENES, steps=st.sampled_from([1, 5, 20]))
def test_it_is_the_text_literally(given_scene: tuple[Tensor, ...], steps: int) -> None:
    positions, features, places, looks = given_scene
    wanted = plain(positions.tolist(), features.tolist(), places.tolist(), looks.tolist(), steps)
    made = merge(positions, features, places, looks, steps)
    for tensor, rows in zip(made, wanted, strict=True):
        torch.testing.assert_close(tensor, torch.tensor(rows, dtype=torch.float64), rtol=0, atol=1e-12)


@settings(deadline=None)
@given(given_scene=SCENES)
def test_the_order_of_patches_only_orders_what_is_appended(given_scene: tuple[Tensor, ...]) -> None:
    positions, features, places, looks = given_scene
    order = torch.randperm(len(places), generator=torch.Generator().manual_seed(len(places)))
    one = merge(positions, features, places, looks)
    other = merge(positions, features, places[order], looks[order])
    old = len(positions)
    for a, b in zip(one, other, strict=True):
        torch.testing.assert_close(a[:old], b[:old], rtol=0, atol=1e-12)
        torch.testing.assert_close(a[old:].sort(0).values, b[old:].sort(0).values, rtol=0, atol=1e-12)


@settings(deadline=None)
@given(given_scene=SCENES, scale=st.floats(1e-3, 1e3), shift=st.floats(-50, 50))
def test_counts_do_not_change_with_the_unit_or_the_origin(
    given_scene: tuple[Tensor, ...], scale: float, shift: float
) -> None:
    positions, features, places, looks = given_scene
    distances = torch.cdist(places, positions).min(1).values
    margin = (distances - merge_distance(positions, places)).abs().min()
    if margin < 1e-9:  # on the border the last bit decides
        return
    made, _ = merge(positions, features, places, looks)
    moved, _ = merge(positions * scale + shift, features, places * scale + shift, looks)
    assert len(made) == len(moved)
    torch.testing.assert_close(moved, made * scale + shift, rtol=1e-9, atol=1e-9 * (1 + abs(shift)))


@settings(deadline=None)
@given(given_scene=SCENES)
def test_the_same_view_again_adds_nothing(given_scene: tuple[Tensor, ...]) -> None:
    positions, features, places, looks = given_scene
    first, kept = merge(positions, features, places, looks)
    appended = len(first) - len(positions)
    again, _ = merge(first, kept, first[len(positions) :], kept[len(positions) :]) if appended else (first, kept)
    if float(merge_distance(first, first)) > 0:  # else all is in one place, and nothing is nearer than nothing
        assert len(again) == len(first)


def test_on_the_threshold_a_pointer_is_appended() -> None:
    positions = torch.tensor([[0.0, 0, 0], [20, 0, 0]], dtype=torch.float64)
    features = torch.zeros(2, 1, dtype=torch.float64)
    looks = torch.ones(1, 1, dtype=torch.float64)
    for x, count in ((1.0, 3), (0.999, 2)):
        made, seen = merge(positions, features, torch.tensor([[x, 0, 0]], dtype=torch.float64), looks)
        assert len(made) == count
        assert seen[:, 0].tolist() == ([0, 0, 1] if count == 3 else [1, 0])
        assert made[0, 0] == (0 if count == 3 else x)  # replaced, not averaged in
