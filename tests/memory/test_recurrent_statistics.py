# SPDX-License-Identifier: Apache-2.0
"""Entropy and mean map of the cross-attention, against the full maps that they never make."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from longtake.frame import State, Tokens
from longtake.memory.recurrent import RecurrentMemory
from longtake.memory.recurrent_statistics import mean_map, row_entropy, softmax_entropy
from longtake.nn.rope import grid_positions

SIZE = st.integers(1, 20)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def full(query: Tensor, key: Tensor) -> Tensor:
    return torch.einsum("nhsd,nhkd->nhsk", query, key) / math.sqrt(query.shape[-1])


@settings(max_examples=150, deadline=None)
@given(
    n=st.integers(1, 2),
    h=st.integers(1, 3),
    s=SIZE,
    keys=SIZE,
    d=st.sampled_from([1, 4, 6, 16, 48]),
    loud=st.sampled_from([0.0, 0.1, 1.0, 4.0]),
    level=st.sampled_from([0.0, 30.0, -30.0]),
    seed=st.integers(0, 2**31),
)
def test_entropy_is_the_full_maps(
    n: int, h: int, s: int, keys: int, d: int, loud: float, level: float, seed: int
) -> None:
    q, k = random(n, h, s, d, seed=seed), loud * random(n, h, keys, d, seed=seed + 1)
    q[..., 0] = 1
    k = k.clone()
    k[..., 0] += level  # all logits high, or all low: the entropy does not care
    logits = full(q, k)
    wanted = -(logits.log_softmax(-1) * logits.softmax(-1)).sum(-1)
    torch.testing.assert_close(softmax_entropy(q, k), wanted, rtol=0, atol=1e-9)


def test_entropy_of_a_flat_row_and_of_a_certain_one() -> None:
    q, k = torch.ones(1, 1, 1, 4), torch.zeros(1, 1, 7, 4)
    torch.testing.assert_close(softmax_entropy(q, k), torch.full((1, 1, 1), math.log(7)))
    k[..., 3, :] = 1e4  # beyond what exp can hold
    assert softmax_entropy(q, k).item() == pytest.approx(0, abs=1e-6)
    assert softmax_entropy(q.bfloat16(), k.bfloat16()).dtype == torch.float32


def test_means_over_layers_and_heads_leave_the_pose_key_out() -> None:
    probe = [(random(2, 3, 5, 4, seed=i), random(2, 3, 8, 4, seed=10 + i)) for i in range(3)]
    maps = torch.stack([full(q, k[:, :, 1:]) for q, k in probe])
    torch.testing.assert_close(mean_map(probe), maps.mean((0, 2)), rtol=0, atol=1e-12)
    entropy = -(maps.log_softmax(-1) * maps.softmax(-1)).sum(-1)
    torch.testing.assert_close(row_entropy(probe), entropy.mean((0, 2)), rtol=0, atol=1e-12)


def build(**changes: Any) -> RecurrentMemory:
    torch.manual_seed(0)
    options = {"image_heads": 2, "state_heads": 4, "state_size": 19, "pose_slots": 13} | changes
    return RecurrentMemory(24, 16, 3, **options).double().requires_grad_(False)


def view(height: int, width: int) -> Tokens:
    size = (16 * height, 16 * width)
    return Tokens(random(1, height * width, 24), grid_positions(height, width), size, torch.ones(1, dtype=torch.bool))


class Maps(TorchDispatchMode):
    """Every shape that ends in queries x keys."""

    def __init__(self, queries: int, keys: tuple[int, ...]) -> None:
        super().__init__()
        self.wanted = {(queries, k) for k in keys} | {(k, queries) for k in keys}
        self.seen: list[tuple[int, ...]] = []

    def __torch_dispatch__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        shapes = [tuple(leaf.shape) for leaf in tree_leaves(out) if isinstance(leaf, Tensor)]
        self.seen += [shape for shape in shapes if shape[-2:] in self.wanted]
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_map_of_a_layer_or_head_is_made(dtype: torch.dtype) -> None:
    memory, tokens = build().to(dtype), view(4, 7)
    tokens = Tokens(tokens.features.to(dtype), tokens.positions, tokens.size, tokens.has_image)
    state: State = memory.begin(1)
    with Maps(19, (28, 29)) as watched:
        memory.exchange(state, tokens, True, want_entropy=True)
    assert not watched.seen
    with Maps(19, (28, 29)) as watched:
        exchange = memory.exchange(state, tokens, True, want_entropy=True, want_map=True)
    assert exchange.stats.mean_map is not None
    assert exchange.stats.mean_map.shape == (1, 19, 28)
    assert {shape for shape in watched.seen if math.prod(shape[:-2]) > 1} == set(), "the mean is the only map"


def test_asking_changes_nothing_else() -> None:
    memory, tokens = build(), view(2, 3)
    state = memory.begin(1)
    plain = memory.exchange(state, tokens)
    asked = memory.exchange(state, tokens, True, want_entropy=True, want_map=True)
    assert (plain.stats.mean_logit, plain.stats.row_entropy, plain.stats.mean_map) == (None, None, None)
    assert torch.equal(asked.proposal, plain.proposal)
    assert all(torch.equal(a, b) for a, b in zip(asked.layers, plain.layers, strict=True))
    assert torch.equal(asked.pose_memory, plain.pose_memory)
    assert asked.stats.image_in is not None
    assert asked.stats.image_in.shape == (1, 7, 16)
    assert asked.stats.image_out is asked.layers[-1]
    assert asked.stats.grid == (2, 3)
