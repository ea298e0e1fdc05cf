# SPDX-License-Identifier: Apache-2.0
"""Every official key of Point3R, Fast3R and DUSt3R and its shape, from the sizes; see `official_shapes` for CUT3R."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from official_shapes import Shapes, _block, _conv, _dpt, _linear, _mlp, _norm


def _trunk(c: Mapping[str, Any]) -> Shapes:
    wide, width = c["enc_embed_dim"], c["dec_embed_dim"]
    made = _conv("patch_embed.proj", 3, wide, 16) | _norm("enc_norm", wide) | _linear("decoder_embed", wide, width)
    for i in range(c["enc_depth"]):
        made |= _block(f"enc_blocks.{i}", wide, c["mlp_ratio"], "encoder")
    return made | _norm("dec_norm", width)


def point3r_shapes(c: Mapping[str, Any]) -> Shapes:
    """Sections 5 and 9 of the recurrent kit."""
    wide, width, ratio, value = c["enc_embed_dim"], c["dec_embed_dim"], c["mlp_ratio"], c["value_enc_embed_dim"]
    made = _trunk(c) | {
        "pose_token": [1, 1, width],
        "pose_retriever.masked_token": [1, 1, width],
        "pose_retriever.mem": [1, c["local_mem_size"], 2 * width],
    }
    made |= _linear("decoder_embed_memory", wide, width) | _norm("dec_norm_memory", width)
    made |= _linear("pose_retriever.proj_q", wide, width)
    for i in range(c["dec_depth"]):
        made |= _block(f"dec_blocks.{i}", width, ratio, "decoder")
        made |= _block(f"dec_blocks_memory.{i}", width, ratio, "decoder")
    for i in (0, 1):
        made |= _block(f"pose_retriever.read_blocks.{i}", 2 * width, ratio, "decoder")
        made |= _block(f"pose_retriever.write_blocks.{i}", 2 * width, ratio, "decoder")
        made |= _block(f"downstream_head.final_transform.{i}", width, ratio, "conditioned")
    made |= _conv("pts_patch_embed.proj", 3, value, 16) | _norm("value_norm", value)
    for i in range(c["value_enc_depth"]):
        made |= _block(f"value_encoder.{i}", value, ratio, "encoder")
    made |= _linear("value_out", value, wide)
    made |= _linear("memory_attn_head.0", wide + width, wide + width) | _linear(
        "memory_attn_head.2", wide + width, wide
    )
    made |= _mlp("downstream_head.pose_head.mlp", width, 4 * width, 7)
    return made | _dpt("downstream_head.dpt_self", c, 4) | _dpt("downstream_head.dpt_cross", c, 4)


def dust3r_shapes(c: Mapping[str, Any]) -> Shapes:
    """From the paper: one encoder, two decoders that read each other, two DPT heads. The names: see `dust3r_keys`."""
    made = _trunk(c)
    for i in range(c["dec_depth"]):
        made |= _block(f"dec_blocks.{i}", c["dec_embed_dim"], c["mlp_ratio"], "decoder")
        made |= _block(f"dec_blocks2.{i}", c["dec_embed_dim"], c["mlp_ratio"], "decoder")
    return made | _dpt("downstream_head1.dpt", c, 4) | _dpt("downstream_head2.dpt", c, 4)


def fast3r_shapes(c: Mapping[str, Any]) -> Shapes:
    """Section 4 of the full attention kit, for the kit's nested sizes."""
    encoder, decoder, head = c["encoder"], c["decoder"], c["dpt_head"]
    wide, width, ratio = encoder["embed_dim"], decoder["embed_dim"], c["mlp_ratio"]
    made = _conv("encoder.patch_embed.proj", 3, wide, 16) | _norm("encoder.enc_norm", wide)
    for i in range(encoder["depth"]):
        made |= _block(f"encoder.enc_blocks.{i}", wide, ratio, "encoder")
    made |= _linear("decoder.decoder_embed", wide, width) | _norm("decoder.dec_norm", width)
    for i in range(decoder["depth"]):
        made |= _block(f"decoder.dec_blocks.{i}", width, ratio, "encoder")
    dpt = {
        "enc_embed_dim": wide,
        "dec_embed_dim": width,
        "dpt_feature_dim": head["feature_dim"],
        "dpt_last_dim": head["last_dim"],
        "dpt_layer_dims": head["layer_dims"],
    }
    return made | _dpt("downstream_head.dpt", dpt, 4) | _dpt("downstream_head_local.dpt", dpt, 4)


POINT3R_OFFICIAL: dict[str, Any] = {
    "enc_embed_dim": 1024,
    "enc_depth": 24,
    "enc_num_heads": 16,
    "dec_embed_dim": 768,
    "dec_depth": 12,
    "dec_num_heads": 12,
    "memory_dec_num_heads": 16,
    "local_mem_size": 256,
    "value_enc_embed_dim": 1024,
    "value_enc_depth": 6,
    "value_enc_num_heads": 16,
    "mlp_ratio": 4,
    "dpt_feature_dim": 256,
    "dpt_last_dim": 128,
    "dpt_layer_dims": [96, 192, 384, 768],
}
DUST3R_OFFICIAL = {key: value for key, value in POINT3R_OFFICIAL.items() if "mem" not in key and "value" not in key}
FAST3R_OFFICIAL: dict[str, Any] = {
    "mlp_ratio": 4,
    "encoder": {"embed_dim": 1024, "num_heads": 16, "depth": 24},
    "decoder": {"embed_dim": 1024, "num_heads": 16, "depth": 24},
    "dpt_head": {"feature_dim": 256, "last_dim": 128, "layer_dims": [96, 192, 384, 768]},
}
_SMALL = {
    "enc_embed_dim": 32,
    "enc_depth": 2,
    "enc_num_heads": 2,
    "dec_embed_dim": 24,
    "dec_depth": 3,
    "dec_num_heads": 2,
    "mlp_ratio": 2,
    "dpt_feature_dim": 12,
    "dpt_last_dim": 5,
    "dpt_layer_dims": [4, 6, 8, 10],
}
_POINTERS = {
    "memory_dec_num_heads": 3,
    "local_mem_size": 5,
    "value_enc_embed_dim": 16,
    "value_enc_depth": 1,
    "value_enc_num_heads": 2,
}
FAST3R_SMALL: dict[str, Any] = {
    "mlp_ratio": 2,
    "encoder": {"embed_dim": 32, "num_heads": 2, "depth": 2},
    "decoder": {"embed_dim": 24, "num_heads": 2, "depth": 4},
    "dpt_head": {"feature_dim": 12, "last_dim": 5, "layer_dims": [4, 6, 8, 10]},
}
KIN = {  # family -> (official shapes, small sizes, official sizes)
    "point3r": (point3r_shapes, _SMALL | _POINTERS, POINT3R_OFFICIAL),
    "dust3r": (dust3r_shapes, _SMALL, DUST3R_OFFICIAL),
    "fast3r": (fast3r_shapes, FAST3R_SMALL, FAST3R_OFFICIAL),
}


def random_weights(shapes: Mapping[str, list[int]], seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict with weights of a size that keeps signals alive; aliases share a tensor."""
    g = torch.Generator().manual_seed(seed)
    made = {}
    for key, shape in shapes.items():
        fan = max(1, int(torch.tensor(shape[1:]).prod())) if len(shape) > 1 else 1
        noise = torch.randn(shape, generator=g)
        if len(shape) > 1:
            made[key] = noise * fan**-0.5
        else:
            made[key] = 0.1 * noise + (1.0 if "norm" in key and key.endswith("weight") else 0.0)
    for key in made:
        if ".layer_rn." in key:
            index = int(key.split(".layer_rn.")[1][0])
            made[key] = made[key.replace(f".layer_rn.{index}", f".layer{index + 1}_rn")]
    return made
