# SPDX-License-Identifier: Apache-2.0
"""The manifest: what ran, nothing of this machine's folders, never half a file."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from take_maker import RUN

import longtake
from longtake.files import replacing
from longtake.outputs.manifest import (
    portable,
    portable_prose,
    read_manifest,
    run_note,
    sha256_of,
    source_note,
    write_manifest,
)


def test_values_that_json_takes_and_strangers_may_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    inside, outside = tmp_path / "in" / "clip.mp4", tmp_path.parent / "secret" / "clip.mp4"
    assert portable([inside, str(outside), "a/b", f"--out={outside}"]) == [
        "in/clip.mp4",
        "clip.mp4",
        "a/b",
        "--out=clip.mp4",
    ]
    assert portable("rtsp://me:word@camera:554/x") == "rtsp://camera:554/x"
    assert portable({"a": (np.float32(0.5), float("nan"), None, True)}) == {"a": [0.5, "nan", None, True]}
    json.dumps(portable({"device": torch.device("cpu"), "path": inside}), allow_nan=False)


def test_sentences_keep_their_words_and_lose_their_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    far = tmp_path.parent / "elsewhere"
    text = f"{far}/a.mp4: 3 frames/s, an I/O error ('{tmp_path}/b.png'). Not http://me:pass@host/c."
    assert portable_prose(text) == "a.mp4: 3 frames/s, an I/O error ('b.png'). Not http://host/c."


def test_what_ran() -> None:
    note = run_note(RUN)
    assert (note["model"], note["rule"], note["seed"], note["device"]) == ("a-model", "ttt3r", 7, "cpu")
    assert note["weights"] == {"name": "a.safetensors", "sha256": "ab" * 32}
    assert note["versions"]["torch"] == torch.__version__ and note["versions"]["numpy"] == np.__version__
    assert note["versions"]["longtake"] == longtake.__version__
    assert note["command"]  # this process's own


def test_the_source_is_hashed_if_it_is_a_file(tmp_path: Path) -> None:
    data = os.urandom(3_000_000)  # more than one piece
    (tmp_path / "clip.mp4").write_bytes(data)
    digest = hashlib.sha256(data).hexdigest()
    assert source_note(str(tmp_path / "clip.mp4")) == {"name": "clip.mp4", "bytes": len(data), "sha256": digest}
    assert sha256_of(tmp_path / "clip.mp4") == digest
    assert source_note(str(tmp_path)) == {"name": tmp_path.name}
    assert source_note("x" * 5000)["name"] == "x" * 5000  # too long for a path: no error


def test_a_manifest_comes_back_and_a_failed_one_leaves_the_old(tmp_path: Path) -> None:
    path = tmp_path / "manifest.json"
    note = run_note(RUN)
    write_manifest(path, note, [("a.png", "00" * 32, 5), ('odd "name"', "11" * 32, 6)])
    found = read_manifest(path)
    assert found is not None and found["files"]['odd "name"'] == {"sha256": "11" * 32, "bytes": 6}
    assert {key: value for key, value in found.items() if key != "files"} == note

    def interrupted() -> Iterator[tuple[str, str, int]]:
        yield "b.png", "22" * 32, 7
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        write_manifest(path, note | {"model": "other"}, interrupted())
    assert read_manifest(path) == found
    assert [file.name for file in tmp_path.iterdir()] == ["manifest.json"]  # no draft takes up room


def test_documents_of_others_are_no_manifests(tmp_path: Path) -> None:
    assert read_manifest(tmp_path / "none.json") is None
    for content in ("", "[]", '{"format": "web-app/1"}', "\xff"):
        (tmp_path / "manifest.json").write_text(content, "latin-1")
        assert read_manifest(tmp_path / "manifest.json") is None


def test_replacing_is_all_or_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    with replacing(path) as draft:
        draft.write_text("first")
        assert not path.exists()
    with pytest.raises(KeyboardInterrupt), replacing(path) as draft:
        draft.write_text("second")
        raise KeyboardInterrupt
    assert path.read_text() == "first" and list(tmp_path.iterdir()) == [path]
