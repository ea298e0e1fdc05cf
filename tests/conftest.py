# SPDX-License-Identifier: Apache-2.0
"""Rules for every test: nothing beyond this machine is reached, and torch uses few threads."""

from __future__ import annotations

import ipaddress
import os
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from beartype import BeartypeConf
from beartype.claw import beartype_packages
from hypothesis import HealthCheck, settings

# Annotations of the inner rooms are checked in every call during the tests, and never elsewhere; an int may stand for a
# float. The doors (sources, outputs, checkpoints, stream, command line) are left out: their tests hand them wrong
# things. A function inside a function is checked anew in every call, and stays in memory with all that it holds: what
# runs in every frame has none around a picture, or tests of long takes would see memory grow.
INNER = ("frame", "nn", "tokenize", "memory", "rules", "detokenize", "families", "synthetic")
beartype_packages([f"longtake.{room}" for room in INNER], conf=BeartypeConf(is_pep484_tower=True))

# How long an example takes to draw or to run says something about the machine, and nothing about the code.
settings.register_profile("any-machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-machine")

# Before torch is imported anywhere. Tiny models on many threads are slower, and sums would change with the machine.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that runs tests in its background has them ignore Ctrl-C, which some tests press.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parents[1]


def _is_local(host: object) -> bool:
    if host in ("", "localhost", None, b"", b"localhost"):
        return True
    try:
        return ipaddress.ip_address(host.decode() if isinstance(host, bytes) else str(host)).is_loopback
    except ValueError:
        return False  # a name that would have to be looked up


@pytest.fixture(autouse=True)
def _rules_of_ones_own_are_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages and notebooks register rules; other tests count them."""
    from longtake.rules import table

    monkeypatch.setattr(table, "_RULES", dict(table._RULES))


@pytest.fixture(autouse=True, scope="session")
def _only_this_machine() -> Iterator[None]:
    """Refuse connections and look-ups that would leave this machine: Longtake makes none."""
    connect, connect_ex, look_up = socket.socket.connect, socket.socket.connect_ex, socket.getaddrinfo

    def check(host: object) -> None:
        if not _is_local(host):
            raise RuntimeError(f"a test tried to reach {host!r}: Longtake and its tests use no network")

    def check_address(self: socket.socket, address: Any) -> None:
        if self.family != getattr(socket, "AF_UNIX", None):
            check(address[0])

    def guarded_connect(self: socket.socket, address: Any) -> None:
        check_address(self, address)
        return connect(self, address)

    def guarded_connect_ex(self: socket.socket, address: Any) -> int:
        check_address(self, address)
        return connect_ex(self, address)

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        check(host)
        return look_up(host, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket.socket, "connect_ex", guarded_connect_ex)
        patch.setattr(socket, "getaddrinfo", guarded_look_up)
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests that need a GPU, loudly, where there is none."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


@pytest.fixture
def root() -> Path:
    """The repository's root."""
    return ROOT
