# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C while somebody waits for a thread: it is heard at once, and the thread is not taken for ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import pytest
from waiting import PATIENCE

from longtake.background import Background

# A source that lets go half a second after it was told to, and a Ctrl-C that comes while that is waited for.
CLOSING = """
import signal, threading, time
from longtake.sources.prefetch import Prefetcher
signal.signal(signal.SIGINT, signal.default_int_handler)
let_go, gone = threading.Event(), []
def source():
    yield 1
    ahead._stop.wait()
    print("closing", flush=True)
    let_go.wait()
    time.sleep(0.5)
    gone.append(True)
ahead = Prefetcher(source())
next(ahead)
try:
    ahead.close()
except KeyboardInterrupt:
    print("heard", any(t.name == "longtake-prefetch" for t in threading.enumerate()), flush=True)
let_go.set()
ahead.close()
print("closed", gone, flush=True)
"""


@pytest.mark.skipif(os.name != "posix", reason="signals of the POSIX kind")
def test_ctrl_c_while_a_source_is_closed_is_heard_and_the_next_who_closes_it_waits() -> None:
    with subprocess.Popen([sys.executable, "-c", CLOSING], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout and process.stdout.readline() == "closing\n"
            time.sleep(0.3)  # the main thread is in `close`, and by now at its end, where it waits
            process.send_signal(signal.SIGINT)
            told, _ = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert told.splitlines() == ["heard True", "closed [True]"]


def test_waiting_ends_with_the_thread_or_the_time() -> None:
    gate = threading.Event()
    thread = Background(target=gate.wait, args=(PATIENCE,), name="longtake-test")
    thread.start()
    assert not thread.wait(0.01) and thread.is_alive() and thread.daemon
    gate.set()
    assert thread.wait() and not thread.is_alive()


def test_a_thread_that_fails_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda args: told.append(args.exc_type))
    thread = Background(target=lambda: 1 / 0)
    thread.start()
    assert thread.wait(PATIENCE) and told == [ZeroDivisionError]
