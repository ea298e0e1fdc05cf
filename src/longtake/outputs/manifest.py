# SPDX-License-Identifier: Apache-2.0
"""The manifest of a take: what ran, on what, with what, and the hash of every file it left."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import numpy as np
import torch

from longtake.files import replacing

FORMAT = "longtake-manifest/1"
_CHUNK = 1 << 20
_PLACE = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"]+|(?<![\w.~/])~?/[^\s'\",;:()]+")


@dataclass(frozen=True, slots=True)
class Run:
    """What the manifest and the report tell of a run. Every field may stay empty."""

    model: str = ""  # the name that load() took
    spec: Mapping[str, Any] = field(default_factory=dict)  # the model's configuration
    weights: str = ""  # file or name of the weights
    weights_sha256: str = ""
    rule: str = ""
    seed: int | None = None
    command: Sequence[str] = ()  # as typed; empty: the process's own arguments
    source: str = ""  # path or URL of the take
    device: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


def versions() -> dict[str, str]:
    """Return the versions that a result can depend on."""
    try:
        own = metadata.version("longtake")
    except metadata.PackageNotFoundError:
        own = "not installed"
    return {
        "longtake": own,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
    }


def writable(text: str) -> str:
    """Return a text that UTF-8 can hold: file names may have bytes that are none, which Python keeps as surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")


def portable(value: Any) -> Any:
    """Return a value fit for JSON that tells nothing of this machine's folders and no passwords.

    Absolute paths become relative to the working folder, or their last part where they lie outside it; user names and
    passwords are cut from URLs. Works through lists and mappings; what JSON does not know becomes its text.
    """
    match value:
        case None | bool() | int():
            return value
        case float():
            return value if np.isfinite(value) else str(value)
        case Path():
            return _portable_text(str(value))
        case str():
            return _portable_text(value)
        case Mapping():
            return {str(key): portable(item) for key, item in value.items()}
        case list() | tuple() | set() | frozenset():
            return [portable(item) for item in value]
        case np.generic():
            return portable(value.item())
        case _:
            return _portable_text(str(value))


def portable_prose(text: str) -> str:
    """Return a sentence in which every absolute path and address is reduced as `portable` reduces it."""
    return _PLACE.sub(lambda found: _portable_text(found[0]), writable(text))


def _portable_text(text: str) -> str:
    text = writable(text)
    option, equals, rest = text.partition("=")
    if equals and option.startswith("-"):
        return f"{option}={_portable_text(rest)}"
    if re.match(r"[a-zA-Z][a-zA-Z0-9+.-]*://", text):
        parts = urlsplit(text)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    if os.path.isabs(text) or text.startswith("~"):
        path = Path(text).expanduser()
        inside = path.is_relative_to(Path.cwd())
        return path.relative_to(Path.cwd()).as_posix() if inside else path.name
    return text


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, read in pieces. Raises OSError."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while piece := file.read(_CHUNK):
            digest.update(piece)
    return digest.hexdigest()


def source_note(source: str) -> dict[str, Any]:
    """Return name, bytes and SHA-256 of a source that is a file; only its name otherwise."""
    note: dict[str, Any] = {"name": portable(source)}
    path = Path(source)
    try:
        if source and path.is_file():
            note |= {"name": writable(path.name), "bytes": path.stat().st_size, "sha256": sha256_of(path)}
    except OSError:  # the source may be gone by the time the take ends, or its name too long for a path
        note["sha256"] = None
    return note


def run_note(run: Run) -> dict[str, Any]:
    """Return the part of the manifest that is known before the first frame."""
    command = list(run.command) or [Path(sys.argv[0]).name, *sys.argv[1:]]
    return {
        "format": FORMAT,
        "versions": versions(),
        "model": run.model,
        "spec": portable(run.spec),
        "weights": {"name": portable(run.weights), "sha256": run.weights_sha256 or None},
        "rule": run.rule,
        "seed": run.seed,
        "command": portable(command),
        "device": run.device,
        "options": portable(run.options),
    }


def write_manifest(path: Path, note: Mapping[str, Any], files: Iterable[tuple[str, str, int]] = ()) -> None:
    """Write the manifest, its files (name, sha256, bytes) one by one, and put it in place in one move.

    Raises OSError; an earlier manifest then stays as it was.
    """
    with replacing(path) as draft, open(draft, "w", encoding="utf-8") as file:
        file.write(json.dumps(dict(note), indent=1, ensure_ascii=False)[:-2] + ',\n "files": {')
        for position, (name, digest, size) in enumerate(files):
            entry = json.dumps({"sha256": digest, "bytes": size})
            file.write(("," if position else "") + f"\n  {json.dumps(name, ensure_ascii=False)}: {entry}")
        file.write("\n }\n}\n")


def read_manifest(path: Path) -> dict[str, Any] | None:
    """Return a manifest written by Longtake, or None where there is none or it is someone else's."""
    try:
        document = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None
    ours = isinstance(document, dict) and document.get("format") == FORMAT
    return document if ours else None
