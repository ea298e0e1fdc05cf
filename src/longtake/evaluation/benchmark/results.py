# SPDX-License-Identifier: Apache-2.0
"""Results on disk: one JSON a sequence with one run for each model and rule, and the clouds that pictures need."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from longtake.errors import InputError, OutputError
from longtake.evaluation.benchmark.cloud_score import Clouds
from longtake.evaluation.benchmark.gathered import thinned
from longtake.evaluation.records import plain, read_record, write_json
from longtake.files import replacing

FORMAT = "longtake-benchmark/1"
DRAWN = 60_000  # points of a stored cloud
MEMORY = ("reset_every", "reset_when", "join", "window", "budget")  # what models may differ in


def digest(value: Any) -> str:
    """Return a short hash of plain values."""
    return hashlib.sha256(json.dumps(plain(value), sort_keys=True).encode()).hexdigest()[:16]


def file_name(sequence: str) -> str:
    """Return a sequence's name as part of a file name."""
    return re.sub(r"[^\w.-]+", "_", sequence).strip("._") or "sequence"


def record_path(out: Path, sequence: str) -> Path:
    """Return the JSON of a sequence."""
    return out / f"{file_name(sequence)}.json"


def cloud_path(out: Path, sequence: str, label: str) -> Path:
    """Return the stored clouds of one run."""
    return out / "clouds" / f"{file_name(sequence)}.{label}.npz"


def find_run(out: Path, sequence: str, label: str, key: str) -> dict[str, Any] | None:
    """Return a finished run whose settings are exactly these, or None."""
    record = read_record(record_path(out, sequence))
    run = record.get("runs", {}).get(label) if record and record.get("format") == FORMAT else None
    return run if run is not None and run.get("key") == key else None


def keep_run(out: Path, dataset: str, sequence: str, notes: Sequence[str], label: str, run: Mapping[str, Any]) -> None:
    """Put a run into its sequence's JSON beside the others; the file is whole at any time."""
    path = record_path(out, sequence)
    old = read_record(path)
    runs = old["runs"] if old and old.get("format") == FORMAT and old.get("dataset") == dataset else {}
    about = {"format": FORMAT, "dataset": dataset, "sequence": sequence, "notes": list(notes)}
    write_json(path, about | {"runs": {**runs, label: plain(run)}})


def keep_clouds(out: Path, sequence: str, label: str, clouds: Clouds) -> None:
    """Store at most 60,000 points of a run's clouds. Raises OutputError where it cannot."""
    path = cloud_path(out, sequence, label)
    names = ("predicted", "true", "colors", "seen_from")
    few = dict(zip(names, thinned([getattr(clouds, name) for name in names], DRAWN), strict=True))
    values = {k: v if k == "colors" else v.astype(np.float32) for k, v in few.items()}
    values |= {"poses": clouds.poses, "path": clouds.path}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as draft, draft.open("wb") as file:
            np.savez_compressed(file, **values)  # type: ignore[arg-type]
    except OSError as error:
        raise OutputError(f"{path}: could not be written ({error}); free space or choose another place.") from error


def read_clouds(out: Path, sequence: str, label: str) -> Clouds | None:
    """Return what `keep_clouds` stored, or None where there is nothing whole."""
    try:
        with np.load(cloud_path(out, sequence, label), allow_pickle=False) as stored:
            return Clouds(**{name: stored[name] for name in Clouds.__slots__})
    except (OSError, ValueError, KeyError):
        return None


def runs_beside(out: Path, runs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the runs of other models on the same sequences that lie in `out` and may stand beside these.

    They were measured by the same code under the same protocol; where their memory was bounded otherwise, their rule's
    name says so.
    """
    if not runs:
        return []
    models, own, found = {run["model"] for run in runs}, runs[0]["settings"], []
    for sequence in dict.fromkeys(run["sequence"] for run in runs):
        record = read_record(record_path(out, sequence)) or {}
        for label, run in record.get("runs", {}).items():
            theirs = run["settings"]
            same = theirs["code_sha256"] == own["code_sha256"] and _fixed(theirs) == _fixed(own)
            if run["model"] not in models and same:
                bounds = [(name, theirs["protocol"].get(name)) for name in MEMORY]
                bounded = [f"{name} {n}" for name, n in bounds if n and n != own["protocol"].get(name)]
                found.append({**run, "label": label, "sequence": sequence, "rule": ", ".join([run["rule"], *bounded])})
    return found


def _fixed(settings: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in plain(settings["protocol"]).items() if name not in MEMORY}


def read_folder(out: Path) -> list[dict[str, Any]]:
    """Return the records of a folder of results. Raises InputError where there are none."""
    records = [read_record(path) for path in sorted(out.glob("*.json"))] if out.is_dir() else []
    found = [record for record in records if record and record.get("format") == FORMAT]
    if not found:
        raise InputError(f"{out}: holds no results; give a folder that `longtake evaluate DATASET ... --json` wrote.")
    return found
