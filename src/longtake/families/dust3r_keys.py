# SPDX-License-Identifier: Apache-2.0
"""DUSt3R's key names, translated at the door.

No official file was at hand: the names follow from the two decoders and heads that mark its checkpoints (`dec_blocks`,
`dec_blocks2`, `downstream_head1`, `downstream_head2`) and from the blocks that CUT3R and Fast3R share with it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

from longtake.families.cut3r_keys import ours as cut3r_ours

_PREFIXES = (
    (re.compile(r"^dec_blocks\."), "memory.first."),
    (re.compile(r"^dec_blocks2\."), "memory.second."),
    (re.compile(r"^dec_norm\."), "memory.norm."),
    (re.compile(r"^decoder_embed\."), "memory.embed."),
    (re.compile(r"^downstream_head1\.dpt\."), "heads.own."),
    (re.compile(r"^downstream_head2\.dpt\."), "heads.world."),
)


def ours(official: str) -> str | None:
    """Our name of an official key; None for aliases and weights that nothing reads. Unknown names stay as given."""
    if official == "mask_token":  # of the pre-training that filled in masked patches
        return None
    for pattern, replacement in _PREFIXES:
        official = pattern.sub(replacement, official)
    return cut3r_ours(official)


def translate(official: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """An official state dict under our names."""
    named = {ours(key): tensor for key, tensor in official.items()}
    return {name: tensor for name, tensor in named.items() if name is not None}
