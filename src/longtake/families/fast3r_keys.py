# SPDX-License-Identifier: Apache-2.0
"""The official Fast3R checkpoint's key names, translated at the door. The DPT heads are named as in CUT3R."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from longtake.families.cut3r_keys import ours as cut3r_ours

_PREFIXES = (
    ("encoder.patch_embed.proj.", "image_encoder.patch.proj."),
    ("encoder.enc_blocks.", "image_encoder.blocks."),
    ("encoder.enc_norm.", "image_encoder.norm."),
    ("decoder.decoder_embed.", "memory.embed."),
    ("decoder.dec_blocks.", "memory.blocks."),
    ("decoder.dec_norm.", "memory.norm."),
    ("downstream_head.dpt.", "heads.world."),
    ("downstream_head_local.dpt.", "heads.own."),
)


def ours(official: str) -> str | None:
    """Our name of an official key; None for aliases and weights that nothing reads. Unknown names stay as given.

    Files of the training framework have `net.` before every name.
    """
    name = official.removeprefix("net.")
    for prefix, replacement in _PREFIXES:
        if name.startswith(prefix):
            return cut3r_ours(replacement + name.removeprefix(prefix))
    return official


def translate(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An official state dict under our names."""
    named = {ours(key): tensor for key, tensor in official.items()}
    return {name: tensor for name, tensor in named.items() if name is not None}
