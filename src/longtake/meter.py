# SPDX-License-Identifier: Apache-2.0
"""What a run costs in memory, as the system and the device count it."""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from contextlib import suppress
from pathlib import Path

import torch


def start_counting(device: torch.device) -> None:
    """Let the peak count from now on: the device's, or on Linux this process's; elsewhere it counts from the start."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    elif sys.platform == "linux":
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak becomes what is resident now


def peak_bytes(device: torch.device) -> int | None:
    """Return the largest memory so far: of the device where it is a CUDA device, else resident memory of this process.

    None where the system does not say (Windows).
    """
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else peak_resident_bytes()


def give_back_memory() -> None:
    """Hand what is free back to the system and the device, so that one run's leavings are not the next one's peak.

    On Linux's C library; other allocators do it by themselves or not at all.
    """
    gc.collect()
    if torch.cuda.is_initialized():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)


def bytes_now(device: torch.device) -> int | None:
    """Return the memory in use: of the device where it is a CUDA device, else resident memory of this process.

    None where the system does not say (other than Linux).
    """
    return torch.cuda.memory_allocated(device) if device.type == "cuda" else resident_bytes()


def peak_resident_bytes() -> int | None:
    """Return the largest resident memory of this process so far, or None where the system does not say (Windows)."""
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024  # Linux counts in KiB, macOS in bytes


def resident_bytes() -> int | None:
    """Return the resident memory of this process now, or None where the system does not say (other than Linux)."""
    try:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, ValueError, IndexError):
        return None


def finish_work(device: torch.device) -> None:
    """Wait until the device has done what was asked of it, so that a clock read now tells the truth."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def is_lack_of_memory(error: BaseException) -> bool:
    """Say whether memory is over: CUDA has an error of its own for it, the CPU and Apple raise a RuntimeError."""
    said = str(error).lower()
    return (
        isinstance(error, (MemoryError, torch.OutOfMemoryError))
        or "out of memory" in said
        or "t allocate memory" in said
    )
