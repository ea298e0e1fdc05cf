# SPDX-License-Identifier: Apache-2.0
"""Muon on the flat buffer against PyTorch's, and its own promise: every direction moves alike."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_learner
from torch import nn

from longtake.training.flat import FlatParameters
from longtake.training.muon import orthogonalize


@pytest.mark.parametrize("shape", [(3, 32, 32), (2, 16, 64), (2, 64, 16)])
def test_singular_values_become_one(shape: tuple[int, int, int]) -> None:
    matrices = torch.randn(shape, generator=torch.Generator().manual_seed(1))
    values = torch.linalg.svdvals(orthogonalize(matrices))
    assert torch.linalg.svdvals(matrices).amax() > 3
    assert values.amin() > 0.6 and values.amax() < 1.3
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    nearest = u @ v
    assert ((orthogonalize(matrices) - nearest).norm() / nearest.norm()) < 0.35


def test_no_gradient_moves_nothing() -> None:
    assert torch.equal(orthogonalize(torch.zeros(2, 4, 8)), torch.zeros(2, 4, 8))


def test_steps_are_those_of_pytorchs_muon() -> None:
    flat = FlatParameters([tiny_learner()])
    inner = [stack.view(flat.values) for stack in flat.stacks]
    twins = [nn.Parameter(m.clone()) for stack in inner for m in stack]
    twin = torch.optim.Muon(twins, lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw")
    optimiser = flat.optimiser(0.01, 0.1)
    generator = torch.Generator().manual_seed(2)
    for _ in range(3):
        flat.gradients.copy_(torch.randn(flat.gradients.shape, generator=generator) * 0.1)
        gradients = [m.clone() for stack in flat.stacks for m in stack.view(flat.gradients)]
        for parameter, gradient in zip(twins, gradients, strict=True):
            parameter.grad = gradient
        optimiser.step()
        twin.step()
    ours = [m for stack in flat.stacks for m in stack.view(flat.values)]
    moved = sum((a - b).norm() for a, b in zip(ours, twins, strict=True)) / sum(b.norm() for b in twins)
    assert moved < 2e-3  # bfloat16 rounds differently in a batch


def test_all_blocks_and_nothing_else_is_orthogonalized() -> None:
    learner = tiny_learner()
    total = sum(
        p.numel()
        for name, p in learner.model.named_parameters()
        if p.dim() == 2 and name.endswith("weight") and any(f".{part}." in name for part in ("attn", "cross", "mlp"))
    )
    flat = FlatParameters([learner])
    assert flat.inner == total > 0
    before = flat.values.clone()
    flat.gradients.fill_(1e-3)
    flat.optimiser(1e-3, 0.0).step()
    assert not (flat.values == before).any()


def test_starting_anew_forgets_the_momentum() -> None:
    flat = FlatParameters([tiny_learner()])
    optimiser = flat.optimiser(1e-3, 0.0)
    flat.gradients.fill_(1.0)
    optimiser.step()
    optimiser.forget()
    flat.gradients.zero_()
    before = flat.values.clone()
    optimiser.step()
    assert torch.equal(flat.values, before)
