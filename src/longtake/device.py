# SPDX-License-Identifier: Apache-2.0
"""Which device to run on, and its random numbers."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

import torch

from longtake.errors import CapabilityError


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device that a name means; `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises CapabilityError for a name that torch does not know and for a device that this machine does not have.
    """
    counts = {"cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available()), "cpu": 1}
    present = [kind for kind, count in counts.items() if count]
    if str(device) == "auto":
        return torch.device(present[0])
    try:
        found = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise CapabilityError(f"device {device!r} is not known; give auto, cpu, cuda, cuda:1 or mps.") from error
    if (found.index or 0) >= counts.get(found.type, 0):
        has = ", ".join(f"{counts[kind]} x {kind}" if counts[kind] > 1 else kind for kind in present)
        raise CapabilityError(
            f"device {str(device)!r} is not on this machine, which has {has}. Name one of these, or auto."
        )
    return found


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Context manager: random numbers of the CPU and of a device begin at a seed, and go on afterwards as before.

    `torch.manual_seed` would seed every other device too, and leave it so. (Apple's MPS keeps the seed.)
    """
    device = torch.device(device)
    cuda = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if cuda else []):
        torch.default_generator.manual_seed(seed)
        with torch.cuda.device(device) if cuda else nullcontext():
            if device.type != "cpu":
                getattr(torch, device.type).manual_seed(seed)
        yield
