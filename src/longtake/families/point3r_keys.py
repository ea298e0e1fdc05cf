# SPDX-License-Identifier: Apache-2.0
"""The official Point3R checkpoint's key names, translated at the door. What it shares with CUT3R is named there."""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from longtake.families.cut3r_keys import ours as cut3r_ours

_OWN = (
    (re.compile(r"^dec_blocks_memory\."), "dec_blocks_state."),  # the twin decoder's other side, as in CUT3R
    (re.compile(r"^dec_norm_memory\."), "memory.memory_norm."),
    (re.compile(r"^decoder_embed_memory\."), "memory.embed_memory."),
    (re.compile(r"^pts_patch_embed\.proj\."), "point_encoder.patch.proj."),
    (re.compile(r"^value_encoder\."), "point_encoder.blocks."),
    (re.compile(r"^value_norm\."), "point_encoder.norm."),
    (re.compile(r"^value_out\."), "point_value."),
    (re.compile(r"^memory_attn_head\.0\."), "memory.key.fc1."),
    (re.compile(r"^memory_attn_head\.2\."), "memory.key.fc2."),
)


def ours(official: str) -> str | None:
    """Our name of an official key; None for aliases and weights that nothing reads. Unknown names stay as given."""
    for pattern, replacement in _OWN:
        official = pattern.sub(replacement, official)
    return cut3r_ours(official)


def translate(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An official state dict under our names."""
    named = {ours(key): tensor for key, tensor in official.items()}
    return {name: tensor for name, tensor in named.items() if name is not None}
