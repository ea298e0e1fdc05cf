# SPDX-License-Identifier: Apache-2.0
"""Models by name: their configuration, where their weights are, and `load`."""

from __future__ import annotations

import difflib
import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from longtake.checkpoints.convert import Weights, build_empty, read_any
from longtake.checkpoints.embedded import embedded_path
from longtake.checkpoints.strict import load_strict
from longtake.continuity.trigger import ResetTrigger
from longtake.device import pick_device
from longtake.errors import CapabilityError, CheckpointError
from longtake.families.contract import Capabilities
from longtake.families.cut3r import Cut3rConfig
from longtake.families.dust3r import Dust3rConfig
from longtake.families.fast3r import Fast3rConfig
from longtake.families.point3r import Point3rConfig
from longtake.families.vggt_config import VggtConfig
from longtake.frame import PATCH, Frame
from longtake.rules import Rule
from longtake.stream import Stream, Streams
from longtake.tracks import Tracks, follow

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

    def build(self) -> nn.Module:
        """The module on the meta device: everything but the numbers."""
        return build_empty(self.family, self.config.to_dict(), "the model table")

    @property
    def parameters(self) -> int:
        """How many numbers the model has. Counted without making any of them."""
        return sum(p.numel() for p in self.build().parameters())


_NC = "CC BY-NC-SA 4.0 (non-commercial)"
MODELS: dict[str, Entry] = {
    "longtake-small": Entry(SMALL, "Apache-2.0", "in the package", embedded=True, commercial="yes"),
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
    ),
    "streamvggt": Entry(
        VggtConfig(causal=True),
        "CC BY-NC-SA (non-commercial)",
        "the checkpoint of the StreamVGGT project",
        family="vggt",
    ),
    "point3r": Entry(Point3rConfig(), _NC, "the checkpoint of the Point3R project", family="point3r"),
    "fast3r": Entry(Fast3rConfig(), "non-commercial", "Fast3R_ViT_Large_512 of the Fast3R project", family="fast3r"),
    "dust3r": Entry(Dust3rConfig(), _NC, "the 512-pixel DPT checkpoint of the DUSt3R project", family="dust3r"),
}


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model: its weights never change while it runs, so any number of streams can share it."""

    name: str  # as `longtake models` lists it
    module: Any  # a torch module that keeps `families.contract.Family`
    weights: str = ""  # name of the file that the weights came from
    weights_sha256: str = ""  # of that file

    @property
    def config(self) -> Any:
        """Every number of the model."""
        return self.module.config

    @property
    def capabilities(self) -> Capabilities:
        """What the model's family can do, and what that costs."""
        return self.module.capabilities

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    def stream(
        self,
        rule: str | Rule | None = None,
        *,
        reset_every: int | None = None,
        window: int | None = None,
        budget: int | None = None,
        revise: bool | None = None,
        camera: str = "head",
        intrinsics: np.ndarray | None = None,
        reset_when: str | ResetTrigger | None = None,
        join: str = "exact",
        graphs: bool = False,
    ) -> Stream:
        """Begin one take. See `streams` for what can be chosen; `model.capabilities` says what the model has."""
        return Stream(
            self.module,
            rule=rule,
            reset_every=reset_every,
            name=self.name,
            window=window,
            budget=budget,
            revise=revise,
            camera=camera,
            intrinsics=intrinsics,
            reset_when=reset_when,
            join=join,
            graphs=graphs,
        )

    def streams(
        self,
        n: int,
        rule: str | Rule | None = None,
        *,
        reset_every: int | None = None,
        window: int | None = None,
        budget: int | None = None,
        revise: bool | None = None,
        camera: str = "head",
        intrinsics: np.ndarray | None = None,
        reset_when: str | ResetTrigger | None = None,
        join: str = "exact",
        graphs: bool = False,
    ) -> Streams:
        """Begin n takes that are stepped together.

        rule: for recurrent memories, a name of `longtake rules` or a rule object; by default ttt3r.
        reset_every: start each take's memory over every so many of its frames; poses are chained through the resets.
        window: for full attention, how many frames are read at once: the first, whose camera is the world, and the
            newest. By default all: time grows with the square of their number, memory with their number.
        budget: for a cache, keys and values of how many frames stay in each layer; those most similar to the rest are
            dropped. By default all.
        revise: for full attention, whether `prediction.revised` holds new predictions of the earlier frames that were
            read; by default yes. No saves the dense heads' time for all but the newest frame.
        camera: "head": the pose that the model says (where it has no camera head: the one that lays its two pointmaps
            over each other); "solve": from its world points, by focal length, PnP and RANSAC (extra `solve`).
        intrinsics: (3, 3) the camera's matrix in pixels of the original frames, if it is known: poses are solved with
            it, and every prediction has it.
        reset_when: a trigger that starts a take's memory over by what it sees, or its words: spent:30+cut
            (longtake.continuity.trigger).
        join: how the chunks between resets meet: exact, as the published programs do; scale; sim3.
        graphs: on a CUDA device, run each frame as one captured graph (longtake.engine), for memories of fixed shapes.

        Raises CapabilityError for what the model does not have, InputError, MissingExtra.
        """
        return Streams(
            self.module,
            n,
            rule=rule,
            reset_every=reset_every,
            name=self.name,
            window=window,
            budget=budget,
            revise=revise,
            camera=camera,
            intrinsics=intrinsics,
            reset_when=reset_when,
            join=join,
            graphs=graphs,
        )

    def resume(self, path: str | Path, *, rule: str | Rule | None = None) -> Stream | Streams:
        """Continue what `stream.save(path)` wrote, bit for bit: a Stream if it was one, else Streams.

        rule: needed only where the saved rule is not one of `longtake rules`. Raises InputError, CheckpointError.
        """
        return Streams.resume(self.module, path, rule=rule, name=self.name)

    def track(self, frames: Iterable[Frame | np.ndarray], points: np.ndarray) -> Tracks:
        """Follow points of the first frame through all frames, which are read at once.

        frames: pictures of one size, (H, W, 3) uint8 RGB or Frame; points: (K, 2), their pixels (x, y) in the first.
        Raises CapabilityError for a model without a track head, InputError for frames or points that do not fit.
        """
        return follow(self.module, frames, points, self.name)

    def to(self, device: str | torch.device) -> Model:
        """Move the weights, in place, and return the model; move streams with `stream.to`. Raises CapabilityError."""
        self.module.to(pick_device(device))
        return self

    def __repr__(self) -> str:
        count = sum(p.numel() for p in self.module.parameters())
        return f"<{self.name}: {count / 1e6:.1f} M parameters on {self.device}>"


def load(
    name: str = "longtake-small",
    weights: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device = "auto",
    size: int | None = None,
    rounded_rope: bool | None = None,
) -> Model:
    """Load a model by name and return it, ready to begin streams.

    name: as `longtake models` lists it. `longtake-small` comes with the package; the others need `weights`.
    weights: an official checkpoint as its authors publish it, or a file of `longtake convert`. Nothing in it is run.
    device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
    size: longer side in pixels of the image that the model sees (VGGT, StreamVGGT: the width), a multiple of 16 (of 14
        there); by default what it was trained for.
    rounded_rope: whether the image encoder rounds its rotary embedding to half precision as the published programs do;
        by default as the weights were trained (yes for official weights).

    Raises CapabilityError for a name, size or device that there is not, CheckpointError for weights that do not fit.
    """
    entry = find(name)
    target = pick_device(device)
    patch = getattr(entry.config, "patch", PATCH)
    if size is not None and (size < patch or size % patch):
        near = max(1, round(size / patch)) * patch
        raise CapabilityError(f"size {size}: the longer side must be a multiple of {patch} pixels, such as {near}.")
    if weights is None and not entry.embedded:
        raise CheckpointError(
            f"the weights of {name} are not in this package ({entry.licence}): get {entry.source} and pass it, "
            f'longtake.load("{name}", weights="FILE") or --weights FILE.'
        )
    path = embedded_path(name) if weights is None else Path(weights).expanduser()
    found = read_any(path, family=entry.family, wanted=f"the weights of {name}")
    module: Any = build_empty(entry.family, _configured(name, entry, found, size, rounded_rope), str(path))
    _check_kind(name, entry, module, path)
    load_strict(module, found.tensors, what=f"{path} into {name}")
    if broken := [key for key, tensor in found.tensors.items() if not tensor.isfinite().all()]:
        raise CheckpointError(
            f"{path}: {len(broken)} tensors hold numbers that are not finite ({', '.join(broken[:5])}): the file is "
            "damaged, or its training diverged. Download it again, or take an earlier one."
        )
    module.eval().requires_grad_(False)
    return Model(name, module.to(target), path.name, _sha256(path))


def _configured(name: str, entry: Entry, found: Weights, size: int | None, rounded_rope: bool | None) -> dict[str, Any]:
    """The file's configuration with what the caller chose."""
    if rounded_rope is not None and not hasattr(entry.config, "rounded_rope"):
        raise CapabilityError(f"rounded_rope={rounded_rope} with {name}: it has no such rotation; leave it out.")
    if entry.family == "vggt":
        own = found.metadata is not None and found.config.get("causal")  # official files do not say; ours may
        changes = {"seen_size": size, "causal": True if own else entry.config.causal}
    else:
        changes = {"image_size": size, "rounded_rope": rounded_rope}
    return dict(found.config) | {key: value for key, value in changes.items() if value is not None}


def _check_kind(name: str, entry: Entry, module: Any, path: Path) -> None:
    """Refuse a file of the right family that was made for another of its models."""
    for trait, wanted, words in (
        ("head", getattr(entry.config, "head", None), "a model with {} heads; {} has {} heads"),
        ("causal", getattr(entry.config, "causal", None), "a model with causal={}; {} has causal={}"),
    ):
        has = getattr(module.config, trait, None)
        if has != wanted:
            raise CheckpointError(
                f"{path} holds {words.format(has, name, wanted)}. "
                f"Name the model that the file was made for (`longtake models`)."
            )


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
