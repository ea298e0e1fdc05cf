# SPDX-License-Identifier: Apache-2.0
"""Every number of a VGGT-shaped model, and how the published configuration becomes it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from longtake.errors import CheckpointError
from longtake.families.published import PlainConfig


@dataclass(frozen=True, slots=True)
class VggtConfig(PlainConfig):
    """The defaults are the official VGGT-1B's; StreamVGGT has the same and `causal`."""

    causal: bool = False  # a frame sees itself and earlier ones only: StreamVGGT
    image_size: int = 518  # width of the images it was trained on; the positions' stored size
    patch: int = 14
    width: int = 1024
    registers: int = 4
    encoder_depth: int = 24
    encoder_heads: int = 16
    depth: int = 24  # pairs of frame and global blocks
    heads: int = 16
    camera_depth: int = 4
    camera_heads: int = 16
    camera_rounds: int = 4
    dpt_width: int = 256
    dpt_layers: tuple[int, ...] = (256, 512, 1024, 1024)
    dpt_last: int = 32
    dpt_read: tuple[int, ...] = (4, 11, 17, 23)  # the layers that the dense heads read, counted from 0
    track_features: int = 128  # 0: no track head
    track_layers: tuple[int, ...] = (256, 512, 1024, 1024)
    track_hidden: int = 384
    track_depth: int = 6
    track_heads: int = 8
    track_levels: int = 7
    track_radius: int = 4
    track_rounds: int = 4
    track_stride: int = 2
    track_down: int = 2
    track_virtual: int = 64
    track_scale: float = 518.0
    rope_base: float = 100.0
    mlp_ratio: float = 4.0
    seen_size: int = 0  # width of the images that streams prepare; 0: image_size
    is_metric: bool = False

    def __post_init__(self) -> None:
        """Refuse numbers that no model can be built from. Raises CheckpointError."""
        splits = (
            ("encoder_heads", self.encoder_heads, self.width, 1),
            ("heads", self.heads, self.width, 4),
            ("camera_heads", self.camera_heads, 2 * self.width, 1),
            ("track_heads", self.track_heads, self.track_hidden if self.track_features else self.track_heads, 1),
        )
        for name, count, channels, multiple in splits:
            if count < 1 or channels % (multiple * count):
                raise CheckpointError(f"{name}={count}: {channels} channels must split into heads, multiples of 4")
        if len(self.dpt_read) != 4 or not all(0 <= i < self.depth for i in self.dpt_read):
            raise CheckpointError(f"dpt_read={self.dpt_read}: four layers of 0 to {self.depth - 1} are needed")
        if any(c % 4 for c in (*self.dpt_layers, self.dpt_width // 2, 2 * self.width)):
            raise CheckpointError(
                f"dpt_layers={self.dpt_layers}, dpt_width={self.dpt_width}: multiples of 4 are needed"
            )
        if self.image_size % self.patch or self.size % self.patch:
            raise CheckpointError(
                f"image sizes {self.image_size}, {self.size} are not multiples of {self.patch} pixels"
            )

    @property
    def size(self) -> int:
        """Width of the images that streams prepare."""
        return self.seen_size or self.image_size

    def tiny(self) -> VggtConfig:
        """The same kind of model, as small as it can sensibly be: for tests and for trying things out."""
        widths: dict[str, Any] = {"image_size": 4 * self.patch, "seen_size": 0, "width": 32, "registers": 2}
        counts: dict[str, Any] = {"encoder_depth": 1, "depth": 4, "camera_depth": 2, "dpt_read": (0, 1, 2, 3)}
        heads: dict[str, Any] = {"encoder_heads": 2, "heads": 2, "camera_heads": 2, "track_heads": 2}
        dense: dict[str, Any] = {"dpt_width": 8, "dpt_layers": (4, 8, 4, 8), "dpt_last": 4}
        track: dict[str, Any] = {"track_layers": (4, 8, 4, 8), "track_hidden": 16, "track_depth": 2, "track_virtual": 3}
        pyramid: dict[str, Any] = {"track_levels": 3, "track_radius": 2}
        features = 8 if self.track_features else 0
        return replace(self, **widths, **counts, **heads, **dense, **track, **pyramid, track_features=features)

    @classmethod
    def from_official(cls, values: Mapping[str, Any], *, causal: bool = False) -> VggtConfig:
        """Translate the published sizes: {"img_size", "patch_size", "embed_dim", "dino": {...}, "aggregator": ...}.

        What is left out has the official value. Raises CheckpointError for sizes that no such model can have.
        """
        official = cls()
        parts = {name: values.get(name) or {} for name in ("dino", "aggregator", "camera_head", "dpt_head")}
        dino, aggregator, camera, dpt = parts.values()
        track = values.get("track_head", {})
        width = values.get("embed_dim", official.width)
        registers = values.get("num_register_tokens", official.registers)
        fixed = (("embed_dim", width), ("num_register_tokens", registers), ("mlp_ratio", values.get("mlp_ratio", 4)))
        for name, wanted in fixed:
            if dino.get(name, wanted) != wanted:
                raise CheckpointError(f"dino.{name}={dino[name]!r} differs from the aggregator's {wanted!r}")
        named: dict[str, Any] = {
            "image_size": values.get("img_size"),
            "patch": values.get("patch_size"),
            "encoder_depth": dino.get("depth"),
            "encoder_heads": dino.get("num_heads"),
            "depth": aggregator.get("depth"),
            "heads": aggregator.get("num_heads"),
            "camera_depth": camera.get("trunk_depth"),
            "camera_heads": camera.get("num_heads"),
            "camera_rounds": camera.get("iterations"),
            "dpt_width": dpt.get("features"),
            "dpt_layers": dpt.get("out_channels"),
            "dpt_last": dpt.get("last_hidden"),
            "dpt_read": dpt.get("intermediate_layer_idx"),
            "rope_base": values.get("rope_base"),
            "mlp_ratio": values.get("mlp_ratio"),
        }
        for ours, theirs in _TRACK.items():
            named[ours] = (track or {}).get(theirs)
        if track is None:
            named["track_features"] = 0
        told: dict[str, Any] = {
            name: tuple(v) if isinstance(v, (list, tuple)) else v for name, v in named.items() if v is not None
        }
        return cls(causal=causal, width=width, registers=registers, **_floats(told))


_TRACK = {
    "track_features": "features",
    "track_layers": "out_channels",
    "track_hidden": "hidden_size",
    "track_depth": "depth",
    "track_heads": "num_heads",
    "track_levels": "corr_levels",
    "track_radius": "corr_radius",
    "track_rounds": "iters",
    "track_stride": "stride",
    "track_down": "down_ratio",
    "track_virtual": "num_virtual_tracks",
    "track_scale": "max_scale",
}


def _floats(values: dict[str, Any]) -> dict[str, Any]:
    return {n: float(v) if n in ("rope_base", "mlp_ratio", "track_scale") else v for n, v in values.items()}
