# SPDX-License-Identifier: Apache-2.0
"""Transformer blocks: what they may depend on and what they may not."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from longtake.nn import ConditionedBlock, DecoderBlock, EncoderBlock, Mlp, RopeTable, layer_norm, rope_table
from longtake.nn.rope import grid_positions


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def table(positions: Tensor, head_dim: int = 4) -> RopeTable:
    return rope_table(positions, head_dim, torch.float64)


def test_the_mlp_has_an_exact_gelu() -> None:
    mlp = Mlp(6, 24, 3).double()
    x = random(5, 6)
    h = mlp.fc1(x)
    wanted = mlp.fc2(0.5 * h * (1 + torch.erf(h / math.sqrt(2))))
    torch.testing.assert_close(mlp(x), wanted, rtol=0, atol=1e-14)


def test_layer_norms_have_the_published_epsilon() -> None:
    assert layer_norm(8).eps == 1e-6
    assert all(m.eps == 1e-6 for m in DecoderBlock(8, 2).modules() if isinstance(m, torch.nn.LayerNorm))


def test_tokens_are_a_set_once_their_positions_go_along() -> None:
    torch.manual_seed(0)
    block, encoder = DecoderBlock(8, 2).double(), EncoderBlock(8, 2).double()
    x, y = random(1, 6, 8), random(1, 10, 8, seed=1)
    places, others = grid_positions(2, 3), grid_positions(2, 5) - 1
    order, other_order = torch.tensor([3, 1, 5, 0, 2, 4]), torch.randperm(10)
    out, logit = block(x, y, table(places), table(others), want_logit=True)
    shuffled, logit2 = block(
        x[:, order], y[:, other_order], table(places[order]), table(others[other_order]), want_logit=True
    )
    torch.testing.assert_close(shuffled, out[:, order], rtol=0, atol=1e-12)
    torch.testing.assert_close(logit2, logit[:, order], rtol=0, atol=1e-12)
    plain = encoder(x, table(places))
    torch.testing.assert_close(encoder(x[:, order], table(places[order])), plain[:, order], rtol=0, atol=1e-12)
    assert not torch.allclose(encoder(x, table(places[order])), plain)  # so positions matter at all


def test_only_differences_of_positions_matter() -> None:
    torch.manual_seed(0)
    block = DecoderBlock(8, 2).double()
    x, y = random(2, 6, 8), random(2, 4, 8, seed=1)
    here, _ = block(x, y, table(grid_positions(2, 3)), table(grid_positions(2, 2)))
    there, _ = block(x, y, table(grid_positions(2, 3) + 7), table(grid_positions(2, 2) + 7))
    torch.testing.assert_close(there, here, rtol=0, atol=1e-11)


def test_without_a_condition_the_conditioned_block_is_an_encoder_block() -> None:
    torch.manual_seed(0)
    block, plain = ConditionedBlock(8, 2).double(), EncoderBlock(8, 2).double()
    for i in (1, 2):
        modulation = getattr(block, f"norm{i}")
        torch.nn.init.zeros_(modulation.shift_scale.weight)
        torch.nn.init.zeros_(modulation.shift_scale.bias)
        getattr(plain, f"norm{i}").load_state_dict(modulation.norm.state_dict())
    plain.attn.load_state_dict(block.attn.state_dict())
    plain.mlp.load_state_dict(block.mlp.state_dict())
    x, place = random(2, 6, 8), table(grid_positions(2, 3))
    assert torch.equal(block(x, random(2, 8, seed=1), place), plain(x, place))


def test_a_condition_moves_only_its_own_sample() -> None:
    torch.manual_seed(0)
    block = ConditionedBlock(8, 2).double()
    x, condition, place = random(2, 6, 8), random(2, 8, seed=1), table(grid_positions(2, 3))
    other = torch.stack((condition[0], condition[1] + 1))
    before, after = block(x, condition, place), block(x, other, place)
    assert torch.equal(before[0], after[0])
    assert not torch.allclose(before[1], after[1])
