# SPDX-License-Identifier: Apache-2.0
"""The configuration that an official state dict shows by its shapes, under the official constructor's names.

Shapes tell widths, depths, counts of tokens and the kind of head. They cannot tell how a width is split into heads, nor
the modes of the outputs: those come from the file's arguments, or else are the published models' values.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from longtake.errors import CheckpointError

Shapes = Mapping[str, Sequence[int]]
Size = Callable[..., int]  # (key, axis = 0) -> length; raises CheckpointError where there is no such key or axis


@dataclass(frozen=True, slots=True)
class Kin:
    """What tells one family of CUT3R's kind from another."""

    name: str  # in errors
    seen: Callable[[Shapes, Size], dict[str, Any]]  # everything that shapes tell
    unseen: Mapping[str, Any]  # published values of what no shape shows
    defaults: tuple[str, ...]  # those that the official constructor defaults to: a text may leave them out
    heads_of: Mapping[str, str]  # heads -> the width that they split
    image_size: Mapping[str, tuple[int, int]]  # by head_type: of the released models; no effect on the computation


def infer(kin: Kin, shapes: Shapes, arguments: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """Return the official configuration of a state dict, and notes on what was assumed or overruled.

    shapes: official key -> shape. arguments: the constructor's values where they could be read. Where both speak and
    differ, the shapes win, because the tensors must fit.

    Raises:
        CheckpointError: a key that every model of the family has is missing, or no head count is known that fits.
    """
    known = arguments is not None
    arguments = dict(arguments or {})

    def size(key: str, axis: int = 0) -> int:
        if key not in shapes or len(shapes[key]) <= axis:
            raise CheckpointError(
                f"not a whole {kin.name} state dict: {key} is missing or has too few axes. Download it again."
            )
        return int(shapes[key][axis])

    seen = kin.seen(shapes, size)
    notes = [
        f"{name}: the arguments say {arguments[name]!r}, the shapes {value!r}; the shapes are taken"
        for name, value in seen.items()
        if name in arguments and not _same(arguments[name], value)
    ]
    assumed = {name: value for name, value in kin.unseen.items() if name not in arguments}
    if "img_size" not in arguments:
        assumed["img_size"] = kin.image_size[seen["head_type"]]
    silent = kin.defaults if known else ()
    if told := {name: value for name, value in assumed.items() if name not in silent}:
        notes.append(f"assumed the published values of what no shape shows: {_text(told)}")
    config = {**assumed, **arguments, **seen}
    for heads, width in kin.heads_of.items():
        count, channels = config[heads], config[width]
        if not isinstance(count, int) or count < 1 or channels % (4 * count):
            origin = "from the arguments" if heads in arguments else "the published value, as the file does not say"
            raise CheckpointError(
                f"{heads}={count!r} ({origin}) does not split {channels} channels into heads of a multiple of 4. "
                f"Say how many heads there are: convert(..., overrides={{{heads!r}: N}})."
            )
    return config, notes


def seen_trunk(shapes: Shapes, size: Size) -> dict[str, Any]:
    """What all of CUT3R's kind show: encoder and decoder."""
    width = size("patch_embed.proj.weight")
    return {
        "enc_embed_dim": width,
        "enc_depth": depth_of(shapes, "enc_blocks"),
        "dec_embed_dim": size("decoder_embed.weight"),
        "dec_depth": depth_of(shapes, "dec_blocks"),
        "patch_size": size("patch_embed.proj.weight", 2),
        "mlp_ratio": size("enc_blocks.0.mlp.fc1.weight") / width,
    }


def seen_dpt(size: Size, prefix: str) -> dict[str, Any]:
    """What the DPT adapter under `prefix` shows."""
    return {
        "dpt_feature_dim": size(f"{prefix}scratch.layer1_rn.weight"),
        "dpt_last_dim": size(f"{prefix}head.2.weight"),
        "dpt_layer_dims": tuple(size(f"{prefix}act_postprocess.{i}.0.weight") for i in range(4)),
    }


def depth_of(keys: Iterable[str], stack: str) -> int:
    """One more than the highest index in `STACK.INDEX.`, 0 if there is none."""
    found = (re.match(rf"{re.escape(stack)}\.(\d+)\.", key) for key in keys)
    return max((int(match[1]) + 1 for match in found if match), default=0)


def cut3r_config(shapes: Shapes, arguments: Mapping[str, Any] | None = None) -> tuple[dict[str, Any], list[str]]:
    """As `infer`, for CUT3R."""
    return infer(CUT3R, shapes, arguments)


def _seen_cut3r(shapes: Shapes, size: Size) -> dict[str, Any]:
    head = "dpt" if any(key.startswith("downstream_head.dpt_self.") for key in shapes) else "linear"
    seen = seen_trunk(shapes, size) | {
        "ray_enc_depth": depth_of(shapes, "enc_blocks_ray_map"),
        "state_size": size("register_tokens.weight"),
        "local_mem_size": size("pose_retriever.mem", 1),
        "head_type": head,
        "pose_head": any(key.startswith("downstream_head.pose_head.") for key in shapes),
        "rgb_head": any(key.startswith(("downstream_head.dpt_rgb.", "downstream_head.rgb_proj.")) for key in shapes),
    }
    return seen | (seen_dpt(size, "downstream_head.dpt_self.") if head == "dpt" else {})


CUT3R = Kin(
    name="CUT3R",
    seen=_seen_cut3r,
    unseen={
        "enc_num_heads": 16,
        "dec_num_heads": 12,
        "state_dec_num_heads": 16,
        "ray_enc_num_heads": 16,
        "state_pe": "2d",
        "pos_embed": "RoPE100",
        "rope_base": 100.0,
    },
    defaults=("state_dec_num_heads", "ray_enc_num_heads", "rope_base"),
    heads_of={
        "enc_num_heads": "enc_embed_dim",
        "dec_num_heads": "dec_embed_dim",
        "state_dec_num_heads": "dec_embed_dim",
        "ray_enc_num_heads": "enc_embed_dim",
    },
    image_size={"dpt": (512, 512), "linear": (224, 224)},
)


def _same(one: Any, other: Any) -> bool:
    return (list(one) if isinstance(one, (list, tuple)) else one) == (
        list(other) if isinstance(other, tuple) else other
    )


def _text(values: Mapping[str, Any]) -> str:
    return ", ".join(f"{name}={value!r}" for name, value in values.items())
