# SPDX-License-Identifier: Apache-2.0
"""A tiny VGGT as one of Longtake's own files."""

from __future__ import annotations

from pathlib import Path

from longtake.checkpoints import write_safetensors
from longtake.families.vggt import Vggt
from longtake.families.vggt_config import VggtConfig


def write_tiny_vggt(path: Path) -> Path:
    """Write it and return the path."""
    config = VggtConfig().tiny()
    write_safetensors(path, Vggt(config).state_dict(), config.to_dict(), "vggt")
    return path
