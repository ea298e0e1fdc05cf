# SPDX-License-Identifier: Apache-2.0
"""Video depth: the published fits beside the exact ones, each held by what defines it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.evaluation.metrics import depth_published as published
from longtake.evaluation.metrics.cubic import resize_cubic
from longtake.evaluation.metrics.depth_errors import DepthErrors, depth_errors, pooled, valid_pixels
from longtake.evaluation.metrics.depth_exact import exact_scale, exact_scale_shift

quick = settings(deadline=None, max_examples=25)
seeds = st.integers(0, 10_000)


def pair(seed: int, n: int = 200) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true depth with gross outliers."""
    rng = np.random.default_rng(seed)
    g = rng.uniform(0.5, 20, n)
    p = 0.4 * g * rng.uniform(0.8, 1.25, n) + 0.3
    p[:: max(n // 20, 1)] *= 5
    return p, g


def cost(p: np.ndarray, g: np.ndarray, s: float, t: float = 0.0, w: np.ndarray | float = 1.0) -> float:
    return float((w * np.abs(s * p + t - g)).sum())


@quick
@given(seeds, st.integers(2, 300), st.booleans())
def test_no_fit_beats_the_exact_ones(seed: int, n: int, relative: bool) -> None:
    p, g = pair(seed, n)
    w = 1 / g if relative else np.ones_like(g)
    s = exact_scale(p, g, w)
    both = exact_scale_shift(p, g, w)
    others = [published.scale_irls(p, g), published.scale_median(p, g), s * 1.01, s * 0.99]
    assert all(cost(p, g, s, 0, w) <= cost(p, g, other, 0, w) * (1 + 1e-12) for other in others)
    rng = np.random.default_rng(seed)
    pairs = [published.scale_shift_adam(p, g), published.scale_shift_least_squares(p, g), (s, 0.0)]
    pairs += [(both[0] + ds, both[1] + dt) for ds, dt in rng.normal(size=(8, 2)) * [0.01, 0.1]]
    assert all(cost(p, g, *both, w) <= cost(p, g, *other, w) * (1 + 1e-9) + 1e-9 for other in pairs)


@quick
@given(seeds, st.integers(3, 9))
def test_exact_scale_and_shift_go_through_two_points_and_no_other_such_line_is_better(seed: int, n: int) -> None:
    p, g = pair(seed, n)
    s, t = exact_scale_shift(p, g)
    lines = [
        ((g[i] - g[j]) / (p[i] - p[j]), (g[j] * p[i] - g[i] * p[j]) / (p[i] - p[j]))
        for i in range(n)
        for j in range(i)
        if p[i] != p[j]
    ]
    assert cost(p, g, s, t) == pytest.approx(min(cost(p, g, *line) for line in lines), rel=1e-9, abs=1e-9)


@quick
@given(seeds, st.floats(0.01, 100), st.floats(-3, 3))
def test_fits_undo_what_they_are_for(seed: int, scale: float, shift: float) -> None:
    g = pair(seed)[1]
    assert exact_scale(scale * g, g) == pytest.approx(1 / scale)
    assert published.scale_irls(scale * g, g) == pytest.approx(max(1 / scale, 1e-3))
    for fit in (exact_scale_shift, published.scale_shift_least_squares):
        s, t = fit(scale * g + shift, g)
        assert (s, t) == (pytest.approx(1 / scale, rel=1e-6), pytest.approx(-shift / scale, rel=1e-5, abs=1e-5 / scale))


@quick
@given(seeds)
def test_exact_fits_do_not_care_about_order_and_the_published_one_is_known_to(seed: int) -> None:
    p, g = pair(seed)
    order = np.random.default_rng(seed).permutation(len(p))
    assert exact_scale(p[order], g[order]) == exact_scale(p, g)
    assert exact_scale_shift(p[order], g[order]) == pytest.approx(exact_scale_shift(p, g), rel=1e-9)
    assert published.scale_iterates(p[order], g[order])[1] == pytest.approx(published.scale_iterates(p, g)[1], rel=1e-9)


def test_adam_is_torchs_adam() -> None:
    p, g = pair(5, 500)
    theta = torch.tensor([published.scale_median(p, g), 0.0], dtype=torch.float64, requires_grad=True)
    optimiser, before = torch.optim.Adam([theta], lr=1e-4), None
    for _ in range(1000):
        optimiser.zero_grad()
        loss = (theta[0] * torch.from_numpy(p) + theta[1] - torch.from_numpy(g)).abs().sum()
        loss.backward()
        optimiser.step()
        if before is not None and abs(loss.item() - before) < 1e-6:
            break
        before = loss.item()
    assert published.scale_shift_adam(p, g) == pytest.approx(theta.detach().tolist(), abs=1e-9)
    assert published.scale_shift_adam(p, g) != pytest.approx(exact_scale_shift(p, g), abs=0.05)  # it barely leaves home


def twin_resize(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Pixel by pixel, from the kernel's definition."""

    def kernel(x: float, a: float = -0.75) -> float:
        x = abs(x)
        if x <= 1:
            return (a + 2) * x**3 - (a + 3) * x**2 + 1
        return a * x**3 - 5 * a * x**2 + 8 * a * x - 4 * a if x < 2 else 0.0

    (h, w), out = image.shape, np.zeros(size)
    for i, j in np.ndindex(size):
        y, x = (i + 0.5) * h / size[0] - 0.5, (j + 0.5) * w / size[1] - 0.5
        for r in range(int(np.floor(y)) - 1, int(np.floor(y)) + 3):
            for c in range(int(np.floor(x)) - 1, int(np.floor(x)) + 3):
                value = image[min(max(r, 0), h - 1), min(max(c, 0), w - 1)]
                out[i, j] += kernel(y - r) * kernel(x - c) * value
    return out


@quick
@given(seeds, st.tuples(*[st.integers(1, 9)] * 4))
def test_cubic_resize_equals_its_definition(seed: int, sides: tuple[int, int, int, int]) -> None:
    image = np.random.default_rng(seed).uniform(-1, 50, sides[:2])
    np.testing.assert_allclose(resize_cubic(image, sides[2:]), twin_resize(image, sides[2:]), atol=1e-10)
    np.testing.assert_allclose(resize_cubic(image, image.shape), image, atol=1e-12)
    np.testing.assert_allclose(resize_cubic(np.full(sides[:2], 7.0), sides[2:]), 7)


def test_figures_by_hand_and_their_floors() -> None:
    found = depth_errors(np.array([1.0, 4, -1, 100]), np.array([1.0, 2, 1, 50]), clip=60)
    assert found.abs_rel == pytest.approx((0 + 1 + 2 + 0.2) / 4)
    assert found.sq_rel == pytest.approx((0 + 2 + 4 + 2) / 4)
    assert found.rmse == pytest.approx(np.sqrt((0 + 4 + 4 + 100) / 4))
    assert found.log_rmse == pytest.approx(np.sqrt((np.log(2) ** 2 + np.log(1e-5) ** 2 + np.log(1.2) ** 2) / 4))
    assert (found.delta1, found.delta2, found.delta3) == (0.5, 0.5, 0.5)
    g = pair(1)[1]
    assert depth_errors(g, g) == DepthErrors(0, 0, 0, 0, 1, 1, 1, len(g))


@quick
@given(seeds, st.floats(0.1, 10))
def test_the_unit_changes_what_has_a_unit_only(seed: int, unit: float) -> None:
    p, g = pair(seed)
    a, b = depth_errors(p, g), depth_errors(unit * p, unit * g)
    assert (a.abs_rel, a.delta1, a.log_rmse) == pytest.approx((b.abs_rel, b.delta1, b.log_rmse))
    assert (unit * a.sq_rel, unit * a.rmse) == pytest.approx((b.sq_rel, b.rmse))


def test_no_valid_pixel_is_zero_as_published_and_weighs_nothing() -> None:
    none, some = depth_errors(np.zeros(0), np.zeros(0)), depth_errors(*pair(2))
    assert none.valid_pixels == 0
    assert pooled([none, some])["abs_rel"] == some.abs_rel
    assert pooled([none]) == {}
    twice = depth_errors(*pair(3, 600))
    wanted = (200 * some.rmse + 600 * twice.rmse) / 800
    assert pooled([some, twice])["rmse"] == pytest.approx(wanted)


def test_what_counts_as_valid() -> None:
    true = np.array([0.0, -1, np.nan, np.inf, 69.9, 70, 1e10])
    assert valid_pixels(true).tolist() == [False, False, False, False, True, True, True]
    assert valid_pixels(true, 70).tolist() == [False] * 4 + [True, False, False]


@pytest.mark.parametrize("fit", [exact_scale_shift, lambda p, g: (exact_scale(p, g), 0.0)])
def test_flat_predictions_have_an_answer(fit: Callable[[np.ndarray, np.ndarray], tuple[float, float]]) -> None:
    g = np.array([1.0, 2, 3])
    s, t = fit(np.full(3, 4.0), g)
    assert s * 4 + t == 2
    assert np.isnan(exact_scale(np.zeros(3), g))
