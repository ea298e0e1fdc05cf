# SPDX-License-Identifier: Apache-2.0
"""The weights that come inside the package."""

from __future__ import annotations

from pathlib import Path

from longtake.errors import CheckpointError

FOLDER = Path(__file__).resolve().parents[1] / "weights"


def embedded_path(name: str) -> Path:
    """Return the file of an embedded model. Raises CheckpointError where the package lacks it."""
    path = FOLDER / f"{name}.safetensors"
    if not path.is_file():
        raise CheckpointError(
            f"the weights of {name} are not in this installation ({path.name} is missing): "
            "install the package again, or pass your own with weights=FILE."
        )
    return path
