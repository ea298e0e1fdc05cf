# SPDX-License-Identifier: Apache-2.0
"""The configuration that an official CUT3R state dict shows by its shapes, under the official constructor's names.

Shapes tell widths, depths, counts of tokens and the kind of head. They cannot tell how a width is split into heads, nor
the modes of the outputs: those come from the file's arguments, or else are the published models' values.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from longtake.errors import CheckpointError

Shapes = Mapping[str, Sequence[int]]

# Published values (both released models) of what no shape shows.
UNSEEN: Mapping[str, Any] = {
    "enc_num_heads": 16,
    "dec_num_heads": 12,
    "state_dec_num_heads": 16,
    "ray_enc_num_heads": 16,
    "state_pe": "2d",
    "pos_embed": "RoPE100",
    "rope_base": 100.0,
}
# The official constructor's defaults: a text that leaves them out means these values.
_DEFAULTS = ("state_dec_num_heads", "ray_enc_num_heads", "rope_base")
_IMAGE_SIZE = {"dpt": (512, 512), "linear": (224, 224)}  # the released pairs; has no effect on the computation
_HEADS_OF = {
    "enc_num_heads": "enc_embed_dim",
    "dec_num_heads": "dec_embed_dim",
    "state_dec_num_heads": "dec_embed_dim",
    "ray_enc_num_heads": "enc_embed_dim",
}


def cut3r_config(shapes: Shapes, arguments: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return the official configuration of a CUT3R state dict, and notes on what was assumed or overruled.

    shapes: official key -> shape. arguments: the constructor's values where they could be read. Where both speak and
    differ, the shapes win, because the tensors must fit.

    Raises:
        CheckpointError: a key that every CUT3R has is missing, or no head count is known that fits the widths.
    """
    known = arguments is not None
    arguments = dict(arguments or {})
    seen = _seen(shapes)
    notes = [
        f"{name}: the arguments say {arguments[name]!r}, the shapes {value!r}; the shapes are taken"
        for name, value in seen.items()
        if name in arguments and not _same(arguments[name], value)
    ]
    assumed = {name: value for name, value in UNSEEN.items() if name not in arguments}
    if "img_size" not in arguments:
        assumed["img_size"] = _IMAGE_SIZE[seen["head_type"]]
    silent = _DEFAULTS if known else ()
    if told := {name: value for name, value in assumed.items() if name not in silent}:
        notes.append(f"assumed the published values of what no shape shows: {_text(told)}")
    config = {**assumed, **arguments, **seen}
    for heads, width in _HEADS_OF.items():
        count, channels = config[heads], config[width]
        if not isinstance(count, int) or count < 1 or channels % (4 * count):
            origin = "from the arguments" if heads in arguments else "the published value, as the file does not say"
            raise CheckpointError(
                f"{heads}={count!r} ({origin}) does not split {channels} channels into heads of a multiple of 4. "
                f"Say how many heads there are: convert(..., overrides={{{heads!r}: N}})."
            )
    return config, notes


def _seen(shapes: Shapes) -> dict[str, Any]:
    """Everything that shapes tell."""

    def size(key: str, axis: int = 0) -> int:
        if key not in shapes or len(shapes[key]) <= axis:
            raise CheckpointError(
                f"not a whole CUT3R state dict: {key} is missing or has too few axes. Download it again."
            )
        return int(shapes[key][axis])

    head = "dpt" if any(key.startswith("downstream_head.dpt_self.") for key in shapes) else "linear"
    width = size("patch_embed.proj.weight")
    seen: dict[str, Any] = {
        "enc_embed_dim": width,
        "enc_depth": _depth(shapes, "enc_blocks"),
        "dec_embed_dim": size("decoder_embed.weight"),
        "dec_depth": _depth(shapes, "dec_blocks"),
        "ray_enc_depth": _depth(shapes, "enc_blocks_ray_map"),
        "state_size": size("register_tokens.weight"),
        "local_mem_size": size("pose_retriever.mem", 1),
        "patch_size": size("patch_embed.proj.weight", 2),
        "mlp_ratio": size("enc_blocks.0.mlp.fc1.weight") / width,
        "head_type": head,
        "pose_head": any(key.startswith("downstream_head.pose_head.") for key in shapes),
        "rgb_head": any(key.startswith(("downstream_head.dpt_rgb.", "downstream_head.rgb_proj.")) for key in shapes),
    }
    if head == "dpt":
        dpt = "downstream_head.dpt_self."
        seen |= {
            "dpt_feature_dim": size(f"{dpt}scratch.layer1_rn.weight"),
            "dpt_last_dim": size(f"{dpt}head.2.weight"),
            "dpt_layer_dims": tuple(size(f"{dpt}act_postprocess.{i}.0.weight") for i in range(4)),
        }
    return seen


def _depth(keys: Iterable[str], stack: str) -> int:
    """One more than the highest index in `STACK.INDEX.`, 0 if there is none."""
    found = (re.match(rf"{stack}\.(\d+)\.", key) for key in keys)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def _same(one: Any, other: Any) -> bool:
    return (list(one) if isinstance(one, (list, tuple)) else one) == (
        list(other) if isinstance(other, tuple) else other
    )


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
