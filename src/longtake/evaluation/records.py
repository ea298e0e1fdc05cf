# SPDX-License-Identifier: Apache-2.0
"""Results on disk: one JSON a take, named by a hash of everything that changes its numbers.

A run that was stopped finds what is done and goes on; a change of weights, rule, frames or code starts afresh.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

import longtake
from longtake.errors import OutputError
from longtake.evaluation.figures import DepthFigures, PoseFigures
from longtake.evaluation.folder import TakeFolder
from longtake.evaluation.run import TakeResult
from longtake.evaluation.sampling import SAMPLING
from longtake.evaluation.summary import TakeFigures

BYSTANDERS = {"cli.py", "doctor.py", "meter.py", "outputs", "serve", "synthetic", "training", "verbs", "viewer"}


def cache_folder() -> Path:
    """Return where results are kept by default: longtake/evaluation in the user's cache."""
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "longtake" / "evaluation"


def code_hash() -> str:
    """Return a hash of the package's source, without the rooms that no prediction goes through."""
    root, digest = Path(longtake.__file__).parent, hashlib.sha256()
    for path in sorted(root.rglob("*.py")):
        if path.relative_to(root).parts[0] not in BYSTANDERS:
            digest.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def take_identity(take: TakeFolder) -> dict[str, Any]:
    """Return what tells a take's content and chosen frames from another's, without reading its images."""
    files = [(p.name, p.stat().st_size) for p in (*take.images, *take.depths) if p is not None]
    truth = hashlib.sha256((take.path / "poses.txt").read_bytes() + (take.path / "intrinsics.txt").read_bytes())
    return {"take": take.name, "indices": list(take.indices), "files": files, "truth": truth.hexdigest()}


def record_path(cache: Path, take: TakeFolder, settings: Mapping[str, Any]) -> Path:
    """Return the file of one take's result under `settings`, which must name everything else that changes a number."""
    key = json.dumps({**settings, **take_identity(take), "sampling": SAMPLING}, sort_keys=True)
    return cache / f"{take.name}-{hashlib.sha256(key.encode()).hexdigest()[:20]}.json"


def to_record(result: TakeResult) -> dict[str, Any]:
    """Return a result as plain values for JSON: figures, the run's facts and both trajectories; NaN becomes None."""
    return plain(
        {
            "take": result.name,
            "rule": result.rule,
            "reset_every": result.reset_every,
            "indices": result.indices,
            "original_size": result.original_size,
            "model_size": result.model_size,
            "cropped_pixels": result.cropped_pixels,
            "seconds": result.seconds,
            "figures": asdict(result.figures),
            "world_from_cam": result.world_from_cam[:, :3].reshape(-1, 12),
            "true_world_from_cam": result.true_world_from_cam[:, :3].reshape(-1, 12),
        }
    )


def figures_of(record: Mapping[str, Any]) -> TakeFigures:
    """Rebuild the figures of a record."""
    figures = record["figures"]
    lengths = {int(n): PoseFigures(**_numbers(pose)) for n, pose in figures["by_length"].items()}
    return TakeFigures(
        depth=DepthFigures(**_numbers(figures["depth"])),
        pose=PoseFigures(**_numbers(figures["pose"])),
        focal_error=_numbers(figures)["focal_error"],
        by_length=lengths,
    )


def plain(value: Any) -> Any:
    """Turn arrays, tuples and numpy numbers into what JSON knows; NaN and infinities into None."""
    if isinstance(value, Mapping):
        return {str(key): plain(each) for key, each in value.items()}
    if isinstance(value, np.ndarray):
        return plain(value.tolist())
    if isinstance(value, (list, tuple)):
        return [plain(each) for each in value]
    if isinstance(value, np.generic):
        return plain(value.item())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def write_json(path: Path, value: Any) -> None:
    """Write JSON as `write_text` does."""
    write_text(path, json.dumps(plain(value), indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a file so that it is either whole or absent. Raises OutputError where it cannot."""
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        with suppress(OSError):
            part.unlink()
        raise OutputError(f"{path}: could not be written ({error}); free space or choose another place.") from error


def read_record(path: Path) -> dict[str, Any] | None:
    """Read a record, or None where there is none that can be read."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: float("nan") if value is None else value for name, value in values.items()}
