# SPDX-License-Identifier: Apache-2.0
"""Packed linear layers against plain ones: the same numbers, whatever happens to the weights meanwhile."""

from __future__ import annotations

import copy
import sys

import pytest
import torch
from torch import nn

import longtake
from longtake.engine import narrow, pack, packed
from longtake.engine.packed import PackedLinear, can_pack, unpack
from longtake.families.cut3r import Cut3r
from longtake.registry import SMALL
from longtake.stream import Stream

pytestmark = pytest.mark.skipif(not can_pack(), reason="no oneDNN on an x86 processor here")


def twins(rows: int = 80, columns: int = 96, bias: bool = True) -> tuple[nn.Linear, nn.Linear]:
    torch.manual_seed(rows)
    plain = nn.Linear(columns, rows, bias=bias)
    other = copy.deepcopy(plain)
    pack(other)
    assert isinstance(other, PackedLinear)
    return plain, other


@pytest.mark.parametrize("shape", [(96,), (1, 96), (7, 96), (2, 61, 96), (3, 2, 5, 96), (0, 96)])
@pytest.mark.parametrize("bias", [True, False])
def test_any_shape_gives_the_same_product(shape: tuple[int, ...], bias: bool) -> None:
    plain, other = twins(bias=bias)
    x = torch.randn(shape)
    with torch.no_grad():
        torch.testing.assert_close(other(x), plain(x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(
            other(x[..., ::2].repeat_interleave(2, -1)), plain(x[..., ::2].repeat_interleave(2, -1))
        )


def test_new_weights_are_seen() -> None:
    plain, other = twins()
    x = torch.randn(5, 96)
    with torch.no_grad():
        other(x)
        for each in (plain, other):
            each.weight.mul_(2)
        torch.testing.assert_close(other(x), plain(x), rtol=1e-5, atol=1e-5)
        other.load_state_dict({name: -tensor for name, tensor in plain.state_dict().items()})
        torch.testing.assert_close(other(x), -plain(x), rtol=1e-5, atol=1e-5)
        other.double()
        assert other(x.double()).dtype == torch.float64


def test_gradients_flow_as_before() -> None:
    plain, other = twins()
    x = torch.randn(5, 96)
    for each in (plain, other):
        each(x).square().sum().backward()
    assert plain.weight.grad is not None and other.weight.grad is not None
    assert plain.weight.grad.equal(other.weight.grad)


def test_a_copy_of_a_packed_layer_is_its_own() -> None:
    plain, other = twins()
    x = torch.randn(5, 96)
    with torch.no_grad():
        other(x)
        third = copy.deepcopy(other)
        third.weight.zero_()
        torch.testing.assert_close(other(x), plain(x), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(third(x), plain.bias.expand(5, -1), rtol=1e-5, atol=1e-5)
    assert list(other.state_dict()) == list(plain.state_dict())


@pytest.mark.parametrize("precision", ["float32", "bf16"])
def test_a_stream_of_a_packed_model_is_that_of_the_plain_one(precision: str) -> None:
    torch.manual_seed(5)
    model = narrow(Cut3r(SMALL.tiny()).eval().requires_grad_(False), precision)
    for part in model.modules():  # tiny layers would stay as they are
        assert not isinstance(part, PackedLinear)
    other = copy.deepcopy(model)
    for part in other.modules():
        if type(part) is nn.Linear:
            part.__class__, part._copy = PackedLinear, twins()[1]._copy
    one, two = Stream(model), Stream(other)
    assert not one.describe()["packed"] and two.describe()["packed"]
    generator = torch.Generator().manual_seed(1)
    for _ in range(4):
        image = torch.randint(0, 255, (48, 64, 3), generator=generator, dtype=torch.uint8).numpy()
        a, b = one.step(image), two.step(image)
        close = {"rtol": 1e-4, "atol": 1e-4} if precision == "float32" else {"rtol": 0.02, "atol": 0.02}
        torch.testing.assert_close(b.points, a.points, **close)
        torch.testing.assert_close(b.world_from_cam, a.world_from_cam, **close)


def test_what_load_gives_on_the_cpu_says_so() -> None:
    model = longtake.load(device="cpu")
    assert packed(model.module) and model.stream().describe()["packed"]
    assert model.stream().describe()["threads"] == torch.get_num_threads()
    assert not packed(unpack(model.module)) and not model.stream().describe()["packed"]


def test_a_type_that_onednn_has_no_blocks_for_is_multiplied_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on processors without the instructions for bfloat16."""
    layer = nn.Linear(64, 64).to(torch.bfloat16)
    x = torch.randn(3, 64, generator=torch.Generator().manual_seed(0)).to(torch.bfloat16)
    with torch.no_grad():
        plain = layer(x)
        pack(layer)
        monkeypatch.setattr(sys.modules[PackedLinear.__module__], "_takes", lambda dtype: dtype == torch.float32)
        assert torch.equal(layer(x), plain)
