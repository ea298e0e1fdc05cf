# SPDX-License-Identifier: Apache-2.0
"""The official CUT3R checkpoint's key names, translated at the door. Inside the library the names are ours."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

# Longest official prefix first wins; names are facts of the published files.
_PREFIXES = (
    ("patch_embed.proj.", "image_encoder.patch.proj."),
    ("patch_embed_ray_map.proj.", "ray_encoder.patch.proj."),
    ("enc_blocks_ray_map.", "ray_encoder.blocks."),
    ("enc_norm_ray_map.", "ray_encoder.norm."),
    ("enc_blocks.", "image_encoder.blocks."),
    ("enc_norm.", "image_encoder.norm."),
    ("masked_img_token", "missing_image"),
    ("masked_ray_map_token", "missing_rays"),
    ("pose_token", "memory.pose_token"),
    ("register_tokens.weight", "memory.start"),
    ("decoder_embed_state.", "memory.embed_state."),
    ("decoder_embed.", "memory.embed_image."),
    ("dec_norm_state.", "memory.state_norm."),
    ("dec_norm.", "memory.image_norm."),
    ("pose_retriever.masked_token", "memory.pose_memory.placeholder"),
    ("pose_retriever.mem", "memory.pose_memory.start"),
    ("pose_retriever.proj_q.", "memory.pose_memory.query."),
    ("pose_retriever.", "memory.pose_memory."),
    ("downstream_head.pose_head.mlp.", "heads.pose."),
    ("downstream_head.final_transform.", "heads.world_tokens.blocks."),
    ("downstream_head.proj.", "heads.own.mlp."),
    ("downstream_head.cross_proj.", "heads.world.mlp."),
    ("downstream_head.rgb_proj.", "heads.color.mlp."),
    ("downstream_head.dpt_self.", "heads.own."),
    ("downstream_head.dpt_cross.", "heads.world."),
    ("downstream_head.dpt_rgb.", "heads.color."),
)
_TWINS = re.compile(r"^dec_blocks(_state)?\.(\d+)\.")
_RULES = (
    (re.compile(r"\.cross_attn\.proj([qkv])\."), lambda m: f".cross.{dict(q='query', k='key', v='value')[m[1]]}."),
    (re.compile(r"\.cross_attn\."), lambda m: ".cross."),
    (re.compile(r"(world_tokens\.blocks\.\d+\.norm[12])\.mlp\.1\."), lambda m: f"{m[1]}.shift_scale."),
    (re.compile(r"\.act_postprocess\.(\d)\.0\."), lambda m: f".project.{m[1]}."),
    (re.compile(r"\.act_postprocess\.0\.1\."), lambda m: ".up4."),
    (re.compile(r"\.act_postprocess\.1\.1\."), lambda m: ".up2."),
    (re.compile(r"\.act_postprocess\.3\.1\."), lambda m: ".down2."),
    (re.compile(r"\.scratch\.layer(\d)_rn\."), lambda m: f".skips.{int(m[1]) - 1}."),
    (re.compile(r"\.scratch\.refinenet(\d)\.resConfUnit1\."), lambda m: f".fusions.{int(m[1]) - 1}.skip_unit."),
    (re.compile(r"\.scratch\.refinenet(\d)\.resConfUnit2\."), lambda m: f".fusions.{int(m[1]) - 1}.unit."),
    (re.compile(r"\.scratch\.refinenet(\d)\.out_conv\."), lambda m: f".fusions.{int(m[1]) - 1}.out."),
    (re.compile(r"^(heads\.(?:own|world|color))\.head\.0\."), lambda m: f"{m[1]}.head_in."),
    (re.compile(r"^(heads\.(?:own|world|color))\.head\.2\."), lambda m: f"{m[1]}.head_mid."),
    (re.compile(r"^(heads\.(?:own|world|color))\.head\.4\."), lambda m: f"{m[1]}.head_out."),
)
# Listed twice in the official state dict (the same tensor), and weights that no forward pass reads.
_ALIAS = re.compile(r"\.scratch\.layer_rn\.\d\.")
_DEAD = re.compile(r"\.scratch\.refinenet4\.resConfUnit1\.")


def ours(official: str) -> str | None:
    """Our name of an official key; None for aliases and weights that nothing reads. Unknown names stay as given."""
    if _ALIAS.search(official) or _DEAD.search(official):
        return None
    name = _TWINS.sub(lambda m: f"memory.layers.{m[2]}.{'state' if m[1] else 'image'}.", official)
    for prefix, replacement in _PREFIXES:
        if name.startswith(prefix):
            name = replacement + name.removeprefix(prefix)
            break
    for pattern, replacement in _RULES:
        name = pattern.sub(replacement, name)
    return name


def translate(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An official state dict under our names."""
    named = {ours(key): tensor for key, tensor in official.items()}
    return {name: tensor for name, tensor in named.items() if name is not None}
