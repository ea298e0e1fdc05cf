# SPDX-License-Identifier: Apache-2.0
"""What the configurations of the published DUSt3R descendants have in common."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, TypeVar

from longtake.errors import CheckpointError
from longtake.frame import PATCH

C = TypeVar("C")

_MODES: dict[str, Any] = {
    "output_mode": "pts3d+pose",
    "depth_mode": ["exp", "-inf", "inf"],
    "conf_mode": ["exp", 1, "inf"],
    "pose_mode": ["exp", "-inf", "inf"],
    "pos_embed": "RoPE100",
    "pose_head": True,
    "patch_size": PATCH,
}


def rebuild(kind: type[C], values: Mapping[str, Any]) -> C:
    """Make a configuration from plain values as JSON keeps them. Raises CheckpointError for names it does not know."""
    known = {f.name for f in fields(kind)}  # pyright: ignore[reportArgumentType]  (a dataclass)
    if unknown := sorted(set(values) - known):
        raise CheckpointError(f"configuration has unknown entries {unknown}; this version knows {sorted(known)}")
    plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return kind(**plain)


def check_heads(heads: Iterable[tuple[str, int, int, int]]) -> None:
    """Raise CheckpointError unless each (name, count, channels, multiple) splits into heads of that multiple."""
    for name, count, channels, multiple in heads:
        if count < 1 or channels % (multiple * count):
            wanted = f"heads of a multiple of {multiple}" if multiple > 1 else "equal heads"
            raise CheckpointError(f"{name}={count}: {channels} channels must split into {wanted}")


def refuse_unknown_modes(values: Mapping[str, Any], changes: Mapping[str, Any] | None = None) -> None:
    """Raise CheckpointError for a constructor value that the published weights never use.

    changes: what a family publishes instead, or beside these. Tuples equal lists, and infinities their names.
    """
    for name, wanted in (_MODES | dict(changes or {})).items():
        if name in values and _plain(values[name]) != _plain(wanted):
            raise CheckpointError(f"{name}={values[name]!r} is not supported; the published models use {wanted!r}")


def _plain(value: Any) -> Any:
    if isinstance(value, (tuple, list)):
        return [_plain(each) for each in value]
    return str(value) if value in (float("inf"), float("-inf")) else value
