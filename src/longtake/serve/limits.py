# SPDX-License-Identifier: Apache-2.0
"""What one client may take from the others."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from longtake.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of one connection, and of all together."""

    seats: int = 8  # clients that are served at once
    waiting: int = 32  # connections that have not said hello yet
    max_bytes: int = 4_000_000  # of one message
    max_megapixels: float = 12.0  # of one picture, read from its header
    max_video_megapixels: float = 2.2  # of a picture of H.264, whose decoder keeps up to 16 of them: Full HD
    max_fps: float = 30.0  # frames a second and client; those beyond are dropped
    max_errors: int = (
        10  # messages that make no sense, until the client is sent away; one is forgiven every ten seconds
    )
    hello_seconds: float = 10.0  # until the hello
    idle_seconds: float = 60.0  # without a frame that can be used
    send_seconds: float = 20.0  # for one answer to be taken
    states: int = 64  # states kept of clients that left; the oldest go first

    def __post_init__(self) -> None:
        """Raises InputError for a bound that lets nobody in."""
        for name, value in ((name, getattr(self, name)) for name in self.__slots__):
            if not value > 0:
                raise InputError(f"{name} is {value}; give a number above 0")


class Bucket:
    """A token bucket: `burst` at once, `rate` a second after that."""

    def __init__(self, rate: float, burst: float, now: Callable[[], float] = time.monotonic) -> None:
        self.rate, self.burst, self._now = rate, burst, now
        self._level, self._at = burst, now()

    def take(self) -> bool:
        """Whether there is one left; takes it."""
        now = self._now()
        self._level = min(self.burst, self._level + (now - self._at) * self.rate)
        self._at = now
        if self._level < 1:
            return False
        self._level -= 1
        return True
