# SPDX-License-Identifier: Apache-2.0
"""The pass in which frame and state read each other: positions, the twin decoder, the pose memory, no attention map."""

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
from longtake.memory.pose_memory import PoseMemory
from longtake.memory.recurrent import RecurrentMemory, state_positions
from longtake.memory.twin import TwinLayer
from longtake.nn import rope_table
from longtake.nn.rope import grid_positions


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def build(**changes: Any) -> RecurrentMemory:
    torch.manual_seed(0)
    options = {"image_heads": 2, "state_heads": 4, "state_size": 11, "pose_slots": 3} | changes
    return RecurrentMemory(24, 16, 3, **options).double().requires_grad_(False)


def tokens(n: int, height: int, width: int, seed: int = 1) -> Tokens:
    size = (16 * height, 16 * width)
    here = grid_positions(height, width)
    return Tokens(random(n, height * width, 24, seed=seed), here, size, torch.ones(n, dtype=torch.bool))


def later(memory: RecurrentMemory, n: int) -> State:
    """A state in the middle of a take."""
    start = memory.begin(n)
    moved = start.tokens + random(*start.tokens.shape, seed=2)
    remembered = start.pose_memory + random(*start.pose_memory.shape, seed=3)
    return start.with_(tokens=moved, pose_memory=remembered, seen=torch.ones_like(start.seen))


@settings(deadline=None)
@given(st.integers(1, 800))
def test_state_positions_fill_a_grid_of_even_width(count: int) -> None:
    places = state_positions(count)
    width = math.floor(math.sqrt(count))
    width += width % 2
    assert [tuple(p) for p in places.tolist()] == [(i // width, i % width) for i in range(count)]
    assert len(set(map(tuple, places.tolist()))) == count
    assert state_positions(count, "1d").tolist() == [[i, i] for i in range(count)]


def test_other_layouts_are_refused() -> None:
    with pytest.raises(ValueError, match="none"):
        state_positions(4, "none")


class Shapes(TorchDispatchMode):
    """Every shape that any operation makes."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: set[tuple[int, ...]] = set()

    def __torch_dispatch__(self, func: Callable, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        self.seen |= {tuple(leaf.shape) for leaf in tree_leaves(out) if isinstance(leaf, Tensor)}
        return out


def maps(shapes: set[tuple[int, ...]], first: int, second: int) -> list[tuple[int, ...]]:
    return [shape for shape in shapes if shape[-2:] in ((first, second), (second, first), (first, first))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_the_rate_comes_without_any_attention_map(dtype: torch.dtype) -> None:
    # State 19, image 1 + 28, pose memory 13 tokens: no width of this model is one of these numbers.
    memory = build(state_size=19, pose_slots=13).to(dtype)
    view = tokens(1, 4, 7)
    view = Tokens(view.features.to(dtype), view.positions, view.size, view.has_image)
    state = later(memory, 1).map(lambda t: t.to(dtype) if t.is_floating_point() else t)
    with Shapes() as watched:
        exchange = memory.exchange(state, view, want_logit=True)
    assert exchange.stats.mean_logit is not None
    assert (1, 4, 19, 4) in watched.seen, "the watcher saw the state's queries"
    assert not maps(watched.seen, 19, 29)
    assert not maps(watched.seen, 29, 19)
    assert not maps(watched.seen, 13, 13)
    with Shapes() as watched:  # and the watcher does see one where there is one
        (random(1, 4, 19, 4) @ random(1, 4, 4, 29)).softmax(-1)
    assert maps(watched.seen, 19, 29)


def test_statistics_nobody_wants_are_not_computed() -> None:
    memory = build()
    state, view = later(memory, 2), tokens(2, 2, 3)
    asked, plain = memory.exchange(state, view, want_logit=True), memory.exchange(state, view)
    assert plain.stats.mean_logit is None
    assert torch.equal(asked.proposal, plain.proposal)


def test_given_tables_are_the_ones_it_makes() -> None:
    memory = build()
    state, view = later(memory, 1), tokens(1, 3, 2)
    a = memory.exchange(state, view, want_logit=True)
    b = memory.exchange(state, view, want_logit=True, tables=memory.tables(view.positions))
    assert torch.equal(a.proposal, b.proposal)
    assert torch.equal(a.layers[-1], b.layers[-1])


def test_each_side_reads_the_other_as_it_was_before_the_layer() -> None:
    torch.manual_seed(0)
    layer = TwinLayer(16, 4, 2).double()
    tables = [
        tuple(rope_table(p, d, torch.float64) for p in (grid_positions(2, 3), grid_positions(1, 4))) for d in (4, 8)
    ]
    state, image = random(1, 6, 16), random(1, 4, 16, seed=1)
    new_state, new_image, _ = layer(state, image, *tables)
    read_state, _ = layer.state(state, image, *tables[0])
    read_image, _ = layer.image(image, state, tables[1][1], tables[1][0])
    assert torch.equal(new_state, read_state)
    assert torch.equal(new_image, read_image)


def test_the_trace_is_what_the_pass_saw() -> None:
    memory = build()
    state, view, trace = later(memory, 1), tokens(1, 2, 2), {}
    exchange = memory.exchange(state, view, want_logit=True, trace=trace)
    assert len(trace["state"]) == len(trace["image"]) == 1 + memory.depth
    assert torch.equal(trace["state"][0], state.tokens)
    assert torch.equal(trace["state"][-1], exchange.proposal)
    assert torch.equal(trace["image"][0], view.features)
    assert torch.equal(trace["image"][-1], exchange.layers[-1])
    assert torch.equal(trace["image"][memory.depth * 2 // 4][:, 1:], exchange.layers[1])
    assert torch.equal(torch.stack(trace["logits"]).mean(0), exchange.stats.mean_logit)


def test_a_model_of_one_layer_runs() -> None:
    torch.manual_seed(0)
    memory = RecurrentMemory(24, 16, 1, image_heads=2, state_heads=2, state_size=4, pose_slots=2).double()
    exchange = memory.exchange(later(memory, 1), tokens(1, 2, 2))
    assert [layer.shape[1] for layer in exchange.layers] == [4, 4, 4, 5]


def test_the_first_view_takes_the_learned_pose_token_and_later_ones_ask_the_memory() -> None:
    memory = build()
    state, view = later(memory, 2), tokens(2, 2, 3)
    mixed = memory.exchange(state.with_(seen=torch.tensor([False, True])), view)
    assert torch.equal(mixed.pose_token_in[0], memory.pose_token[0, 0])
    asked = memory.pose_memory.read(state.pose_memory, view.features.mean(1))
    assert torch.equal(mixed.pose_token_in[1], asked[1, 0])
    both = memory.exchange(state.with_(seen=torch.tensor([False, False])), view, recall=torch.tensor([True, True]))
    assert torch.equal(both.pose_token_in, asked[:, 0])


@pytest.mark.parametrize("width", [16, 8], ids=["published", "slim"])
def test_the_pose_memory_reads_and_writes_each_stream_alone(width: int) -> None:
    torch.manual_seed(0)
    memory = PoseMemory(24, 16, width, slots=5, heads=2, depth=2).double()
    slots, look, token = random(3, 5, 2 * width), random(3, 24, seed=1), random(3, 1, 16, seed=2)
    read, written = memory.read(slots, look), memory.write(slots, look, token)
    assert read.shape == (3, 1, 16)
    assert written.shape == slots.shape
    for i in range(3):
        one = slice(i, i + 1)
        torch.testing.assert_close(memory.read(slots[one], look[one]), read[one], rtol=0, atol=1e-12)
        torch.testing.assert_close(memory.write(slots[one], look[one], token[one]), written[one], rtol=0, atol=1e-12)
    order = torch.tensor([4, 2, 0, 1, 3])  # slots have no positions: they are a set
    torch.testing.assert_close(memory.read(slots[:, order], look), read, rtol=0, atol=1e-12)
    torch.testing.assert_close(memory.write(slots[:, order], look, token), written[:, order], rtol=0, atol=1e-12)
