# SPDX-License-Identifier: Apache-2.0
"""An oracle that knows the truth must score perfectly, whatever its units, size, crop and revisions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from evaluation_oracle import Oracle, write_take
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.evaluation.folder import TakeFolder
from longtake.evaluation.run import evaluate_take
from longtake.evaluation.sampling import sample_depth
from longtake.frame import Frame, PixelMap, Prediction


@pytest.fixture
def take(tmp_path: Path) -> TakeFolder:
    return TakeFolder(write_take(tmp_path / "take", frames=6, depth_every=2))


@pytest.mark.parametrize("unit", [1.0, 0.01, 7.0])
@pytest.mark.parametrize("scale", [1.0, 0.5, 1.5])
@pytest.mark.parametrize("revise", [False, True])
def test_an_oracle_is_perfect(take: TakeFolder, unit: float, scale: float, revise: bool) -> None:
    result = evaluate_take(Oracle(take, unit, scale, revise=revise), take, lengths=(3,))
    depth, pose = result.figures.depth, result.figures.pose
    assert depth.abs_rel < 2e-3  # whole millimetres, and half a pixel of clamping at the border
    assert depth.scale == pytest.approx(1 / unit, rel=1e-3)
    assert (depth.pixels, depth.unusable, result.cropped_pixels) == (3 * 21 * 32, 0, 0)
    assert pose.rotation < 1e-5 and pose.ate_over_spread < 1e-6
    assert result.figures.focal_error == pytest.approx(0, abs=1e-9)
    assert sorted(result.figures.by_length) == [3]


def test_cropped_pixels_are_left_out_and_counted(take: TakeFolder) -> None:
    result = evaluate_take(Oracle(take, scale=0.5, crop=4), take)  # 8 of 64 colour columns at each side
    assert result.cropped_pixels == 3 * 21 * 8
    assert result.figures.depth.pixels == 3 * 21 * 24
    assert result.figures.depth.abs_rel < 2e-3
    assert result.model_size == (24, 24) and result.original_size == (64, 48)


def test_a_half_pixel_shift_would_be_seen(take: TakeFolder) -> None:
    class Shifted(Oracle):
        def look(self, frame: Frame) -> Prediction:
            p = super().look(frame)
            assert p.pixel_map is not None
            return replace(p, pixel_map=replace(p.pixel_map, offset=(0.5, 0.5)))

    wrong, right = (evaluate_take(oracle(take, scale=0.5), take) for oracle in (Shifted, Oracle))
    assert wrong.figures.depth.abs_rel > 2 * right.figures.depth.abs_rel


@settings(deadline=None, max_examples=25)
@given(st.floats(0.2, 3), st.floats(0, 3), st.floats(0, 3), st.integers(1, 3))
def test_bilinear_reads_are_exact_on_affine_maps(scale: float, ox: float, oy: float, ratio: int) -> None:
    pixels = PixelMap((90, 60), (30, 20), (scale, scale), (ox, oy))
    u, v = np.arange(30.0), np.arange(20.0)
    depth = 1 + 0.1 * u[None, :] + 0.3 * v[:, None]
    shape = (60 // ratio, 90 // ratio)
    values, inside = sample_depth(depth, pixels, shape, ratio)
    um = (np.arange(shape[1]) * ratio + 0.5) * scale - 0.5 - ox
    vm = (np.arange(shape[0]) * ratio + 0.5) * scale - 0.5 - oy
    np.testing.assert_array_equal(inside, ((vm >= -0.5) & (vm <= 19.5))[:, None] & ((um >= -0.5) & (um <= 29.5)))
    expected = 1 + 0.1 * um.clip(0, 29)[None, :] + 0.3 * vm.clip(0, 19)[:, None]
    np.testing.assert_allclose(values[inside], expected[inside])


def test_beside_an_unusable_pixel_the_nearest_one_is_read() -> None:
    depth = np.array([[1.0, 0.0, 3.0, 5.0]])
    values, inside = sample_depth(depth, PixelMap((8, 1), (4, 1), (0.5, 1.0), (0, 0)), (1, 8), 1)
    assert inside.all()
    # positions -0.25 .25 .75 1.25 1.75 2.25 2.75 3.25; a zero is never blended into a neighbour
    np.testing.assert_allclose(values[0], [1, 1, 0, 0, 3, 3.5, 4.5, 5])


def test_panels_are_kept_for_pictures(take: TakeFolder) -> None:
    result = evaluate_take(Oracle(take, crop=4), take, keep=(0, 1, 4))
    assert [panel.index for panel in result.panels] == [0, 4]  # frame 1 has no true depth to compare with
    assert np.isnan(result.panels[0].predicted[:, :4]).all() and np.isfinite(result.panels[0].predicted[:, 4:-4]).all()
