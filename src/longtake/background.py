# SPDX-License-Identifier: Apache-2.0
"""A thread beside the program's own, whose end can be waited for by people who press Ctrl-C."""

from __future__ import annotations

import threading
import time

_POLL = 0.2  # seconds between looks at what else has happened while waiting


class Background(threading.Thread):
    """A daemon thread that says when it has ended.

    `join` must not be waited in where Ctrl-C may come: Python 3.11 then takes a thread that still runs for ended, and
    whoever waits for it next does not.
    """

    def __init__(self, **options: object) -> None:
        """Take the options of `threading.Thread`."""
        super().__init__(daemon=True, **options)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        self.ended = threading.Event()

    def run(self) -> None:
        """Do the work; then say that it is over, however it ended."""
        try:
            super().run()
        finally:
            self.ended.set()

    def wait(self, seconds: float = float("inf")) -> bool:
        """Wait until a begun thread has ended, at most so long; whether it has. Ctrl-C is seen on every system."""
        until = time.monotonic() + seconds
        while not self.ended.wait(_POLL):
            if time.monotonic() > until:
                return False
        self.join()  # a matter of microseconds
        return True
