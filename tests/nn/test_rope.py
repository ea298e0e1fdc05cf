# SPDX-License-Identifier: Apache-2.0
"""Two-dimensional rotary positions: properties, the kit's goldens, and the official rounding."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch import Tensor

from longtake.nn.rope import RopeTable, grid_positions, rope_table, rotate, rotate_rounded

GOLDENS = Path(__file__).resolve().parents[1] / "data" / "cut3r" / "postproc" / "rope.safetensors"
WIDTHS = st.sampled_from([4, 8, 12, 16, 48, 64])
PLACE = st.tuples(st.integers(-40, 40), st.integers(-40, 40))


def turned(x: Tensor, place: tuple[int, int], base: float = 100.0) -> Tensor:
    """x (N, width) all at one place."""
    return rotate(x[None], rope_table(torch.tensor([place] * len(x)), x.shape[-1], x.dtype, base))[0]


def random(width: int, n: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@settings(deadline=None)
@given(width=WIDTHS, place=PLACE)
def test_it_is_a_rotation(width: int, place: tuple[int, int]) -> None:
    x = random(width)
    torch.testing.assert_close(turned(x, place).norm(dim=-1), x.norm(dim=-1), rtol=1e-12, atol=0)
    back = turned(turned(x, place), (-place[0], -place[1]))
    torch.testing.assert_close(back, x, rtol=0, atol=1e-12)
    assert torch.equal(turned(x, (0, 0)), x)


@settings(deadline=None)
@given(width=WIDTHS, a=PLACE, b=PLACE, shift=PLACE)
def test_products_depend_on_the_distance_only(
    width: int, a: tuple[int, int], b: tuple[int, int], shift: tuple[int, int]
) -> None:
    q, k = random(width, seed=1), random(width, seed=2)
    moved = [(p[0] + shift[0], p[1] + shift[1]) for p in (a, b)]
    here = (turned(q, a) * turned(k, b)).sum(-1)
    there = (turned(q, moved[0]) * turned(k, moved[1])).sum(-1)
    torch.testing.assert_close(there, here, rtol=0, atol=1e-11)


@settings(deadline=None)
@given(width=WIDTHS, place=PLACE, base=st.floats(2, 1e4))
def test_channels_angles_and_axes(width: int, place: tuple[int, int], base: float) -> None:
    quarter = width // 4
    for axis in (0, 1):
        for j in range(quarter):
            x = torch.zeros(1, width, dtype=torch.float64)
            x[0, 2 * quarter * axis + j] = 1  # a unit vector of one pair shows its angle
            y = turned(x, place, base)[0]
            pair = y[[2 * quarter * axis + j, 2 * quarter * axis + j + quarter]]
            angle = torch.tensor(place[axis] * base ** (-j / quarter), dtype=torch.float64)
            torch.testing.assert_close(pair, torch.stack((angle.cos(), angle.sin())), rtol=0, atol=1e-11)
            assert y.count_nonzero() <= 2


def test_grids_are_row_major() -> None:
    assert grid_positions(2, 3).tolist() == [[0, 0], [0, 1], [0, 2], [1, 0], [1, 1], [1, 2]]


def test_odd_widths_are_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4"):
        rope_table(grid_positions(1, 1), 6, torch.float32)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_tables_are_never_kept_in_half_precision(dtype: torch.dtype) -> None:
    narrow, wide = (rope_table(grid_positions(3, 40), 16, kind) for kind in (dtype, torch.float32))
    assert torch.equal(narrow.cos, wide.cos)
    assert torch.equal(narrow.sin, wide.sin)
    x = torch.ones(120, 16, dtype=dtype)
    assert rotate(x, narrow).dtype == dtype


@pytest.mark.parametrize("case", ["0", "1", "2"])
def test_goldens(case: str) -> None:
    g = {name.split(".")[2]: t for name, t in load_file(GOLDENS).items() if name.startswith(f"rope2d.{case}.")}
    for dtype, allowed in ((torch.float64, 1e-12), (torch.float32, 1e-5)):
        tokens = g["tokens"].to(dtype)
        table = rope_table(g["pos"], tokens.shape[-1], dtype)
        table = RopeTable(table.cos[:, None], table.sin[:, None])  # each sample's own, the same for every head
        torch.testing.assert_close(rotate(tokens, table).double(), g["out"].double(), rtol=0, atol=allowed)
        # Rounded before and after, in float32 between, whatever the arithmetic around is. The last bit of a float32
        # sine may tip a value over to the next float16 number, here and there.
        rounded = rotate_rounded(tokens.half().to(dtype), table)
        assert rounded.dtype == dtype
        made, wanted = rounded.double(), g["out_half"].double()
        assert (made != wanted).double().mean() < 0.01
        assert ((made - wanted).abs() <= wanted.abs() * 2**-10 + 1e-6).all()


@settings(deadline=None)
@given(width=WIDTHS, seed=st.integers(0, 99))
def test_rounding_gives_float16_numbers_and_is_blind_to_what_float16_cannot_hold(width: int, seed: int) -> None:
    x = random(width, n=4, seed=seed)
    table = rope_table(grid_positions(2, 2), width, torch.float64)
    y = rotate_rounded(x, table)
    assert torch.equal(y, y.half().double())
    assert torch.equal(y, rotate_rounded(x.half().double(), table))
    assert (y - rotate(x, table)).abs().max() < 2e-3 * x.abs().max()
