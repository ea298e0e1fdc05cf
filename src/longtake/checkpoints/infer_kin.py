# SPDX-License-Identifier: Apache-2.0
"""The configurations that official state dicts of Point3R, DUSt3R and Fast3R show by their shapes; see `infer`."""

from collections.abc import Mapping
from typing import Any

from longtake.checkpoints.infer import Kin, Shapes, Size, depth_of, infer, seen_dpt, seen_trunk
from longtake.errors import CheckpointError


def point3r_config(shapes: Shapes, arguments: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """As `infer`, for Point3R."""
    return infer(POINT3R, shapes, arguments)


def dust3r_config(shapes: Shapes, arguments: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """As `infer`, for DUSt3R."""
    return infer(DUST3R, shapes, arguments)


def fast3r_config(shapes: Shapes, arguments: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return the sizes, in the layout of `Fast3rConfig.from_official`, and notes on what was assumed.

    arguments: sizes that stand in for the assumed ones, in the same layout; the shapes win.

    Raises:
        CheckpointError: a key that every Fast3R has is missing.
    """
    shapes = {key.removeprefix("net."): shape for key, shape in shapes.items()}

    def size(key: str, axis: int = 0) -> int:
        if key not in shapes or len(shapes[key]) <= axis:
            raise CheckpointError(
                f"not a whole Fast3R state dict: {key} is missing or has too few axes. Download it again."
            )
        return int(shapes[key][axis])

    width = size("encoder.patch_embed.proj.weight")
    dpt = seen_dpt(size, "downstream_head.dpt.")
    seen: dict[str, dict[str, Any]] = {
        "encoder": {"embed_dim": width, "depth": depth_of(shapes, "encoder.enc_blocks")},
        "decoder": {
            "embed_dim": size("decoder.decoder_embed.weight"),
            "depth": depth_of(shapes, "decoder.dec_blocks"),
        },
        "dpt_head": {
            "feature_dim": dpt["dpt_feature_dim"],
            "last_dim": dpt["dpt_last_dim"],
            "layer_dims": dpt["dpt_layer_dims"],
        },
    }
    unseen: dict[str, dict[str, Any]] = {
        "encoder": {"num_heads": 16},
        "decoder": {
            "num_heads": 16,
            "random_image_idx_embedding": True,
            "attn_bias_for_inference_enabled": False,  # the released configuration; the constructor's default is True
        },
        "dpt_head": {},
    }
    told = arguments or {}
    parts = {part: {**unseen[part], **(told.get(part) or {}), **seen[part]} for part in seen}
    for part in ("encoder", "decoder"):
        heads, channels = parts[part]["num_heads"], parts[part]["embed_dim"]
        if not isinstance(heads, int) or heads < 1 or channels % (4 * heads):
            raise CheckpointError(
                f"{part}.num_heads={heads!r} does not split {channels} channels into heads of a multiple of 4. Say how "
                f'many heads there are: convert(..., overrides={{"{part}": {{"num_heads": N}}}}).'
            )
    assumed = [
        f"{part}.{name}={value!r}"
        for part, values in unseen.items()
        for name, value in values.items()
        if name not in (told.get(part) or {})
    ]
    notes = [f"assumed the published values of what no shape shows: {', '.join(assumed)}"] if assumed else []
    config: dict[str, Any] = {
        "img_size": told.get("img_size", 512),
        "patch_size": size("encoder.patch_embed.proj.weight", 2),
        "mlp_ratio": size("encoder.enc_blocks.0.mlp.fc1.weight") / width,
    }
    return config | parts, notes


def _seen_point3r(shapes: Shapes, size: Size) -> dict[str, Any]:
    return (
        seen_trunk(shapes, size)
        | seen_dpt(size, "downstream_head.dpt_self.")
        | {
            "head_type": "dpt",
            "local_mem_size": size("pose_retriever.mem", 1),
            "pose_head": any(key.startswith("downstream_head.pose_head.") for key in shapes),
            "value_enc_embed_dim": size("pts_patch_embed.proj.weight"),
            "value_enc_depth": depth_of(shapes, "value_encoder"),
            "value_out_dim": size("value_out.weight"),
        }
    )


def _seen_dust3r(shapes: Shapes, size: Size) -> dict[str, Any]:
    return seen_trunk(shapes, size) | seen_dpt(size, "downstream_head1.dpt.") | {"head_type": "dpt"}


POINT3R = Kin(
    name="Point3R",
    seen=_seen_point3r,
    unseen={
        "enc_num_heads": 16,
        "dec_num_heads": 12,
        "memory_dec_num_heads": 16,
        "value_enc_num_heads": 16,
        "pos_embed": "RoPE100",
        "rope_base": 100.0,
    },
    defaults=("memory_dec_num_heads", "value_enc_num_heads", "rope_base"),
    heads_of={
        "enc_num_heads": "enc_embed_dim",
        "dec_num_heads": "dec_embed_dim",
        "memory_dec_num_heads": "dec_embed_dim",
        "value_enc_num_heads": "value_enc_embed_dim",
    },
    image_size={"dpt": (512, 512)},
)
DUST3R = Kin(
    name="DUSt3R",
    seen=_seen_dust3r,
    unseen={"enc_num_heads": 16, "dec_num_heads": 12, "pos_embed": "RoPE100", "rope_base": 100.0},
    defaults=("rope_base",),
    heads_of={"enc_num_heads": "enc_embed_dim", "dec_num_heads": "dec_embed_dim"},
    image_size={"dpt": (512, 512)},
)
