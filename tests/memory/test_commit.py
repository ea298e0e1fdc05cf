# SPDX-License-Identifier: Apache-2.0
"""Mixing state and proposal: who writes, how much, and what a reset leaves."""

from __future__ import annotations

from functools import cache

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtake.frame import Exchange, Flags, State, Stats, Tokens
from longtake.memory.recurrent import RecurrentMemory

S, E, M = 5, 8, 3


@cache
def memory() -> RecurrentMemory:
    torch.manual_seed(0)
    return RecurrentMemory(8, E, 2, image_heads=2, state_heads=1, state_size=S, pose_slots=M).double()


def random(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def state(n: int, seen: list[bool]) -> State:
    return State(
        tokens=random(n, S, E, seed=1),
        pose_memory=random(n, M, 2 * E, seed=2),
        seen=torch.tensor(seen),
        world_from_chunk=random(n, 4, 4, seed=3),
        rule={"steps": random(n, 1, seed=4)},
    )


def exchange(n: int, has_image: list[bool]) -> Exchange:
    features = random(n, 2, 8, seed=5)
    tokens = Tokens(features, torch.zeros(2, 2, dtype=torch.int64), (16, 32), torch.tensor(has_image))
    return Exchange(
        layers=(features,),
        proposal=random(n, S, E, seed=6),
        pose_memory=random(n, M, 2 * E, seed=7),
        pose_token_in=random(n, E, seed=8),
        stats=Stats(),
        tokens=tokens,
    )


# One stream's moment: arrived, may update, reset, has an image, has seen a view, the rule's rate.
MOMENT = st.tuples(*[st.booleans()] * 5, st.floats(0, 1))


@settings(max_examples=60, deadline=None)
@given(moments=st.lists(MOMENT, min_size=1, max_size=5), restart=st.booleans())
def test_every_stream_by_the_text(moments: list[tuple[bool, bool, bool, bool, bool, float]], restart: bool) -> None:
    n = len(moments)
    active, update, reset, has_image, seen = ([m[i] for m in moments] for i in range(5))
    old, e = state(n, seen), exchange(n, has_image)
    start = memory().begin(n, {"steps": torch.zeros(n, 1, dtype=torch.float64)})
    rate = torch.tensor([m[5] for m in moments], dtype=torch.float64)[:, None, None].expand(n, S, 1)
    flags = Flags(torch.tensor(active), torch.tensor(update), torch.tensor(reset))
    buffers = {"steps": old.rule["steps"] + 1}
    kept = {name: tensor.clone() for name, tensor in old.tensors().items()}
    new = memory().commit(old, e, rate, e.proposal - old.tokens, buffers, flags, start, restart=restart)
    for i, (arrived, may, over, image, was_seen, beta) in enumerate(moments):
        tokens, mem, steps = old.tokens[i], old.pose_memory[i], old.rule["steps"][i]
        if arrived and may and image:
            a = beta if was_seen else 1.0
            tokens, mem, steps = a * e.proposal[i] + (1 - a) * tokens, e.pose_memory[i], steps + 1
        if arrived and over:
            tokens, mem, steps = start.tokens[i], start.pose_memory[i], start.rule["steps"][i]
        torch.testing.assert_close(new.tokens[i], tokens, rtol=0, atol=1e-14)
        assert torch.equal(new.pose_memory[i], mem)
        assert torch.equal(new.rule["steps"][i], steps)
        assert bool(new.seen[i]) == ((was_seen or arrived) and not (arrived and over and restart))
        if not arrived:  # not one bit of an absent stream moves
            assert all(torch.equal(t[i], old.tensors()[name][i]) for name, t in new.tensors().items())
    assert torch.equal(new.world_from_chunk, old.world_from_chunk)
    assert all(torch.equal(tensor, kept[name]) for name, tensor in old.tensors().items()), "commit is pure"


def test_the_start_does_not_depend_on_anything_and_is_the_same_for_every_stream() -> None:
    start = memory().begin(3)
    assert torch.equal(start.tokens[0], start.tokens[2])
    assert not start.seen.any()
    assert torch.equal(start.world_from_chunk, torch.eye(4, dtype=torch.float64).expand(3, 4, 4))
    assert start.nbytes == 8 * (3 * S * E + 3 * M * 2 * E + 3 * 16) + 3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_states_keep_their_precision_whatever_the_pass_ran_in(dtype: torch.dtype) -> None:
    old, e = state(1, [True]), exchange(1, [True])
    e = Exchange(e.layers, e.proposal.to(dtype), e.pose_memory.to(dtype), e.pose_token_in, e.stats, e.tokens)
    rate = torch.ones(1, S, 1, dtype=torch.float64)
    flags = Flags.plain(1)
    new = memory().commit(old, e, rate, e.proposal - old.tokens, old.rule, flags, memory().begin(1, old.rule))
    assert {t.dtype for name, t in new.tensors().items() if name != "seen"} == {torch.float64}
