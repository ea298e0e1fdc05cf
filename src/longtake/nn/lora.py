# SPDX-License-Identifier: Apache-2.0
"""Low-rank adapters: a frozen matrix W learns W + (alpha / r) U D, with U (out, r) and D (r, in).

LoRA (Hu et al. 2021, arXiv 2106.09685, section 4.1). U begins at zero, so that an adapted model says at first, bit for
bit, what it said before; folding the product into W makes an ordinary model of it again.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from longtake.errors import CapabilityError
from longtake.nn.attention import CrossAttention, SelfAttention
from longtake.nn.blocks import Mlp
from longtake.nn.scaled import NormedAttention

ADAPTED = (SelfAttention, NormedAttention, CrossAttention, Mlp)  # the linear layers right inside these
DOWN, UP = "lora_down", "lora_up"  # last part of an adapter's names


class LowRank(nn.Linear):
    """A frozen linear layer and its adapter. Weight and bias stay the objects, and keep the names, that they had."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features, self.scale = layer.in_features, layer.out_features, alpha / rank
        self.weight, self.bias = layer.weight, layer.bias
        like = {"dtype": layer.weight.dtype, "device": layer.weight.device}
        self.lora_down = nn.Parameter(torch.randn(rank, layer.in_features, **like) / layer.in_features**0.5)
        self.lora_up = nn.Parameter(torch.zeros(layer.out_features, rank, **like))

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(..., in) -> (..., out)."""
        low = linear(linear(input, self.lora_down), self.lora_up)
        return linear(input, self.weight, self.bias) + self.scale * low

    def folded(self) -> Tensor:
        """Return the weight (out, in) of the plain layer that says the same."""
        return self.weight + self.scale * (self.lora_up @ self.lora_down)


def adapt(model: nn.Module, rank: int, alpha: float | None = None) -> int:
    """Freeze all of the model and give every linear layer of its attention and MLPs an adapter; return how many.

    rank: columns of U. alpha: scale of the adapters times the rank; by default the rank, so that the scale is 1.
    Raises CapabilityError for a rank below 1, or for a model without such layers or with adapters already.
    """
    if rank < 1:
        raise CapabilityError(f"adapters of rank {rank}: it must be at least 1; 4 to 16 are usual.")
    if any(True for _ in adapters(model)):
        raise CapabilityError("this model has adapters already: fold them in first, or load it without.")
    model.requires_grad_(False)
    count = 0
    for block in [part for part in model.modules() if isinstance(part, ADAPTED)]:
        for name, layer in list(block.named_children()):
            if isinstance(layer, nn.Linear):
                setattr(block, name, LowRank(layer, rank, rank if alpha is None else alpha))
                count += 1
    if not count:
        raise CapabilityError(f"{type(model).__name__} has no attention and no MLP that could be adapted.")
    return count


def adapters(model: nn.Module) -> Iterator[tuple[str, LowRank]]:
    """Walk over the adapted layers of a model and their names."""
    return ((name, part) for name, part in model.named_modules() if isinstance(part, LowRank))


def adapter_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return the adapters alone, by their names in the state dict."""
    found = adapters(model)
    return {f"{name}.{part}": getattr(layer, part).detach() for name, layer in found for part in (DOWN, UP)}


def folded_state(model: nn.Module) -> dict[str, Tensor]:
    """Return the state dict of the plain model that says the same: adapters folded in, their names gone."""
    state = {name: tensor.detach() for name, tensor in model.state_dict().items()}
    for name, layer in adapters(model):
        state[f"{name}.weight"] = layer.folded().detach()
        del state[f"{name}.{DOWN}"], state[f"{name}.{UP}"]
    return state
