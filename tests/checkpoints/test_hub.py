# SPDX-License-Identifier: Apache-2.0
"""Weights from a hub on this machine: licence first, resumed, checked, and never without being told."""

from __future__ import annotations

import builtins
import hashlib
import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hub_server import COMMIT, LocalHub, local_hub
from tiny_vggt import write_tiny_vggt

import longtake
from longtake.checkpoints.hub import HubFile, cached_path, fetch
from longtake.errors import CheckpointError, MissingExtra
from longtake.registry import MODELS

FILE = HubFile("someone/Model", "model.safetensors")
NAME = "someone/Model/model.safetensors"
CONTENT = bytes(range(256)) * 4096  # 1 MiB
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalHub]:
    monkeypatch.setenv("LONGTAKE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 100_000)  # what is written at once
    with local_hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.address)
        hub.files[NAME] = CONTENT
        yield hub


def part() -> Path:
    """Where an unfinished download is kept."""
    path = cached_path("m", FILE)
    return path.with_name(f"{path.name}.{HASH[:16]}.part")


def test_a_file_comes_once_and_is_then_used_without_the_hub(hub: LocalHub) -> None:
    said: list[str] = []
    path = fetch("m", FILE, "Some Licence 2", say=said.append)
    assert path == cached_path("m", FILE)
    assert path.read_bytes() == CONTENT
    assert "'Some Licence 2'" in said[0] and FILE.page in said[0]
    assert HASH in said[-1] and "as the hub states it" in said[-1]
    assert hub.asked[-1][:2] == ("GET", COMMIT)  # the file that was described, whatever is published meanwhile
    asked = len(hub.asked)
    assert fetch("m", FILE, "Some Licence 2", say=said.append) == path
    assert len(hub.asked) == asked


def test_a_cut_is_mended_in_the_same_call(hub: LocalHub) -> None:
    hub.cut_after = 300_000
    assert fetch("m", FILE, "any").read_bytes() == CONTENT
    whole, rest = hub.sent_from()
    assert whole == ""
    assert 0 < int(rest.removeprefix("bytes=").removesuffix("-")) <= 300_000


@pytest.mark.parametrize("ignores", [False, True])
def test_a_later_process_goes_on_where_the_first_one_died(hub: LocalHub, ignores: bool) -> None:
    part().parent.mkdir(parents=True)
    part().write_bytes(CONTENT[:700_000])
    hub.ignores_ranges = ignores
    assert fetch("m", FILE, "any").read_bytes() == CONTENT
    assert hub.sent_from() == ["bytes=700000-"]
    assert not part().exists()


def test_what_is_there_already_is_not_trusted(hub: LocalHub) -> None:
    """Other bytes than the file's, or more of them: the hash finds the first, the size the second."""
    part().parent.mkdir(parents=True)
    part().write_bytes(b"x" * 1000)
    with pytest.raises(CheckpointError, match=rf"SHA-256 [0-9a-f]{{64}}, wanted {HASH}.*was deleted"):
        fetch("m", FILE, "any")
    assert not part().exists()
    part().write_bytes(CONTENT + b"more")
    assert fetch("m", FILE, "any").read_bytes() == CONTENT


def test_bytes_that_do_not_have_the_stated_hash_are_not_kept(hub: LocalHub) -> None:
    hub.stated[NAME] = "ab" * 32
    with pytest.raises(CheckpointError, match=f"SHA-256 {HASH}, wanted {'ab' * 32}") as caught:
        fetch("m", FILE, "any")
    assert str(cached_path("m", FILE)) in str(caught.value)
    assert not [f for f in cached_path("m", FILE).parent.iterdir() if f.suffix != ".lock"]


def test_a_known_hash_wins_over_the_hub_s(hub: LocalHub) -> None:
    said: list[str] = []
    fetch("m", replace(FILE, sha256=HASH), "any", say=said.append)
    assert "as this version knows it" in said[-1]
    with pytest.raises(CheckpointError, match="another model.safetensors"):
        fetch("other", replace(FILE, sha256="cd" * 32), "any")
    assert hub.sent_from() == [""]  # the second was refused before any of it came
    cached_path("m", FILE).write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match=f"wanted {HASH}.*Delete it"):
        fetch("m", replace(FILE, sha256=HASH), "any")


def test_a_hub_without_a_hash_is_refused(hub: LocalHub) -> None:
    hub.stated[NAME] = "0123456789abcdef"
    with pytest.raises(CheckpointError, match="states no SHA-256"):
        fetch("m", FILE, "any")
    assert not hub.sent_from()


def test_what_the_hub_does_not_have_or_not_give(hub: LocalHub) -> None:
    missing = replace(FILE, file="gone.pth")
    with pytest.raises(CheckpointError, match="no gone.pth in someone/Model") as caught:
        fetch("m", missing, "any")
    assert str(cached_path("m", missing)) in str(caught.value) and FILE.page in str(caught.value)
    hub.gated.add(NAME)
    with pytest.raises(CheckpointError, match="is gated: accept its terms"):
        fetch("m", FILE, "any")


def test_offline_says_which_file_to_put_where_and_then_takes_it(
    hub: LocalHub, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as closed:  # bound and never listening: nobody answers
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        with pytest.raises(CheckpointError, match="could not be downloaded") as caught:
            fetch("m", FILE, "Some Licence 2")
    path = cached_path("m", FILE)
    assert f"Get model.safetensors from {FILE.page} by hand and put it at {path}" in str(caught.value)
    assert "Some Licence 2" in capsys.readouterr().err
    path.parent.mkdir(parents=True)
    path.write_bytes(b"by hand")
    assert fetch("m", FILE, "any") == path


def test_without_the_library_the_extra_is_named(hub: LocalHub, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *args: Any, **kwargs: Any) -> Any:
        if name.startswith("huggingface_hub"):
            raise ImportError(name)
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(MissingExtra, match=r"longtake\[hub\].*by hand and put it at"):
        fetch("m", FILE, "any")
    assert not hub.asked


# Behind longtake.load


def test_load_fetches_when_told_to_and_only_then(
    hub: LocalHub, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = MODELS["vggt"]
    assert entry.hub is not None
    written = write_tiny_vggt(tmp_path / "tiny.safetensors")
    hub.files[f"{entry.hub.repository}/{entry.hub.file}"] = written.read_bytes()
    with pytest.raises(CheckpointError, match='weights="hub" downloads it'):
        longtake.load("vggt")
    longtake.load("vggt", written)
    assert not hub.asked
    model = longtake.load("vggt", weights="hub")
    assert model.weights_sha256 == hashlib.sha256(written.read_bytes()).hexdigest()
    assert model.weights_sha256 in (said := capsys.readouterr().err)
    assert said.index(entry.licence) < said.index("downloading")


@pytest.mark.parametrize("name", [name for name, entry in MODELS.items() if entry.hub is None])
def test_models_that_no_hub_has_say_where_they_are(hub: LocalHub, name: str) -> None:
    with pytest.raises(CheckpointError, match=f"the weights of {name} are not on the hub"):
        longtake.load(name, weights="hub")
    assert not hub.asked
