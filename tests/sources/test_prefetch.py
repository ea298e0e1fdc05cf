# SPDX-License-Identifier: Apache-2.0
"""The prefetcher: the same items in the same order, bounded, errors passed on, no thread left behind."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import wait_for

from longtake.sources.prefetch import Prefetcher


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(), max_size=20), st.integers(1, 5))
def test_same_items_same_order(items: list[int], depth: int) -> None:
    assert list(Prefetcher(items, depth)) == items


def test_no_more_than_depth_ahead() -> None:
    made = 0

    def source() -> Iterator[int]:
        nonlocal made
        for value in range(100):
            made += 1
            yield value

    with Prefetcher(source(), 4) as ahead:
        assert next(ahead) == 0
        time.sleep(0.3)
        assert made <= 1 + 4 + 1  # taken, waiting, and the one in hand
    assert made <= 6


def test_an_error_comes_after_what_came_before_it() -> None:
    def source() -> Iterator[int]:
        yield 1
        yield 2
        raise KeyError("broken")

    ahead = Prefetcher(source())
    assert [next(ahead), next(ahead)] == [1, 2]
    with pytest.raises(KeyError, match="broken"):
        next(ahead)
    with pytest.raises(StopIteration):
        next(ahead)


def test_stopping_closes_the_source_in_its_own_thread() -> None:
    threads: list[str] = []

    def source() -> Iterator[int]:
        try:
            yield from range(1000)
        finally:
            threads.append(threading.current_thread().name)

    with Prefetcher(source(), 2) as ahead:
        next(ahead)
    assert threads == ["longtake-prefetch"]
    assert not any(t.name == "longtake-prefetch" for t in threading.enumerate())
    with pytest.raises(StopIteration):
        next(ahead)


def test_dropping_the_last_reference_stops_the_thread() -> None:
    others = set(threading.enumerate())
    ahead = Prefetcher(iter(range(1000)), 2)
    next(ahead)
    assert set(threading.enumerate()) - others
    del ahead
    gc.collect()
    wait_for(lambda: not set(threading.enumerate()) - others, "the thread goes on")


def test_never_started_needs_no_thread() -> None:
    before = threading.active_count()
    Prefetcher(range(3)).close()
    assert threading.active_count() == before
