# SPDX-License-Identifier: Apache-2.0
"""The configuration that an official VGGT or StreamVGGT state dict shows by its shapes.

Shapes tell widths, depths and how the aggregator splits into heads. They cannot tell the other head counts, nor which
layers the dense heads read: those are the published model's, unless the caller says otherwise.
"""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from longtake.errors import CheckpointError

Shapes = Mapping[str, Sequence[int]]

# The official VGGT-1B's values of what no shape shows.
UNSEEN: Mapping[str, Mapping[str, Any]] = {
    "dino": {"num_heads": 16},
    "camera_head": {"num_heads": 16, "iterations": 4},
    "dpt_head": {"intermediate_layer_idx": [4, 11, 17, 23]},
    "track_head": {"num_heads": 8, "iters": 4, "stride": 2, "down_ratio": 2, "max_scale": 518},
}
_LEVELS = 7  # of the tracker's correlation: its first layer shows levels * (2 * radius + 1)^2 only


def vggt_config(shapes: Shapes, arguments: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return the sizes, in the layout of `VggtConfig.from_official`, and notes on what was assumed.

    shapes: official key -> shape. arguments: sizes that stand in for the assumed ones, in the same layout; where they
    contradict the shapes, the shapes win.

    Raises:
        CheckpointError: a key that every VGGT has is missing.
    """
    arguments = arguments or {}
    seen = _seen(shapes, (arguments.get("track_head") or {}).get("corr_levels", _LEVELS))
    config: dict[str, Any] = dict(seen)
    notes = []
    assumed = []
    for part, values in UNSEEN.items():
        told = arguments.get(part) or {}
        config[part] = {**values, **told, **seen[part]} if seen.get(part) is not None else None
        assumed += [f"{part}.{name}={value!r}" for name, value in values.items() if name not in told]
        notes += [
            f"{part}.{name}: the arguments say {told[name]!r}, the shapes {value!r}; the shapes are taken"
            for name, value in (seen.get(part) or {}).items()
            if name in told and told[name] != value
        ]
    if assumed:
        notes.append(f"assumed the published values of what no shape shows: {', '.join(assumed)}")
    notes.append("VGGT and StreamVGGT files look alike: which of the two it is, the name in longtake.load says")
    return config, notes


def _seen(shapes: Shapes, levels: int) -> dict[str, Any]:
    """Everything that shapes tell."""

    def size(key: str, axis: int = 0) -> int:
        if key not in shapes or len(shapes[key]) <= axis:
            raise CheckpointError(
                f"not a whole VGGT state dict: {key} is missing or has too few axes. Download it again."
            )
        return int(shapes[key][axis])

    width = size("aggregator.camera_token", 3)
    patch = size("aggregator.patch_embed.patch_embed.proj.weight", 2)
    registers = size("aggregator.register_token", 2)
    side = math.isqrt(size("aggregator.patch_embed.pos_embed", 1) - 1)

    def channels(head: str) -> list[int]:
        return [size(f"{head}.projects.{i}.weight") for i in range(4)]

    seen: dict[str, Any] = {
        "img_size": side * patch,
        "patch_size": patch,
        "embed_dim": width,
        "num_register_tokens": registers,
        "mlp_ratio": size("aggregator.frame_blocks.0.mlp.fc1.weight") / width,
        "dino": {"depth": _depth(shapes, "aggregator.patch_embed.blocks")},
        "aggregator": {
            "depth": _depth(shapes, "aggregator.frame_blocks"),
            "num_heads": width // size("aggregator.frame_blocks.0.attn.q_norm.weight"),
        },
        "camera_head": {"trunk_depth": _depth(shapes, "camera_head.trunk")},
        "dpt_head": {
            "features": size("depth_head.scratch.layer1_rn.weight"),
            "out_channels": channels("depth_head"),
            "last_hidden": size("depth_head.scratch.output_conv2.0.weight"),
        },
        "track_head": None,
    }
    if any(key.startswith("track_head.") for key in shapes):
        window = size("track_head.tracker.corr_mlp.fc1.weight", 1) // levels
        seen["track_head"] = {
            "features": size("track_head.tracker.fmap_norm.weight"),
            "out_channels": channels("track_head.feature_extractor"),
            "hidden_size": size("track_head.tracker.updateformer.input_transform.weight"),
            "depth": _depth(shapes, "track_head.tracker.updateformer.time_blocks"),
            "num_virtual_tracks": size("track_head.tracker.updateformer.virual_tracks", 1),
            "corr_levels": levels,
            "corr_radius": (math.isqrt(window) - 1) // 2,
        }
    return seen


def _depth(shapes: Shapes, stack: str) -> int:
    """One more than the highest index in `STACK.INDEX.`, 0 if there is none."""
    found = (re.match(rf"{re.escape(stack)}\.(\d+)\.", key) for key in shapes)
    return max((int(match[1]) + 1 for match in found if match), default=0)
