# SPDX-License-Identifier: Apache-2.0
"""The outbox: everything in order, bounded, errors told once, no thread left behind whatever ends the block."""

from __future__ import annotations

import signal
import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from waiting import PATIENCE, wait_for

from longtake.engine import Outbox


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "longtake-outbox"]


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(), max_size=20), st.integers(1, 5))
def test_everything_is_done_in_order_when_the_block_ends(items: list[int], depth: int) -> None:
    done: list[int] = []
    with Outbox(done.append, depth) as outbox:
        for item in items:
            outbox.put(item)
    assert done == items and not threads()


def test_the_caller_is_ahead_by_depth_and_no_more() -> None:
    gate, begun, handed = threading.Event(), threading.Event(), []

    def work(item: int) -> None:
        begun.set()
        gate.wait(PATIENCE)

    def caller() -> None:
        with Outbox(work, 3) as outbox:
            for item in range(20):
                outbox.put(item)
                handed.append(item)

    thread = threading.Thread(target=caller)
    thread.start()
    assert begun.wait(PATIENCE)
    wait_for(lambda: len(handed) == 4)
    time.sleep(0.1)
    assert handed == [0, 1, 2, 3]  # one in work, three waiting
    gate.set()
    thread.join(PATIENCE)
    assert handed == list(range(20)) and not threads()


def test_an_error_is_told_once_and_nothing_is_done_after_it() -> None:
    done: list[int] = []

    def work(item: int) -> None:
        if item == 2:
            raise OSError("full")
        done.append(item)

    told = 0
    with Outbox(work, 1) as outbox:
        for item in range(10):
            try:
                outbox.put(item)
            except OSError as error:
                assert str(error) == "full"
                told += 1
    assert done == [0, 1] and told == 1 and not threads()


def test_an_error_of_the_last_item_comes_where_the_block_ends() -> None:
    with pytest.raises(ZeroDivisionError), Outbox[int](lambda item: print(1 // item)) as outbox:
        outbox.put(0)
    assert not threads()


def test_what_was_handed_over_is_done_when_the_block_fails() -> None:
    done: list[int] = []

    def slow(item: int) -> None:
        time.sleep(0.02)
        done.append(item)

    with pytest.raises(KeyError), Outbox(slow) as outbox:
        for item in range(4):
            outbox.put(item)
        raise KeyError
    assert done == [0, 1, 2, 3] and not threads()


def test_ctrl_c_while_it_waits_finishes_what_was_begun_and_drops_the_rest() -> None:
    done: list[int] = []
    begun, pressed = threading.Event(), threading.Event()

    def slow(item: int) -> None:
        begun.set()
        pressed.wait(PATIENCE)
        done.append(item)

    def press() -> None:
        begun.wait(PATIENCE)
        wait_for(lambda: outbox._queue.qsize() == 4)  # three items and the end: the block is being left
        signal.raise_signal(signal.SIGINT)
        wait_for(outbox._dropping.is_set)
        signal.raise_signal(signal.SIGINT)  # impatient people press twice
        time.sleep(0.3)
        pressed.set()

    presser = threading.Thread(target=press)
    with pytest.raises(KeyboardInterrupt), Outbox(slow) as outbox:
        for item in range(4):
            outbox.put(item)
        presser.start()
    presser.join()
    assert done == [0] and not threads()
