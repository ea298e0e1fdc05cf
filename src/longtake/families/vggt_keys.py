# SPDX-License-Identifier: Apache-2.0
"""Official VGGT and StreamVGGT state dict keys -> ours. Both have the same names and shapes."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_DEAD = "aggregator.patch_embed.mask_token"  # no forward pass reads it
_DPT = (
    ("resize_layers.0.", "up4."),
    ("resize_layers.1.", "up2."),
    ("resize_layers.3.", "down2."),
    ("projects.", "project."),
    ("scratch.output_conv1.", "out."),
)
_PREFIXES = (
    ("aggregator.patch_embed.patch_embed.proj.", "encoder.proj."),
    ("aggregator.patch_embed.cls_token", "encoder.class_token"),
    ("aggregator.patch_embed.pos_embed", "encoder.positions"),
    ("aggregator.patch_embed.register_tokens", "encoder.registers"),
    ("aggregator.patch_embed.", "encoder."),
    ("aggregator.", "memory."),
    ("camera_head.empty_pose_tokens", "camera_head.no_pose"),
    ("camera_head.poseLN_modulation.1.", "camera_head.modulation."),
    ("track_head.feature_extractor.", "track_head.extractor."),
    ("track_head.tracker.fmap_norm.", "track_head.tracker.map_norm."),
    ("track_head.tracker.query_ref_token", "track_head.tracker.first_or_not"),
    ("track_head.tracker.ffeat_norm.", "track_head.tracker.feature_norm."),
    ("track_head.tracker.ffeat_updater.0.", "track_head.tracker.feature_update."),
    ("track_head.tracker.vis_predictor.0.", "track_head.tracker.visible."),
    ("track_head.tracker.conf_predictor.0.", "track_head.tracker.sure."),
    ("track_head.tracker.updateformer.", "track_head.tracker.former."),
)
_FORMER = (
    (".former.virual_tracks", ".former.virtual"),
    (".former.input_transform.", ".former.enter."),
    (".former.flow_head.", ".former.leave."),
    (".former.space_virtual_blocks.", ".former.virtual_blocks."),
    (".former.space_virtual2point_blocks.", ".former.gather_blocks."),
    (".former.space_point2virtual_blocks.", ".former.spread_blocks."),
    (".cross_attn.", ".attn."),
    (".attn.in_proj_", ".attn.qkv."),
    (".attn.out_proj.", ".attn.proj."),
)
_RULES = (
    (re.compile(r"\.ls(\d)\.gamma$"), r".scale\1"),
    (re.compile(r"\.scratch\.layer(\d)_rn\."), lambda m: f".skips.{int(m[1]) - 1}."),
    (re.compile(r"\.scratch\.refinenet(\d)\.resConfUnit1\."), lambda m: f".fusions.{int(m[1]) - 1}.skip_unit."),
    (re.compile(r"\.scratch\.refinenet(\d)\.resConfUnit2\."), lambda m: f".fusions.{int(m[1]) - 1}.unit."),
    (re.compile(r"\.scratch\.refinenet(\d)\.out_conv\."), lambda m: f".fusions.{int(m[1]) - 1}.out."),
)
_DENSE = re.compile(r"^(depth_head|point_head)\.(?!scratch\.output_conv2\.)")


def ours(official: str) -> str | None:
    """Our name of an official key; None for what nothing reads. Unknown names stay as given."""
    if official == _DEAD:
        return None
    name = official
    for prefix, replacement in _PREFIXES:
        if name.startswith(prefix):
            name = replacement + name.removeprefix(prefix)
            break
    name = _DENSE.sub(r"\1.pyramid.", name)
    name = name.replace(".scratch.output_conv2.0.", ".head_mid.").replace(".scratch.output_conv2.2.", ".head_out.")
    if name.startswith(("depth_head.", "point_head.", "track_head.extractor.")):
        for part, replacement in _DPT:
            name = name.replace(f".{part}", f".{replacement}")
    if name.startswith("track_head.tracker.former."):
        for part, replacement in _FORMER:
            name = name.replace(part, replacement)
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return name


def translate(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An official state dict under our names."""
    named = {ours(key): tensor for key, tensor in official.items()}
    return {name: tensor for name, tensor in named.items() if name is not None}
