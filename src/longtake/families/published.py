# SPDX-License-Identifier: Apache-2.0
"""What configurations have in common: plain values in and out, and what the published DUSt3R descendants share."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, fields
from typing import Any, Self

from longtake.errors import CheckpointError
from longtake.frame import PATCH

_MODES: dict[str, Any] = {
    "output_mode": "pts3d+pose",
    "depth_mode": ["exp", "-inf", "inf"],
    "conf_mode": ["exp", 1, "inf"],
    "pose_mode": ["exp", "-inf", "inf"],
    "pos_embed": "RoPE100",
    "pose_head": True,
    "patch_size": PATCH,
}


class PlainConfig:
    """A frozen dataclass of numbers that can be kept as JSON."""

    __slots__ = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """Rebuild from `to_dict`. Raises CheckpointError for names it does not know."""
        known = {f.name for f in fields(cls)}  # pyright: ignore[reportArgumentType]  (a dataclass)
        if unknown := sorted(set(values) - known):
            raise CheckpointError(f"configuration has unknown entries {unknown}; this version knows {sorted(known)}")
        plain: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
        return cls(**plain)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)  # pyright: ignore[reportArgumentType]


def shared_numbers(values: Mapping[str, Any]) -> dict[str, Any]:
    """Translate the constructor's arguments that CUT3R, Point3R and DUSt3R share, with the published defaults."""
    size = values.get("img_size", 512)
    return {
        "image_size": max(size) if isinstance(size, (tuple, list)) else int(size),
        "encoder_width": values.get("enc_embed_dim", 1024),
        "encoder_depth": values.get("enc_depth", 24),
        "encoder_heads": values.get("enc_num_heads", 16),
        "decoder_width": values.get("dec_embed_dim", 768),
        "decoder_depth": values.get("dec_depth", 12),
        "rope_base": float(values.get("rope_base", 100.0)),
        "mlp_ratio": float(values.get("mlp_ratio", 4)),
        "dpt_width": values.get("dpt_feature_dim", 256),
        "dpt_last": values.get("dpt_last_dim", 128),
        "dpt_layers": tuple(values.get("dpt_layer_dims", (96, 192, 384, 768))),
    }


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
