# SPDX-License-Identifier: Apache-2.0
"""The model table: names, configurations, licences, and where the weights are. A new model adds its line here."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import Any

from torch import nn

from longtake.checkpoints.convert import build_empty
from longtake.checkpoints.hub import HubFile
from longtake.errors import CapabilityError
from longtake.families.cut3r import Cut3rConfig
from longtake.families.dust3r import Dust3rConfig
from longtake.families.fast3r import Fast3rConfig
from longtake.families.point3r import Point3rConfig
from longtake.families.vggt_config import VggtConfig
from longtake.frame import PATCH

SMALL = Cut3rConfig(
    head="conv",
    image_size=160,  # what the embedded weights have seen so far
    encoder_width=320,
    encoder_depth=5,
    encoder_heads=5,
    decoder_width=256,
    decoder_depth=5,
    image_heads=4,
    state_heads=4,
    state_size=160,
    pose_slots=64,
    pose_width=64,
    pose_depth=1,
    ray_depth=0,
    color=False,
    stem=(32, 64, 128),
    rounded_rope=False,
    square_ok=True,
    is_metric=False,
    metric_scale=True,
)

# As many numbers as SMALL has, and the pictures that training draws: to compare families at equal size and data.
SMALL_FULL = VggtConfig(
    image_size=160,
    patch=PATCH,
    width=256,
    encoder_depth=5,
    encoder_heads=4,
    depth=6,
    heads=4,
    camera_depth=1,
    camera_heads=8,
    dpt_width=64,
    dpt_layers=(32, 64, 128, 128),
    dpt_read=(1, 2, 4, 5),
    track_features=0,
)


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the model table."""

    config: Any  # of the family's configuration class
    licence: str  # of the weights
    source: str  # where the weights come from
    embedded: bool = False
    family: str = "cut3r"  # as weight files name it: VGGT and StreamVGGT share theirs
    commercial: str = "no"  # whether the official weights may be used commercially
    hub: HubFile | None = None  # where the hub has them
    reset_every: int | None = None  # frames after which its streams start over, where nobody says otherwise
    join: str = "exact"  # how the chunks between resets meet, where nobody says otherwise

    def build(self) -> nn.Module:
        """The module on the meta device: everything but the numbers."""
        return build_empty(self.family, self.config.to_dict(), "the model table")

    @property
    def parameters(self) -> int:
        """How many numbers the model has. Counted without making any of them."""
        return sum(p.numel() for p in self.build().parameters())


_NC = "CC BY-NC-SA 4.0 (non-commercial)"
MODELS: dict[str, Entry] = {
    "longtake-small": Entry(
        SMALL,
        "Apache-2.0",
        "in the package",
        embedded=True,
        commercial="yes",
        reset_every=16,  # docs/rules.md has the figures: its memory holds what it was trained on
        join="scale",
    ),
    "cut3r-512": Entry(Cut3rConfig(), _NC, "cut3r_512_dpt_4_64.pth of the CUT3R project"),
    "cut3r-224": Entry(
        Cut3rConfig(head="linear", image_size=224, square_crop=True),
        _NC,
        "cut3r_224_linear_4.pth of the CUT3R project",
    ),
    "vggt": Entry(
        VggtConfig(),
        "VGGT License v1",
        "VGGT-1B of the VGGT project",
        family="vggt",
        commercial="only the gated commercial weights, under their own terms",
        hub=HubFile("facebook/VGGT-1B", "model.safetensors"),
    ),
    "streamvggt": Entry(
        VggtConfig(causal=True),
        "CC BY-NC-SA (non-commercial)",
        "the checkpoint of the StreamVGGT project",
        family="vggt",
        hub=HubFile("lch01/StreamVGGT", "checkpoints.pth"),
    ),
    "point3r": Entry(
        Point3rConfig(),
        _NC,
        "the checkpoint of the Point3R project",
        family="point3r",
        hub=HubFile("YkiWu/Point3R", "point3r_512.pth"),
    ),
    "fast3r": Entry(
        Fast3rConfig(),
        "non-commercial",
        "Fast3R_ViT_Large_512 of the Fast3R project",
        family="fast3r",
        hub=HubFile("jedyang97/Fast3R_ViT_Large_512", "model.safetensors"),
    ),
    "dust3r": Entry(
        Dust3rConfig(),
        _NC,
        "the 512-pixel DPT checkpoint of the DUSt3R project",
        family="dust3r",
        hub=HubFile("naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt", "model.safetensors"),
    ),
    "vggt-small": Entry(
        SMALL_FULL,
        "yours",
        "what longtake train --model vggt-small writes",
        family="vggt",
        commercial="yes",
    ),
    "streamvggt-small": Entry(
        replace(SMALL_FULL, causal=True),
        "yours",
        "what longtake train --model streamvggt-small writes",
        family="vggt",
        commercial="yes",
    ),
}


def find(name: str) -> Entry:
    """Return a line of the table. Raises CapabilityError with near names."""
    if name not in MODELS:
        near = difflib.get_close_matches(name.lower(), MODELS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise CapabilityError(f"no model is called {name!r}.{hint} There are: {', '.join(MODELS)}.")
    return MODELS[name]


def model_table() -> list[dict[str, str]]:
    """Return what `longtake models` and docs/models.md show, a row each."""
    rows = []
    for name, entry in MODELS.items():
        built: Any = entry.build()
        rows.append(
            {
                "name": name,
                "parameters": f"{sum(p.numel() for p in built.parameters()) / 1e6:.1f} M",
                "memory": built.capabilities.memory,
                "metric": "yes" if entry.config.is_metric else "no",
                "weights": entry.source,
                "licence of the weights": entry.licence,
                "commercial use": entry.commercial,
            }
        )
    return rows
