# SPDX-License-Identifier: Apache-2.0
"""Adapters begin as nothing, move alone, and fold away without a trace."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from longtake.errors import CapabilityError
from longtake.nn import CrossAttention, EncoderBlock, ScaledBlock
from longtake.nn.lora import adapt, adapter_tensors, adapters, folded_state

WIDTH = 32


class Both(nn.Module):
    """Each kind of layer that is adapted, and a linear layer that is not."""

    def __init__(self) -> None:
        super().__init__()
        self.plain, self.scaled = EncoderBlock(WIDTH, 2), ScaledBlock(WIDTH, 2, normed=True)
        self.cross, self.out = CrossAttention(WIDTH, 2), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        y = self.scaled(self.plain(x))
        return self.out(y + self.cross(x, y)[0])


@pytest.fixture
def model() -> Both:
    torch.manual_seed(0)
    return Both()


def _learned(model: Both) -> Both:
    """Some steps on nothing in particular."""
    moving = [p for p in model.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(moving, 0.3)
    for _ in range(3):
        optimiser.zero_grad()
        model(torch.randn(2, 5, WIDTH)).square().mean().backward()
        optimiser.step()
    return model


def test_fresh_adapters_change_no_bit(model: Both) -> None:
    x = torch.randn(2, 5, WIDTH)
    before = model(x)
    assert adapt(model, 4) == 4 + 4 + 4
    assert torch.equal(model(x), before)


def test_only_adapters_move(model: Both) -> None:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    adapt(model, 4)
    _learned(model)
    after = model.state_dict()
    assert all(torch.equal(after[name], tensor) for name, tensor in before.items())
    ups = {name: t for name, t in adapter_tensors(model).items() if name.endswith("lora_up")}
    assert len(ups) == 12
    assert all(tensor.abs().max() > 0 for tensor in ups.values())
    assert after.keys() - before.keys() == adapter_tensors(model).keys()


@pytest.mark.parametrize("alpha", [None, 16.0])
def test_folded_says_what_adapted_says(model: Both, alpha: float | None) -> None:
    adapt(model, 4, alpha)
    _learned(model)
    plain = Both()
    plain.load_state_dict(folded_state(model))
    x = torch.randn(2, 5, WIDTH)
    assert not torch.equal(model(x), Both()(x))
    assert torch.allclose(plain(x), model(x), atol=1e-5)
    unlearned = {name: t for name, t in model.state_dict().items() if "lora" not in name}
    plain.load_state_dict(unlearned)
    assert not torch.allclose(plain(x), model(x), atol=1e-3), "the adapters say something"


def test_what_cannot_be_adapted_is_refused(model: Both) -> None:
    with pytest.raises(CapabilityError, match="rank 0"):
        adapt(model, 0)
    assert not list(adapters(model))
    adapt(model, 2)
    with pytest.raises(CapabilityError, match="already"):
        adapt(model, 2)
    with pytest.raises(CapabilityError, match="no attention"):
        adapt(nn.Linear(3, 3), 2)
