# SPDX-License-Identifier: Apache-2.0
"""Every key of an official CUT3R state dict and its shape, from the constructor's values (kit, sections 4 and 5)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Shapes = dict[str, list[int]]


def _linear(name: str, wide: int, out: int) -> Shapes:
    return {f"{name}.weight": [out, wide], f"{name}.bias": [out]}


def _norm(name: str, width: int) -> Shapes:
    return {f"{name}.weight": [width], f"{name}.bias": [width]}


def _conv(name: str, wide: int, out: int, kernel: int, bias: bool = True) -> Shapes:
    return {f"{name}.weight": [out, wide, kernel, kernel]} | ({f"{name}.bias": [out]} if bias else {})


def _mlp(name: str, width: int, hidden: int, out: int) -> Shapes:
    return _linear(f"{name}.fc1", width, hidden) | _linear(f"{name}.fc2", hidden, out)


def _attention(name: str, width: int, cross: bool = False) -> Shapes:
    proj = _linear(f"{name}.proj", width, width)
    if not cross:
        return proj | _linear(f"{name}.qkv", width, 3 * width)
    return proj | {k: v for part in "qkv" for k, v in _linear(f"{name}.proj{part}", width, width).items()}


def _block(name: str, width: int, ratio: float, kind: str) -> Shapes:
    made = _attention(f"{name}.attn", width) | _mlp(f"{name}.mlp", width, int(width * ratio), width)
    if kind == "conditioned":
        for i in (1, 2):
            made |= _norm(f"{name}.norm{i}.norm", width) | _linear(f"{name}.norm{i}.mlp.1", width, 2 * width)
        return made
    for norm in ("norm1", "norm2") + (("norm3", "norm_y") if kind == "decoder" else ()):
        made |= _norm(f"{name}.{norm}", width)
    return made | (_attention(f"{name}.cross_attn", width, cross=True) if kind == "decoder" else {})


def _dpt(name: str, c: Mapping[str, Any], channels: int) -> Shapes:
    widths = c.get("dpt_layer_dims", [96, 192, 384, 768])
    f, last = c.get("dpt_feature_dim", 256), c.get("dpt_last_dim", 128)
    made: Shapes = {}
    for i, (width, tokens) in enumerate(zip(widths, [c["enc_embed_dim"]] + 3 * [c["dec_embed_dim"]], strict=True)):
        made |= _conv(f"{name}.act_postprocess.{i}.0", tokens, width, 1)
        for twin in (f"layer{i + 1}_rn", f"layer_rn.{i}"):
            made |= _conv(f"{name}.scratch.{twin}", width, f, 3, bias=False)
        for unit in (1, 2):
            for conv in (1, 2):
                made |= _conv(f"{name}.scratch.refinenet{i + 1}.resConfUnit{unit}.conv{conv}", f, f, 3)
        made |= _conv(f"{name}.scratch.refinenet{i + 1}.out_conv", f, f, 1)
    made |= _conv(f"{name}.act_postprocess.0.1", widths[0], widths[0], 4)
    made |= _conv(f"{name}.act_postprocess.1.1", widths[1], widths[1], 2)
    made |= _conv(f"{name}.act_postprocess.3.1", widths[3], widths[3], 3)
    made |= _conv(f"{name}.head.0", f, f // 2, 3) | _conv(f"{name}.head.2", f // 2, last, 3)
    return made | _conv(f"{name}.head.4", last, channels, 1)


def official_shapes(c: Mapping[str, Any]) -> Shapes:
    """Return key -> shape for an official configuration (section 5.12)."""
    wide, width, ratio = c["enc_embed_dim"], c["dec_embed_dim"], c["mlp_ratio"]
    made: Shapes = {
        "pose_token": [1, 1, width],
        "masked_img_token": [1, wide],
        "masked_ray_map_token": [1, wide],
        "register_tokens.weight": [c["state_size"], wide],
        "pose_retriever.masked_token": [1, 1, width],
        "pose_retriever.mem": [1, c["local_mem_size"], 2 * width],
    }
    for suffix, channels, depth in (("", 3, c["enc_depth"]), ("_ray_map", 6, c["ray_enc_depth"])):
        made |= _conv(f"patch_embed{suffix}.proj", channels, wide, 16) | _norm(f"enc_norm{suffix}", wide)
        for i in range(depth):
            made |= _block(f"enc_blocks{suffix}.{i}", wide, ratio, "encoder")
    for suffix in ("", "_state"):
        made |= _linear(f"decoder_embed{suffix}", wide, width) | _norm(f"dec_norm{suffix}", width)
        for i in range(c["dec_depth"]):
            made |= _block(f"dec_blocks{suffix}.{i}", width, ratio, "decoder")
    made |= _linear("pose_retriever.proj_q", wide, width)
    head = "downstream_head"
    for i in (0, 1):
        made |= _block(f"pose_retriever.read_blocks.{i}", 2 * width, ratio, "decoder")
        made |= _block(f"pose_retriever.write_blocks.{i}", 2 * width, ratio, "decoder")
        made |= _block(f"{head}.final_transform.{i}", width, ratio, "conditioned")
    made |= _mlp(f"{head}.pose_head.mlp", width, 4 * width, 7)
    for linear, dpt, channels in (("proj", "dpt_self", 4), ("cross_proj", "dpt_cross", 4), ("rgb_proj", "dpt_rgb", 3)):
        if c["head_type"] == "linear":
            made |= _mlp(f"{head}.{linear}", width, 4 * width, 256 * channels)
        else:
            made |= _dpt(f"{head}.{dpt}", c, channels)
    return made
