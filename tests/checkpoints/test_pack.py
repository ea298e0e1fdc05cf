# SPDX-License-Identifier: Apache-2.0
"""Packing: the error stays within half a step, for any weights."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.checkpoints import is_packed, pack, unpack


@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    shape=st.sampled_from([(1, 1), (3, 7), (16, 5), (4, 3, 2, 2), (2, 1, 3, 3), (1, 64)]),
    exponent=st.integers(-12, 9),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
)
def test_error_is_at_most_half_a_step(seed: int, shape: tuple[int, ...], exponent: int, dtype: torch.dtype) -> None:
    torch.manual_seed(seed)
    weight = (torch.randn(shape, dtype=torch.float64) * torch.rand(shape[0]).reshape(-1, *[1] * (len(shape) - 1))).mul_(
        10.0**exponent
    )
    weight[0].view(-1)[0] = 0
    weight = weight.to(dtype)
    packed = pack({"w": weight}, min_elements=1)
    assert packed["w"].dtype == torch.int8
    assert packed["w"].shape == weight.shape
    scale = packed["w.scale"].double().reshape(-1, *[1] * (len(shape) - 1))
    error = (unpack(packed, torch.float64)["w"] - weight.double()).abs()
    # The product is formed in float32: its rounding is the only slack.
    assert (error <= scale / 2 + 127 * scale * 2**-23).all()
    assert (packed["w"].abs() <= 127).all()


def test_rows_of_zeros_stay_zero_and_each_row_has_its_scale() -> None:
    weight = torch.stack([torch.zeros(64), torch.linspace(-1, 1, 64), torch.linspace(-1e-3, 1e-3, 64)])
    packed = pack({"w": weight}, min_elements=1)
    assert packed["w.scale"].dtype == torch.float16
    assert packed["w.scale"].shape == (3,)
    back = unpack(packed)["w"]
    assert torch.equal(back[0], torch.zeros(64))
    assert (back[2] - weight[2]).abs().max() <= 1e-3 / 254 * 1.001


def test_what_is_packed_and_what_is_cast() -> None:
    tensors = {
        "linear": torch.randn(64, 64),
        "conv": torch.randn(8, 64, 3, 3),
        "tokens": torch.randn(1, 64, 64),
        "small": torch.randn(8, 8),
        "bias": torch.randn(5000),
        "steps": torch.arange(3),
    }
    packed = pack(tensors)
    assert {name for name, tensor in packed.items() if tensor.dtype == torch.int8} == {"linear", "conv"}
    assert set(packed) == set(tensors) | {"linear.scale", "conv.scale"}
    assert packed["tokens"].dtype == packed["small"].dtype == packed["bias"].dtype == torch.bfloat16
    assert packed["steps"].dtype == torch.int64
    back = unpack(packed)
    assert {name: (t.shape, t.dtype) for name, t in back.items()} == {
        name: (t.shape, t.dtype) for name, t in tensors.items()
    }
    assert torch.equal(back["bias"], tensors["bias"].bfloat16().float())
    for name in ("linear", "conv"):  # a quarter of float32, and the scales
        assert packed[name].nbytes + packed[f"{name}.scale"].nbytes < 0.26 * tensors[name].nbytes


def test_only_casting() -> None:
    packed = pack({"w": torch.randn(64, 64)}, int8=False, rest=torch.float16)
    assert packed["w"].dtype == torch.float16
    assert not is_packed(packed)
    assert is_packed(pack({"w": torch.randn(64, 64)}))


def test_a_tensor_that_is_really_called_scale_survives() -> None:
    tensors = {"norm": torch.randn(4), "norm.scale": torch.randn(4)}
    assert set(unpack(pack(tensors))) == set(tensors)
    with pytest.raises(ValueError, match="is the name of another tensor"):
        pack({"w": torch.randn(64, 64), "w.scale": torch.randn(64)})


@pytest.mark.parametrize("rows", [1, 3, 65])
def test_scales_that_are_not_one_a_row(rows: int) -> None:
    packed = pack({"w": torch.randn(64, 64)}) | {"w.scale": torch.ones(rows)}
    with pytest.raises(ValueError, match=rf"w of shape \[64, 64\] has scales of shape \[{rows}\]"):
        unpack(packed)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(bad: float) -> None:
    weight = torch.randn(64, 64)
    weight[3, 3] = bad
    with pytest.raises(ValueError, match="not finite"):
        pack({"w": weight})
