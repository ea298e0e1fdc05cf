# SPDX-License-Identifier: Apache-2.0
"""Frames that are encoded before their turn: the same numbers to the bit, whatever comes instead of what was told."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from longtake.engine import Ahead, CapturedEngine, Engine, PlainEngine, Tuning, tune
from longtake.families.cut3r import Cut3r
from longtake.frame import Flags, Frame, Heads
from longtake.registry import find
from longtake.sources.prefetch import with_next
from longtake.stream import Stream, Streams

SIZES = ((32, 48), (48, 32))


def build(name: str = "longtake-small", **tuning: Any) -> Any:
    torch.manual_seed(5)
    entry = find(name)
    return tune(type(entry.build())(entry.config.tiny()).eval().requires_grad_(False), Tuning(**tuning))


def heads_of(heads: Heads | None) -> list[Tensor]:
    kept: list[Tensor] = []
    if heads is not None:
        heads.map(lambda tensor: kept.append(tensor) or tensor)
    return kept


def replayed(work: Any) -> Any:
    """A graph by plain calls: work is run once to begin with, and what it says is always in the same memory."""
    kept = work()

    def replay() -> Heads | None:
        for place, tensor in zip(heads_of(kept), heads_of(work()), strict=True):
            place.copy_(tensor)
        return kept

    return replay


class Take:
    """Random calls of an engine for three streams: some members, sizes, resets with their repeated frame, loads."""

    def __init__(self, seed: int, frames: int = 18) -> None:
        random = np.random.default_rng(seed)
        self.calls = []
        for i in range(frames):
            members = [0, 1, 2] if random.random() < 0.6 else [k for k in range(3) if random.random() < 0.6] or [1]
            size = SIZES[int(random.random() < 0.15)]
            images = torch.from_numpy(random.uniform(-1, 1, (len(members), 3, *size)).astype(np.float32))
            resets = torch.from_numpy(random.random(len(members)) < 0.15)
            self.calls.append((members, images, resets, bool(random.random() < 0.9), i == 11))

    def run(self, engine: Engine, told: Any) -> tuple[list[Tensor], dict[str, Tensor]]:
        """Everything that was said, and the state at the end. told: of (i, images of the next call), what is said."""
        said, copies = [], []
        for i, (members, images, resets, update, load) in enumerate(self.calls):
            plain = Flags.plain(len(members), update=update)
            following = self.calls[i + 1][1] if i + 1 < len(self.calls) else None
            said += heads_of(engine.see(images, Flags(plain.active, plain.update, resets), members, told(i, following)))
            if bool(resets.any()):
                overlap = Flags(resets, plain.update, torch.zeros_like(resets))
                said += heads_of(engine.again(overlap, members, show=i % 2 == 0))
            if load:
                engine.load(engine.state.map(lambda tensor: tensor.clone()))
            copies += [tensor.clone() for tensor in said[len(copies) :]]
        assert all(torch.equal(a, b) for a, b in zip(said, copies, strict=True)), "a later frame overwrote an earlier"
        return copies, engine.state.tensors()


def same(one: tuple[list[Tensor], dict[str, Tensor]], two: tuple[list[Tensor], dict[str, Tensor]]) -> bool:
    assert len(one[0]) == len(two[0]) and one[1].keys() == two[1].keys()
    heads = all(torch.equal(a, b) for a, b in zip(one[0], two[0], strict=True))
    return heads and all(torch.equal(tensor, two[1][name]) for name, tensor in one[1].items())


TOLD = {
    "always": lambda i, following: following,
    "sometimes": lambda i, following: following if i % 3 else None,
    "wrong": lambda i, following: following if i % 3 else torch.rand(3, 3, *SIZES[i % 2]) * 2 - 1,
    "never": lambda i, following: None,
}


@pytest.mark.parametrize("kind", [PlainEngine, CapturedEngine])
def test_what_is_said_is_what_is_said_without(kind: Any) -> None:
    """The plain engine, and the schedule of the graphs by plain calls: slots, fixed memory, repeated frames."""
    take, plain, ahead = Take(0), build(), build(ahead=True)
    options = {"capture": replayed} if kind is CapturedEngine else {}

    def run(model: Any, told: Any) -> Any:
        return take.run(kind(model, model.writer("ttt3r"), 3, **options), told)

    wanted = run(plain, TOLD["never"])
    for told in TOLD.values():
        assert same(run(ahead, told), wanted)
    if kind is CapturedEngine:
        said, state = take.run(PlainEngine(plain, plain.writer("ttt3r"), 3), TOLD["never"])
        for a, b in zip([*wanted[0], *wanted[1].values()], [*said, *state.values()], strict=True):
            torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)  # other sets of streams are multiplied at once


@pytest.mark.parametrize("kind", [PlainEngine, CapturedEngine])
def test_each_frame_is_encoded_once_and_before_its_turn(kind: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, calls = build(ahead=True), []
    encode, step = Cut3r.tokenize, Cut3r.step
    monkeypatch.setattr(Cut3r, "tokenize", lambda *a, **k: calls.append("encode") or encode(*a, **k))
    monkeypatch.setattr(Cut3r, "step", lambda *a, **k: calls.append("step") or step(*a, **k))
    options = {"capture": lambda work: work} if kind is CapturedEngine else {}
    engine = kind(model, model.writer("ttt3r"), 1, **options)
    assert engine.looks_ahead
    pictures = [torch.rand(1, 3, *SIZES[0]) for _ in range(4)]
    if kind is CapturedEngine:
        engine.see(pictures[3], Flags.plain(1), [0])  # its memory is made
    calls.clear()
    for now, then in zip(pictures, [*pictures[1:], None], strict=True):
        engine.see(now, Flags.plain(1), [0], then)
        engine.again(Flags.plain(1), [0], show=True)
    again = ["step"]
    assert calls == ["encode"] + 3 * (["encode", "step"] + again) + ["step"] + again
    calls.clear()
    engine.see(pictures[0], Flags.plain(1), [0])
    assert calls == ["encode", "step"], "a live frame"


def test_only_the_very_same_views_are_known() -> None:
    early: Ahead[str] = Ahead()
    a, b = object(), object()
    for views, members, known in (((a,), [0], True), ((b,), [0], False), ((a,), [1], False), ((a, b), [0], False)):
        early.keep([a], [0], "made")
        assert (early.take(views, members) == "made") is known
        assert early.take([a], [0]) is None, "it is kept for one turn"


def pictures(count: int, *, turned: bool = True) -> Iterator[Frame]:
    random = np.random.default_rng(3)
    for i in range(count):
        size = (36, 48) if i % 7 != 5 or not turned else (48, 36)
        yield Frame(random.integers(0, 255, (*size, 3), dtype=np.uint8), i / 30, i, str(i))


@pytest.mark.parametrize("name", ["cut3r-512", "longtake-small", "vggt", "dust3r"])
def test_a_stream_that_is_told_says_the_same(name: str) -> None:
    plain, ahead = build(name), build(name, ahead=True)
    one, two = Stream(plain, reset_every=4), Stream(ahead, reset_every=4)
    assert two.describe()["tuning"] == "ahead" and one.describe()["tuning"] == ""
    frames = [one.prepare(frame) for frame in pictures(10, turned=name in ("cut3r-512", "longtake-small"))]
    for i, frame in enumerate(frames):
        following = frames[i + 1] if i + 1 < len(frames) and i != 6 else frames[0]
        a, b = one.step(frame, update=i != 3), two.step(frame, update=i != 3, upcoming=following)
        assert torch.equal(a.points, b.points) and torch.equal(a.world_from_cam, b.world_from_cam)
    theirs = two.state.tensors()
    assert all(torch.equal(tensor, theirs[key]) for key, tensor in one.state.tensors().items())


def test_streams_that_join_and_leave_say_the_same() -> None:
    plain, ahead = build(), build(ahead=True)
    one, two = Streams(plain, 3, reset_every=3), Streams(ahead, 3, reset_every=3)
    takes = [[one.prepare(frame) for frame in pictures(10)] for _ in range(3)]
    rows = [[None if (i + 2 * k) % 5 == 0 else takes[k][i] for k in range(3)] for i in range(10)]
    for row, following in zip(rows, [*rows[1:], ()], strict=True):
        for a, b in zip(one.step(row), two.step(row, upcoming=following), strict=True):
            assert (a is None) == (b is None)
            assert a is None or b is None or torch.equal(a.points, b.points)


def test_an_item_comes_with_the_one_after_it_and_an_error_in_its_turn() -> None:
    def breaking() -> Generator[int, None, None]:
        yield from (1, 2, 3)
        raise ValueError("broke")

    assert list(with_next(iter([1, 2, 3]))) == [(1, 2), (2, 3), (3, None)]
    assert list(with_next(iter([]))) == []
    pairs = with_next(breaking())
    assert [next(pairs) for _ in range(3)] == [(1, 2), (2, 3), (3, None)]
    with pytest.raises(ValueError, match="broke"):
        next(pairs)
