# SPDX-License-Identifier: Apache-2.0
"""All parameters in one buffer, all gradients in another: one all-reduce, one norm, few optimiser kernels."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import groupby

import torch
from torch import Tensor, nn

from longtake.nn import CrossAttention, Mlp, NormedAttention, SelfAttention
from longtake.training.muon import ADAM_SIZE, Muon, Stack, Together


class FlatParameters:
    """Moves the parameters of some modules into one float32 buffer.

    First the matrices of attention and MLPs, sorted by shape (Muon), then other matrices (decayed), then the rest.
    """

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        modules = list(modules)
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        mixing = {id(p): shape for module in modules for p, shape in _mixing(module) if p.requires_grad}
        inner = sorted((p for p in parameters if id(p) in mixing), key=lambda p: mixing[id(p)])
        matrices = [p for p in parameters if p.dim() > 1 and id(p) not in mixing]
        others = [p for p in parameters if p.dim() <= 1]
        self.parameters = inner + matrices + others
        device = parameters[0].device
        total = sum(p.numel() for p in parameters)
        self.values = torch.empty(total, device=device)
        self.gradients = torch.zeros(total, device=device)
        offset = 0
        for p in self.parameters:
            piece = slice(offset, offset + p.numel())
            self.values[piece].copy_(p.data.flatten())
            p.data = self.values[piece].view_as(p)
            p.grad = self.gradients[piece].view_as(p)  # backward accumulates in place into an existing gradient
            offset += p.numel()
        self.stacks: list[Stack] = []
        offset = 0
        for (rows, columns), members in groupby(inner, key=lambda p: mixing[id(p)]):
            size = sum(p.numel() for p in members)
            self.stacks.append(Stack(offset, size // (rows * columns), rows, columns))
            offset += size
        self.inner = offset
        self.decayed = offset + sum(p.numel() for p in matrices)

    def optimiser(self, rate: float, decay: float, *, muon: float = ADAM_SIZE) -> Together:
        """Muon with updates of this size over attention and MLPs, AdamW over the rest; 0: AdamW over all."""
        begin = self.inner if muon else 0
        groups = []
        for piece, amount in ((slice(begin, self.decayed), decay), (slice(self.decayed, None), 0.0)):
            view = nn.Parameter(self.values[piece])
            view.grad = self.gradients[piece]
            groups.append({"params": [view], "weight_decay": amount})
        rest = torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=self.values.is_cuda)
        if not (muon and self.stacks):
            return Together(rest)
        inner = slice(0, self.inner)
        return Together(Muon(self.values[inner], self.gradients[inner], self.stacks, rate, decay, muon), rest)

    def clip(self, limit: float) -> Tensor:
        """Scale the gradients to a norm of at most `limit`, or to 0 where it is not finite. Returns the old norm."""
        norm = self.gradients.norm()
        scale = torch.where(norm.isfinite(), (limit / norm.clamp_min(1e-6)).clamp_max(1.0), 0.0)
        torch.nan_to_num_(self.gradients, 0.0, 0.0, 0.0)
        self.gradients.mul_(scale)
        return norm


def _mixing(module: nn.Module) -> list[tuple[nn.Parameter, tuple[int, int]]]:
    """Weights of attention and MLPs, and the shape of the matrices that each consists of."""
    found = []
    for part in module.modules():
        if isinstance(part, SelfAttention | NormedAttention):  # query, key, value in one: three matrices
            found += [(part.qkv.weight, (part.qkv.out_features // 3, part.qkv.in_features))]
            found += [(part.proj.weight, tuple(part.proj.weight.shape))]
        elif isinstance(part, CrossAttention):
            found += [(x.weight, tuple(x.weight.shape)) for x in (part.query, part.key, part.value, part.proj)]
        elif isinstance(part, Mlp) and part.fc1.in_features == part.fc2.out_features:  # not one that ends in a pose
            found += [(x.weight, tuple(x.weight.shape)) for x in (part.fc1, part.fc2)]
    return found


class Average:
    """Exponential moving average of the flat values, with a short memory at the start."""

    def __init__(self, flat: FlatParameters, decay: float) -> None:
        self.flat, self.decay, self.steps = flat, decay, 0
        self.values = flat.values.clone()

    def update(self) -> None:
        """Take the current values in."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        self.values.lerp_(self.flat.values, 1 - decay)

    def swap(self) -> None:
        """Exchange average and current values: call once to evaluate with the average, once more to go on."""
        current = self.flat.values.clone()
        self.flat.values.copy_(self.values)
        self.values.copy_(current)
