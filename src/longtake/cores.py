# SPDX-License-Identifier: Apache-2.0
"""How many cores this process may use: what a container grants, not what the machine has. Imports nothing heavy."""

from __future__ import annotations

import os
from collections.abc import MutableMapping
from pathlib import Path

CGROUP = Path("/sys/fs/cgroup/cpu.max")  # control groups, version 2: "QUOTA PERIOD" or "max PERIOD"


def granted_cores(quota: Path = CGROUP) -> int | None:
    """Return the cores that the container's quota comes to, rounded up; None where there is none."""
    try:
        granted, period = quota.read_text(encoding="ascii").split()
        return None if granted == "max" else max(1, -(-int(granted) // int(period)))
    except (OSError, ValueError):
        return None


def set_threads(environment: MutableMapping[str, str] = os.environ, quota: Path = CGROUP) -> None:
    """Say how PyTorch's threads behave, before it is imported; whatever the user has set stays.

    Their number is PyTorch's own, one a physical core, unless a container grants fewer: PyTorch would take all cores of
    the machine, and the threads would stand still most of the time. They wait for each other by spinning, which is a
    little faster on an idle machine (53 against 55 ms a frame on two cores) and thirty times slower where another
    program needs one of the cores: so they spin shortly.
    """
    environment.setdefault("GOMP_SPINCOUNT", "1000")
    cores = granted_cores(quota)
    if cores is not None and cores < len(_usable()):
        environment.setdefault("OMP_NUM_THREADS", str(cores))


def _usable() -> range | set[int]:
    return os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)
