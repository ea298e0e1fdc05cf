# SPDX-License-Identifier: Apache-2.0
"""The VGGT family's dense head: any grid, the place in the image, the residual that carries relu(x)."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.detokenize.dpt_uv import ReluUnit, UvDptHead, add_uv


@settings(max_examples=15, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5))
def test_places_are_told_by_sines_then_cosines_x_then_y(height: int, width: int) -> None:
    channels, size = 8, (14 * height, 14 * width)
    found = add_uv(torch.zeros(1, channels, height, width, dtype=torch.float64), size)
    aspect = size[1] / size[0]
    spans = [side / math.hypot(aspect, 1) for side in (aspect, 1)]
    for row in range(height):
        for column in range(width):
            x = spans[0] * (2 * column - (width - 1)) / width
            y = spans[1] * (2 * row - (height - 1)) / height
            waves = [f(v * 100 ** (-k / 2)) for v in (x, y) for f in (math.sin, math.cos) for k in range(2)]
            wanted = 0.1 * torch.tensor(waves, dtype=torch.float64)
            torch.testing.assert_close(found[0, :, row, column], wanted, rtol=0, atol=1e-7)


def test_the_residual_is_of_the_rectified_map() -> None:
    unit = ReluUnit(3)
    torch.nn.init.zeros_(unit.conv2.weight)
    assert unit.conv2.bias is not None
    torch.nn.init.zeros_(unit.conv2.bias)
    x = torch.randn(1, 3, 4, 5)
    assert torch.equal(unit(x), x.relu())


@pytest.mark.parametrize("grid", [(1, 1), (1, 4), (3, 2), (5, 5)])
def test_every_grid_gives_a_map_of_the_images_size(grid: tuple[int, int]) -> None:
    head = UvDptHead(16, 8, (4, 8, 4, 8), channels=3, last=4)
    size = (14 * grid[0], 14 * grid[1])
    made = head([torch.randn(2, grid[0] * grid[1], 16) for _ in range(4)], grid, size)
    assert made.shape == (2, 3, *size)
