# SPDX-License-Identifier: Apache-2.0
"""Saved streams on disk: what a state file says, before a model goes on from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from torch import Tensor

from longtake.errors import CheckpointError, InputError

FORMAT = "longtake-state-1"


def read_saved(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what is said of a saved stream, and its tensors by name.

    Raises InputError where there is no such file, CheckpointError for what is no state.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give a state file that stream.save() wrote.")
    try:
        with safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("longtake", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a readable state file ({error}). Save it again with stream.save()."
        ) from error
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path}: holds no stream state (wanted {FORMAT}); weights are loaded with longtake.load")
    return about, tensors


def saved_model(path: str | Path) -> tuple[str, int | None]:
    """Return the name of the model that saved a state, and the longer side of what it sees: as `load` takes them.

    Empty and None where the state does not say. Raises InputError, CheckpointError.
    """
    about, _ = read_saved(path)
    config = about.get("config", {})
    return str(about.get("model") or ""), config.get("image_size") or config.get("seen_size")
