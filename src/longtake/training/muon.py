# SPDX-License-Identifier: Apache-2.0
"""Muon for the matrices of transformer blocks, AdamW for the rest, on the flat buffer.

Muon (Jordan et al. 2024; scaled as in Moonlight, arXiv 2502.16982, eq. 4) replaces the momentum of a matrix by the
nearest matrix whose singular values are one, so that rare directions are learned as fast as common ones. PyTorch's
own walks matrix by matrix, some 2,000 small kernels for this model; here all matrices of a shape are one batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic whose iteration takes singular values to about one
ITERATIONS = 5
ADAM_SIZE = 0.2  # root mean square of a typical AdamW update: at this size both share one learning rate


@dataclass(frozen=True, slots=True)
class Stack:
    """Matrices of one shape that lie one after the other in the flat buffer."""

    begin: int
    count: int
    rows: int
    columns: int

    @property
    def piece(self) -> slice:
        """Where they lie."""
        return slice(self.begin, self.begin + self.count * self.rows * self.columns)

    def view(self, flat: Tensor) -> Tensor:
        """(count, rows, columns) of a flat tensor."""
        return flat[self.piece].view(self.count, self.rows, self.columns)


def orthogonalize(matrices: Tensor) -> Tensor:
    """(k, m, n) -> the same with singular values near one (0.7 to 1.2), by Newton-Schulz steps in bfloat16."""
    a, b, c = COEFFICIENTS
    wide = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.bfloat16()
    x = x.mT if wide else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    for _ in range(ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if wide else x).to(matrices.dtype)


class Muon(torch.optim.Optimizer):
    """Muon over stacks of matrices in one flat buffer; Nesterov momentum, decoupled decay.

    size: root mean square of an update at rate 1.
    """

    def __init__(
        self, values: Tensor, gradients: Tensor, stacks: list[Stack], rate: float, decay: float, size: float = ADAM_SIZE
    ) -> None:
        self.values, self.gradients, self.stacks = values, gradients, stacks
        super().__init__([values], {"lr": rate, "weight_decay": decay, "size": size, "momentum": 0.95})
        self.state[values]["momentum"] = torch.zeros_like(values)

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One update from the gradients as they are."""
        (group,) = self.param_groups
        momentum = self.state[self.values]["momentum"]
        momentum.lerp_(self.gradients, 1 - group["momentum"])
        ahead = self.gradients.lerp(momentum, group["momentum"])
        self.values.mul_(1 - group["lr"] * group["weight_decay"])
        for stack in self.stacks:
            size = group["size"] * max(stack.rows, stack.columns) ** 0.5
            stack.view(self.values).sub_(orthogonalize(stack.view(ahead)), alpha=group["lr"] * size)


class Together:
    """Several optimisers that step as one."""

    def __init__(self, *optimisers: torch.optim.Optimizer) -> None:
        self.optimisers = optimisers

    @property
    def param_groups(self) -> list[dict[str, Any]]:
        """Groups of all of them: set "lr" here."""
        return [group for optimiser in self.optimisers for group in optimiser.param_groups]

    def step(self) -> None:
        """One update."""
        for optimiser in self.optimisers:
            optimiser.step()

    def forget(self) -> None:
        """Start anew, as if no step had been made."""
        for optimiser in self.optimisers:
            for state in optimiser.state.values():
                for tensor in state.values():
                    tensor.zero_()
