# SPDX-License-Identifier: Apache-2.0
"""What the constructors of the published DUSt3R descendants have in common: modes that no released weights leave."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from longtake.errors import CheckpointError
from longtake.frame import PATCH

_MODES: Mapping[str, Any] = {
    "output_mode": "pts3d+pose",
    "depth_mode": ["exp", "-inf", "inf"],
    "conf_mode": ["exp", 1, "inf"],
    "pose_mode": ["exp", "-inf", "inf"],
    "pos_embed": "RoPE100",
    "pose_head": True,
    "patch_size": PATCH,
}


def refuse_unknown_modes(values: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> None:
    """Raise CheckpointError for a constructor value that the published weights never use.

    changes: what a family publishes instead, or beside the common modes. Tuples equal lists, and infinities their names.
    """
    for name, wanted in (_MODES | dict(changes or {})).items():
        if name in values and _plain(values[name]) != _plain(wanted):
            raise CheckpointError(f"{name}={values[name]!r} is not supported; the published models use {wanted!r}")


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return str(value) if value in (float("inf"), float("-inf")) else value
