# SPDX-License-Identifier: Apache-2.0
"""Point3R beyond the kit's cases: what its text implies for first views, memory, resets and unread weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_models import picture, tiny
from torch import Tensor

from longtake.errors import CapabilityError
from longtake.families.point3r import Point3r, Point3rConfig
from longtake.frame import Views
from longtake.memory.pointers import Memory, merge
from longtake.stream import Stream


def model(**changes: object) -> Point3r:
    """The tiny model in float64, without the rounded rotation."""
    made = tiny("point3r")
    with torch.random.fork_rng(devices=[]):
        again = Point3r(replace(made.config, rounded_rope=False, **changes))
    again.load_state_dict(made.state_dict())
    return again.double().eval().requires_grad_(False)


def image(seed: int, height: int = 48, width: int = 64) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(1, 3, height, width, dtype=torch.float64, generator=g) * 2 - 1


def look(net: Point3r, memory: Memory, seed: int) -> tuple[Memory, dict[str, Tensor]]:
    tokens = net.tokenize(Views(image=image(seed)))
    exchange = net.exchange(memory, tokens)
    heads = net.detokenize(exchange)
    said = {"world": heads.points_world, "self": heads.points_self, "pose": heads.pose}
    return net.commit(memory, exchange, heads), said


def test_the_first_view_makes_a_pointer_of_every_patch_at_its_mean_point() -> None:
    net = model()
    memory, said = look(net, {}, 0)
    assert memory["tokens"].shape == (1, 12, 32)
    patches = said["world"][0].reshape(3, 16, 4, 16, 3).mean((1, 3)).reshape(1, 12, 3)
    torch.testing.assert_close(memory["positions"], patches)
    assert torch.equal(memory["patches"], memory["positions"])


def test_later_views_merge_by_the_same_rule_as_the_function() -> None:
    net = model()
    memory: Memory = {}
    for i in range(4):
        tokens = net.tokenize(Views(image=image(i)))
        exchange = net.exchange(memory, tokens)
        heads = net.detokenize(exchange)
        after = net.commit(memory, exchange, heads)
        if memory:
            features = net.commit({}, exchange, heads)["tokens"][0]
            wanted = merge(memory["positions"][0], memory["tokens"][0], after["patches"][0], features)
            torch.testing.assert_close(after["positions"][0], wanted[0])
            torch.testing.assert_close(after["tokens"][0], wanted[1])
        memory = after


def test_without_merging_every_patch_is_appended() -> None:
    net = model(merge_steps=None)
    memory: Memory = {}
    for i in range(3):
        before, (memory, _) = memory, look(net, memory, i)
        assert memory["tokens"].shape[1] == 12 * (i + 1)
        if before:
            assert torch.equal(memory["tokens"][:, :-12], before["tokens"])


def test_what_the_text_calls_dead_changes_nothing() -> None:
    """The memory decoder's last block and its norm: decoding never changes a pointer."""
    net, other = model(), model()
    last = other.memory.layers[-1].state
    for parameter in (*last.parameters(), *other.memory.memory_norm.parameters()):
        parameter.add_(1.0)
    memories: tuple[Memory, Memory] = ({}, {})
    for i in range(3):
        (a, said_a), (b, said_b) = look(net, memories[0], i), look(other, memories[1], i)
        assert all(torch.equal(said_a[key], said_b[key]) for key in said_a)
        memories = (a, b)
    assert all(torch.equal(memories[0][key], memories[1][key]) for key in memories[0])


def test_positions_are_those_of_the_view_before() -> None:
    """Moving the last view's patches moves what the next view says; its own points come only afterwards."""
    net = model()
    memory, _ = look(net, {}, 0)
    moved = dict(memory) | {"patches": memory["patches"] + 0.5}
    _, here = look(net, memory, 1)
    _, there = look(net, moved, 1)
    assert not torch.allclose(here["world"], there["world"])


def test_a_change_of_size_is_refused_even_after_a_reset_whose_frame_is_seen_again() -> None:
    stream = Stream(tiny("point3r"))
    for i in range(2):
        with pytest.raises(CapabilityError, match=r"48 x \d+.*begin a new stream"):
            stream.step(picture(i, 60, 84), reset=True) and stream.step(picture(1, 84, 60))
    assert stream.frames == [2]
    other = Stream(tiny("point3r"))
    other.step(picture(0), update=False, reset=True)  # a chunk that has seen nothing takes any size
    other.step(picture(1, 84, 60))


def test_a_first_view_that_is_not_written_leaves_a_first_view_to_come() -> None:
    stream, fresh = Stream(tiny("point3r")), Stream(tiny("point3r"))
    stream.step(picture(0), update=False)
    assert torch.equal(stream.step(picture(1)).points, fresh.step(picture(1)).points)


def test_the_official_configuration_is_the_default() -> None:
    assert Point3rConfig.from_official({}) == Point3rConfig()
    assert Point3rConfig.from_dict(Point3rConfig().to_dict()) == Point3rConfig()
