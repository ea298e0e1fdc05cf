# SPDX-License-Identifier: Apache-2.0
"""Strict loading: everything fits or the module stays as it was and the error says what does not."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor, nn

from longtake.checkpoints import load_strict
from longtake.errors import CheckpointError


def net(layers: int = 2, width: int = 3) -> nn.Sequential:
    return nn.Sequential(*[nn.Linear(width, width) for _ in range(layers)])


def state(layers: int = 2, width: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(1)
    return {name: torch.randn_like(tensor) for name, tensor in net(layers, width).state_dict().items()}


def test_copies_into_a_real_module() -> None:
    module, tensors = net().double(), state()
    parameter = module[0].weight
    load_strict(module, tensors, what="w")
    assert module[0].weight is parameter
    assert parameter.dtype == torch.float64
    assert all(torch.equal(value, tensors[name].double()) for name, value in module.state_dict().items())


def test_gives_a_meta_module_the_tensors_themselves() -> None:
    with torch.device("meta"):
        module = net()
    tensors = state()
    load_strict(module, tensors, what="w")
    assert module[1].bias.data_ptr() == tensors["1.bias"].data_ptr()
    assert isinstance(module[1].bias, nn.Parameter)


def test_meta_tensors_into_a_meta_module() -> None:
    with torch.device("meta"):
        load_strict(net(), net().state_dict(), what="keys only")


def untouched(module: nn.Module, tensors: dict[str, Tensor]) -> str:
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(CheckpointError) as caught:
        load_strict(module, tensors, what="some.pth into some-model")
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert str(caught.value).startswith("some.pth into some-model: ")
    return str(caught.value)


def test_missing() -> None:
    tensors = state()
    del tensors["1.weight"]
    text = untouched(net(), tensors)
    assert "1 missing in the file:\n  1.weight [3, 3]" in text
    assert "download it again" in text
    assert "left over" not in text


def test_left_over() -> None:
    text = untouched(net(), state() | {"head.bias": torch.zeros(7)})
    assert "1 left over, unknown to the model:\n  head.bias [7]" in text
    assert "missing" not in text


def test_wrong_shape() -> None:
    text = untouched(net(), state() | {"0.weight": torch.zeros(9, 3)})
    assert "1 of another shape:\n  0.weight: file [9, 3], model [3, 3]" in text


def test_shows_ten_and_counts_all() -> None:
    text = untouched(net(layers=20), {f"other.{i}": torch.zeros(1) for i in range(15)})
    assert "40 missing in the file" in text
    assert "... and 30 more" in text
    assert "15 left over" in text
    assert "... and 5 more" in text
    assert len(re.findall(r"^  other\.", text, re.MULTILINE)) == 10
    assert "another family or size" in text


def test_packed_weights_are_not_taken_for_weights() -> None:
    text = untouched(net(), {name: tensor.to(torch.int8) for name, tensor in state().items()})
    assert "unpack it first" in text
