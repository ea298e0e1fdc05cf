# SPDX-License-Identifier: Apache-2.0
"""One client as the worker sees it: its newest frame in, its answers out, both bounded."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from longtake.serve.protocol import Hello, SentFrame

AHEAD = 2  # answers that may wait for a client; while they do, its frames are only kept, the newest


@dataclass(frozen=True, slots=True)
class Goodbye:
    """The service ends the connection."""

    code: int
    reason: str


Outgoing = bytes | dict[str, Any] | Goodbye


@dataclass(eq=False, slots=True)
class Visitor:
    """A client that has a seat. The worker's lock guards `newest` and `ahead`; the rest is the worker thread's."""

    hello: Hello
    deliver: Callable[[Outgoing], None]  # hands a message to the client's connection; never blocks
    take: str  # id of its take
    seat: int = -1
    newest: tuple[SentFrame, float] | None = None  # the frame that waits, and when it came
    ahead: int = 0  # answers that the connection has not sent yet
    reset: bool = False  # the memory starts over after the next frame
    dropped: int = 0  # frames that a newer one replaced
    began: float = field(default_factory=time.monotonic)
    used: float = field(default_factory=time.monotonic)  # when a frame of it could last be used
    gone: bool = False

    @property
    def ready(self) -> bool:
        """Whether its newest frame can be stepped."""
        return self.newest is not None and self.ahead < AHEAD
