# SPDX-License-Identifier: Apache-2.0
"""Tiny models on disk in every form that `longtake.load` reads."""

from __future__ import annotations

import re
from argparse import Namespace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtake.checkpoints import write_safetensors
from longtake.families.cut3r import Cut3r, Cut3rConfig

_SIZES: dict[str, Any] = {
    "image_size": 64,
    "encoder_width": 32,
    "encoder_depth": 2,
    "encoder_heads": 2,
    "decoder_width": 32,
    "decoder_depth": 2,
    "image_heads": 2,
    "state_heads": 2,
    "state_size": 6,
    "pose_slots": 4,
    "pose_width": 32,
    "mlp_ratio": 2.0,
}
OFFICIAL = Cut3rConfig(head="linear", ray_depth=1, ray_heads=2, **_SIZES)
OURS = Cut3rConfig(
    head="conv",
    ray_depth=0,
    color=False,
    stem=(4, 8, 8),
    conv_widths=(16, 8, 8, 4),
    rounded_rope=False,
    square_ok=True,
    is_metric=False,
    **_SIZES,
)
TEXT = (
    "ARCroco3DStereo(ARCroco3DStereoConfig(img_size=(64, 64), head_type='linear', state_size=6, enc_num_heads=2, "
    "dec_num_heads=2, state_dec_num_heads=2, ray_enc_num_heads=2, depth_mode=('exp', -inf, inf), rgb_head=True))"
)
# Our name -> the published one, for the linear model. Written apart from the library's own table, so that it checks it.
_NAMES = (
    (r"^image_encoder\.patch\.", "patch_embed."),
    (r"^ray_encoder\.patch\.", "patch_embed_ray_map."),
    (r"^image_encoder\.(blocks|norm)\.", r"enc_\1."),
    (r"^ray_encoder\.(blocks|norm)\.", r"enc_\1_ray_map."),
    (r"^missing_image$", "masked_img_token"),
    (r"^missing_rays$", "masked_ray_map_token"),
    (r"^memory\.start$", "register_tokens.weight"),
    (r"^memory\.pose_token$", "pose_token"),
    (r"^memory\.embed_image\.", "decoder_embed."),
    (r"^memory\.embed_state\.", "decoder_embed_state."),
    (r"^memory\.image_norm\.", "dec_norm."),
    (r"^memory\.state_norm\.", "dec_norm_state."),
    (r"^memory\.layers\.(\d+)\.image\.", r"dec_blocks.\1."),
    (r"^memory\.layers\.(\d+)\.state\.", r"dec_blocks_state.\1."),
    (r"^memory\.pose_memory\.start$", "pose_retriever.mem"),
    (r"^memory\.pose_memory\.placeholder$", "pose_retriever.masked_token"),
    (r"^memory\.pose_memory\.query\.", "pose_retriever.proj_q."),
    (r"^memory\.pose_memory\.", "pose_retriever."),
    (r"^heads\.pose\.", "downstream_head.pose_head.mlp."),
    (r"^heads\.world_tokens\.blocks\.", "downstream_head.final_transform."),
    (r"^heads\.own\.mlp\.", "downstream_head.proj."),
    (r"^heads\.world\.mlp\.", "downstream_head.cross_proj."),
    (r"^heads\.color\.mlp\.", "downstream_head.rgb_proj."),
    (r"\.cross\.(q)uery\.|\.cross\.(k)ey\.|\.cross\.(v)alue\.", r".cross_attn.proj\1\2\3."),
    (r"\.cross\.proj\.", ".cross_attn.proj."),
    (r"\.shift_scale\.", ".mlp.1."),
)


def module(config: Cut3rConfig, seed: int = 0) -> Cut3r:
    """A model with weights of a seed; every one of them matters (norms and biases are not at their start values)."""
    torch.manual_seed(seed)
    made = Cut3r(config).eval().requires_grad_(False)
    for parameter in made.parameters():
        parameter.add_(torch.randn_like(parameter) * 0.05)
    return made


def official_weights(seed: int = 0) -> dict[str, Tensor]:
    """The weights of `module(OFFICIAL, seed)` under the published names."""
    named = {}
    for name, tensor in module(OFFICIAL, seed).state_dict().items():
        for pattern, replacement in _NAMES:
            name = re.sub(pattern, replacement, name)  # noqa: PLW2901
        named[name] = tensor
    return named


def official_file(
    path: Path, weights: dict[str, Tensor] | None = None, *, zipped: bool = True, args: Any = None
) -> Path:
    """Write a file as the authors publish it: a pickle with `args` and `model`."""
    content = {"args": args or Namespace(model=TEXT), "epoch": 9, "model": weights or official_weights()}
    torch.save(content, path, _use_new_zipfile_serialization=zipped)
    return path


def our_file(path: Path, config: Cut3rConfig = OURS, seed: int = 0, **changes: Any) -> Path:
    """Write one of our own files; `changes` are to the configuration that it says it has."""
    tensors = module(config, seed).state_dict()
    write_safetensors(path, tensors, config.to_dict() | changes, "cut3r")
    return path
