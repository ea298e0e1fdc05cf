# SPDX-License-Identifier: Apache-2.0
"""A tiny VGGT on disk as its authors publish theirs: a state dict under the official names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtake.families.vggt import Vggt
from longtake.families.vggt_config import VggtConfig

CONFIG = VggtConfig().tiny()
SIZES: dict[str, Any] = {  # what no shape shows
    "dino": {"num_heads": 2},
    "camera_head": {"num_heads": 2},
    "dpt_head": {"intermediate_layer_idx": [0, 1, 2, 3]},
    "track_head": {"num_heads": 2, "corr_levels": 3},
}
# Our name -> the published one. Written apart from the library's own table, so that it checks it.
_NAMES = (
    (r"^encoder\.proj\.", "aggregator.patch_embed.patch_embed.proj."),
    (r"^encoder\.class_token$", "aggregator.patch_embed.cls_token"),
    (r"^encoder\.positions$", "aggregator.patch_embed.pos_embed"),
    (r"^encoder\.registers$", "aggregator.patch_embed.register_tokens"),
    (r"^encoder\.", "aggregator.patch_embed."),
    (r"^memory\.", "aggregator."),
    (r"\.scale(\d)$", r".ls\1.gamma"),
    (r"^camera_head\.no_pose$", "camera_head.empty_pose_tokens"),
    (r"^camera_head\.modulation\.", "camera_head.poseLN_modulation.1."),
    (r"^(depth|point)_head\.pyramid\.", r"\1_head."),
    (r"^track_head\.extractor\.", "track_head.feature_extractor."),
    (r"\.project\.(\d)\.", r".projects.\1."),
    (r"\.up4\.", ".resize_layers.0."),
    (r"\.up2\.", ".resize_layers.1."),
    (r"\.down2\.", ".resize_layers.3."),
    (r"\.skips\.0\.", ".scratch.layer1_rn."),
    (r"\.skips\.1\.", ".scratch.layer2_rn."),
    (r"\.skips\.2\.", ".scratch.layer3_rn."),
    (r"\.skips\.3\.", ".scratch.layer4_rn."),
    (r"\.fusions\.0\.", ".scratch.refinenet1."),
    (r"\.fusions\.1\.", ".scratch.refinenet2."),
    (r"\.fusions\.2\.", ".scratch.refinenet3."),
    (r"\.fusions\.3\.", ".scratch.refinenet4."),
    (r"(refinenet\d)\.skip_unit\.", r"\1.resConfUnit1."),
    (r"(refinenet\d)\.unit\.", r"\1.resConfUnit2."),
    (r"(refinenet\d)\.out\.", r"\1.out_conv."),
    (r"^(\w+_head|track_head\.feature_extractor)\.out\.", r"\1.scratch.output_conv1."),
    (r"^(\w+_head)\.head_mid\.", r"\1.scratch.output_conv2.0."),
    (r"^(\w+_head)\.head_out\.", r"\1.scratch.output_conv2.2."),
    (r"\.tracker\.map_norm\.", ".tracker.fmap_norm."),
    (r"\.tracker\.first_or_not$", ".tracker.query_ref_token"),
    (r"\.tracker\.feature_norm\.", ".tracker.ffeat_norm."),
    (r"\.tracker\.feature_update\.", ".tracker.ffeat_updater.0."),
    (r"\.tracker\.visible\.", ".tracker.vis_predictor.0."),
    (r"\.tracker\.sure\.", ".tracker.conf_predictor.0."),
    (r"\.former\.virtual$", ".updateformer.virual_tracks"),
    (r"\.former\.enter\.", ".updateformer.input_transform."),
    (r"\.former\.leave\.", ".updateformer.flow_head."),
    (r"\.former\.virtual_blocks\.", ".updateformer.space_virtual_blocks."),
    (r"\.former\.gather_blocks\.(\d+)\.attn\.", r".updateformer.space_virtual2point_blocks.\1.cross_attn."),
    (r"\.former\.spread_blocks\.(\d+)\.attn\.", r".updateformer.space_point2virtual_blocks.\1.cross_attn."),
    (r"\.former\.gather_blocks\.", ".updateformer.space_virtual2point_blocks."),
    (r"\.former\.spread_blocks\.", ".updateformer.space_point2virtual_blocks."),
    (r"\.former\.", ".updateformer."),
    (r"(updateformer\..*attn)\.qkv\.", r"\1.in_proj_"),
    (r"(updateformer\..*attn)\.proj\.", r"\1.out_proj."),
)


def module(seed: int = 0) -> Vggt:
    """A model with weights of a seed; none is at its start value."""
    torch.manual_seed(seed)
    made = Vggt(CONFIG).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


def official_weights(seed: int = 0) -> dict[str, Tensor]:
    """The weights of `module(seed)` under the published names, with the one that nothing reads."""
    named = {"aggregator.patch_embed.mask_token": torch.zeros(1, CONFIG.width)}
    for name, tensor in module(seed).state_dict().items():
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901
        named[name] = tensor
    return named


def official_file(path: Path, weights: dict[str, Tensor] | None = None) -> Path:
    """Write a bare state dict, as the authors do."""
    torch.save(weights or official_weights(), path)
    return path
