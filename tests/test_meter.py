# SPDX-License-Identifier: Apache-2.0
import sys

import numpy as np
import pytest
import torch

from longtake.meter import finish_work, peak_bytes, peak_resident_bytes, resident_bytes, start_counting


def test_peak_memory_never_falls_and_is_in_bytes() -> None:
    start_counting(torch.device("cpu"))  # where it can be: a process that has done much had a high peak
    before, now = peak_resident_bytes(), resident_bytes() or 0
    if before is None:
        pytest.skip("this system does not say")
    block = np.ones((before - now) // 8 + 12_500_000)  # beyond all that was resident so far, and touched
    after = peak_resident_bytes()
    del block
    assert after is not None
    assert after >= before + 80_000_000
    assert peak_resident_bytes() == pytest.approx(after, rel=0.05)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux can forget a peak")
def test_counting_starts_anew() -> None:
    block = np.ones(20_000_000)
    high = peak_resident_bytes()
    del block
    start_counting(torch.device("cpu"))
    low = peak_resident_bytes()
    assert high is not None and low is not None
    assert low <= high - 100_000_000


def test_the_cpu_has_nothing_to_wait_for() -> None:
    device = torch.device("cpu")
    finish_work(device)
    assert peak_bytes(device) == peak_resident_bytes()
