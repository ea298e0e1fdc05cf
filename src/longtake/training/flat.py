# SPDX-License-Identifier: Apache-2.0
"""All parameters in one buffer, all gradients in another: one all-reduce, one norm, one optimiser kernel."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn


class FlatParameters:
    """Moves the parameters of some modules into one float32 buffer; matrices first (decayed), then the rest."""

    def __init__(self, modules: Iterable[nn.Module]) -> None:
        parameters = [p for module in modules for p in module.parameters() if p.requires_grad]
        matrices = [p for p in parameters if p.dim() > 1]
        others = [p for p in parameters if p.dim() <= 1]
        self.parameters = matrices + others
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
        self.decayed = sum(p.numel() for p in matrices)

    def optimiser(self, rate: float, decay: float) -> torch.optim.AdamW:
        """AdamW over the two halves of the buffer."""
        groups = []
        for piece, amount in ((slice(None, self.decayed), decay), (slice(self.decayed, None), 0.0)):
            view = nn.Parameter(self.values[piece])
            view.grad = self.gradients[piece]
            groups.append({"params": [view], "weight_decay": amount})
        return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.95), fused=self.values.is_cuda)

    def clip(self, limit: float) -> Tensor:
        """Scale the gradients to a norm of at most `limit`, or to 0 where it is not finite. Returns the old norm."""
        norm = self.gradients.norm()
        scale = torch.where(norm.isfinite(), (limit / norm.clamp_min(1e-6)).clamp_max(1.0), 0.0)
        torch.nan_to_num_(self.gradients, 0.0, 0.0, 0.0)
        self.gradients.mul_(scale)
        return norm


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
