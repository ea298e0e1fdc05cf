# SPDX-License-Identifier: Apache-2.0
"""How long a test waits for what must come: long enough for a machine on which a dozen processes share two cores."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

PATIENCE = 180.0  # seconds; who waits this long waits in vain


def wait_for(done: Callable[[], Any], what: str = "what was waited for did not come") -> None:
    """Return once `done` says so; fail, and say what was wrong, after `PATIENCE` seconds."""
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, f"{what} within {PATIENCE:g} s"
        time.sleep(0.01)
