# SPDX-License-Identifier: Apache-2.0
"""Which device a name means, on machines with and without accelerators."""

from __future__ import annotations

import pytest
import torch

from longtake.device import pick_device, seeded
from longtake.errors import CapabilityError


def _machine(patch: pytest.MonkeyPatch, cuda: int, mps: bool) -> None:
    """Let torch report other hardware than this machine has."""
    patch.setattr(torch.cuda, "device_count", lambda: cuda)
    patch.setattr(torch.backends.mps, "is_available", lambda: mps)


@pytest.mark.parametrize(
    ("cuda", "mps", "expected"), [(0, False, "cpu"), (0, True, "mps"), (2, False, "cuda"), (1, True, "cuda")]
)
def test_auto_takes_cuda_then_mps_then_the_cpu(
    monkeypatch: pytest.MonkeyPatch, cuda: int, mps: bool, expected: str
) -> None:
    _machine(monkeypatch, cuda, mps)
    assert pick_device() == pick_device("auto") == torch.device(expected)


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:0", "cuda:1", "mps", "mps:0"])
def test_what_the_machine_has_is_taken_as_named(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _machine(monkeypatch, 2, True)
    assert pick_device(name) == pick_device(torch.device(name)) == torch.device(name)


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "cuda:2", "mps", "mps:1", "cpu:1", "meta", "xpu"])
def test_what_the_machine_lacks_is_named_beside_what_it_has(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    _machine(monkeypatch, 0, False)
    with pytest.raises(CapabilityError, match=f"'{name}' is not on this machine, which has cpu"):
        pick_device(name)


def test_a_number_beyond_the_last_device(monkeypatch: pytest.MonkeyPatch) -> None:
    _machine(monkeypatch, 2, True)
    with pytest.raises(CapabilityError, match="'cuda:2' is not on this machine, which has 2 x cuda, mps, cpu"):
        pick_device("cuda:2")


@pytest.mark.parametrize("name", ["gpu", "", "CUDA", "cuda:", "cuda:-1", "cuda:one", "nvidia", "auto:1", None])
def test_what_is_no_device_at_all(name: str) -> None:
    with pytest.raises(CapabilityError, match="is not known; give auto, cpu, cuda"):
        pick_device(name)


def drawn(device: str) -> list[float]:
    return torch.rand(3, device=device).tolist()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_numbers_begin_at_a_seed_and_go_on_as_before(device: str) -> None:
    with seeded(0):  # so that this test leaves everything as it was
        begin = torch.get_rng_state()
        wanted = [drawn("cpu") for _ in range(2)]
        torch.set_rng_state(begin)
        found = [drawn("cpu")]
        with seeded(7, device):
            first = drawn(device)
        found.append(drawn("cpu"))
        with seeded(7, device):
            assert drawn(device) == first
        assert found == wanted


def test_other_devices_are_not_seeded(monkeypatch: pytest.MonkeyPatch) -> None:
    """PyTorch keeps a seed for CUDA even where there is none yet: whoever used it next would get these numbers."""
    seeds: list[int] = []
    for name in ("manual_seed", "manual_seed_all"):
        monkeypatch.setattr(torch.cuda, name, seeds.append)
    torch.manual_seed(torch.initial_seed())
    assert seeds.pop() == torch.initial_seed(), "this is what it does"
    with seeded(5):
        pass
    assert seeds == []
