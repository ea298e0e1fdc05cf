# SPDX-License-Identifier: Apache-2.0
"""Which device to run on."""

from __future__ import annotations

import torch

from longtake.errors import CapabilityError


def pick_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device that a name means; `auto` takes CUDA, then Apple's MPS, then the CPU.

    Raises CapabilityError for a name that torch does not know and for a device that this machine does not have.
    """
    if str(device) == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "mps" if _has_mps() else "cpu")
    try:
        found = torch.device(device)
    except RuntimeError as error:
        raise CapabilityError(f"device {str(device)!r} is not known; give auto, cpu, cuda, cuda:1 or mps.") from error
    count = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(_has_mps())}.get(found.type, 0)
    if (found.index or 0) >= count:
        raise CapabilityError(f"device {str(device)!r} is not on this machine; `longtake doctor` lists what is.")
    return found


def _has_mps() -> bool:
    return torch.backends.mps.is_available()
