# SPDX-License-Identifier: Apache-2.0
"""Models by name: `load` reads one of the table in `catalog`; a loaded model begins streams."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch

from longtake.catalog import MODELS, SMALL, SMALL_FULL, Entry, find, model_table
from longtake.checkpoints.convert import Weights, build_empty, read_any
from longtake.checkpoints.embedded import embedded_path
from longtake.checkpoints.hub import HUB, cached_path, fetch
from longtake.checkpoints.strict import load_strict
from longtake.continuity.trigger import ResetTrigger
from longtake.device import pick_device
from longtake.engine.packed import pack
from longtake.engine.precision import narrow
from longtake.errors import CapabilityError, CheckpointError
from longtake.families.contract import Capabilities
from longtake.frame import PATCH, Frame
from longtake.geometry.lens import Lens
from longtake.rules import Rule
from longtake.stream import Stream, Streams
from longtake.tracks import Tracks, follow

__all__ = ["MODELS", "SMALL", "SMALL_FULL", "Entry", "Model", "find", "load", "model_table"]


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model: its weights never change while it runs, so any number of streams can share it."""

    name: str  # as `longtake models` lists it
    module: Any  # a torch module that keeps `families.contract.Family`
    weights: str = ""  # name of the file that the weights came from
    weights_sha256: str = ""  # of that file
    reset_every: int | None = None  # what "auto" means to its streams
    join: str = "exact"  # how its chunks meet where nobody says otherwise

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
        reset_every: int | Literal["auto"] | None = "auto",
        window: int | None = None,
        budget: int | None = None,
        revise: bool | None = None,
        camera: str = "head",
        intrinsics: np.ndarray | Lens | None = None,
        reset_when: str | ResetTrigger | None = None,
        join: str | None = None,
        graphs: bool = False,
        prepare_on: str = "host",
    ) -> Stream:
        """Begin one take. See `streams` for what can be chosen; `model.capabilities` says what the model has."""
        return Stream(
            self.module,
            rule=rule,
            reset_every=self._resets(reset_every, reset_when),
            name=self.name,
            window=window,
            budget=budget,
            revise=revise,
            camera=camera,
            intrinsics=intrinsics,
            reset_when=reset_when,
            join=join or self.join,
            graphs=graphs,
            prepare_on=prepare_on,
        )

    def streams(
        self,
        n: int,
        rule: str | Rule | None = None,
        *,
        reset_every: int | Literal["auto"] | None = "auto",
        window: int | None = None,
        budget: int | None = None,
        revise: bool | None = None,
        camera: str = "head",
        intrinsics: np.ndarray | Lens | None = None,
        reset_when: str | ResetTrigger | None = None,
        join: str | None = None,
        graphs: bool = False,
        prepare_on: str = "host",
    ) -> Streams:
        """Begin n takes that are stepped together.

        rule: for recurrent memories, a name of `longtake rules` or a rule object; by default ttt3r.
        reset_every: start each take's memory over every so many of the frames that it writes into it; poses are chained
            through the resets.
            "auto": as is best for the model (24 for longtake-small, never for the others; never where `reset_when`
            decides). None: never.
        window: for full attention, how many frames are read at once: the first, whose camera is the world, and the
            newest. By default all: time grows with the square of their number, memory with their number.
        budget: for a cache, keys and values of how many frames stay in each layer; those most similar to the rest are
            dropped. By default all.
        revise: for full attention, whether `prediction.revised` holds new predictions of the earlier frames that were
            read; by default yes. No saves the dense heads' time for all but the newest frame.
        camera: "head": the pose that the model says (where it has no camera head: the one that lays its two pointmaps
            over each other); "solve": from its world points, by focal length, PnP and RANSAC (extra `solve`).
        intrinsics: (3, 3) the camera's matrix in pixels of the original frames, if it is known: poses are solved with
            it, and every prediction has it. As a `Lens` with a size it is scaled to frames of other sizes, and left
            out for those of another aspect.
        reset_when: a trigger that starts a take's memory over by what it sees, or its words: spent:30+cut
            (longtake.continuity.trigger).
        join: how the chunks between resets meet: exact, as the published programs do; scale; sim3. By default scale
            for longtake-small, exact for the others.
        graphs: on a CUDA device, run each frame as one captured graph (longtake.engine), for memories of fixed shapes.
        prepare_on: where pictures are resized and cropped: host; or device, where the model is (CUT3R; its own thread's
            work becomes the GPU's, and a grey level may differ by one).

        Raises CapabilityError for what the model does not have, InputError, MissingExtra.
        """
        return Streams(
            self.module,
            n,
            rule=rule,
            reset_every=self._resets(reset_every, reset_when),
            name=self.name,
            window=window,
            budget=budget,
            revise=revise,
            camera=camera,
            intrinsics=intrinsics,
            reset_when=reset_when,
            join=join or self.join,
            graphs=graphs,
            prepare_on=prepare_on,
        )

    def _resets(self, every: int | Literal["auto"] | None, when: str | ResetTrigger | None) -> int | None:
        if every == "auto":
            return self.reset_every if when is None else None
        return every

    def resume(self, path: str | Path, *, rule: str | Rule | None = None, strict: bool = True) -> Stream | Streams:
        """Continue what `stream.save(path)` wrote, bit for bit: a Stream if it was one, else Streams.

        rule: needed only where the saved rule is not one of `longtake rules`.
        strict: refuse a state that was saved with other weights or in another precision. False goes on with these.
        Raises InputError, CheckpointError.
        """
        return Streams.resume(self.module, path, rule=rule, name=self.name, strict=strict)

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


@torch.inference_mode(False)  # within it, weights would be tensors that cannot say when they change
def load(
    name: str = "longtake-small",
    weights: str | os.PathLike[str] | None = None,
    *,
    device: str | torch.device = "auto",
    size: int | None = None,
    rounded_rope: bool | None = None,
    precision: str = "float32",
) -> Model:
    """Load a model by name and return it, ready to begin streams.

    name: as `longtake models` lists it. `longtake-small` comes with the package; the others need `weights`.
    weights: an official checkpoint as its authors publish it, or a file of `longtake convert`. Nothing in it is run.
        "hub", and only that, downloads it (extra `hub`): see `checkpoints.hub`. A file of that name is "./hub".
    device: auto (CUDA, then Apple's MPS, then the CPU), cpu, cuda, cuda:1, mps.
    size: longer side in pixels of the image that the model sees (VGGT, StreamVGGT: the width), a multiple of 16 (of 14
        there); by default what it was trained for.
    rounded_rope: whether the image encoder rounds its rotary embedding to half precision as the published programs do;
        by default as the weights were trained (yes for official weights).
    precision: float32, or bf16: matrices are multiplied in bfloat16, everything between them stays in float32. fp8: the
        same with 8-bit products in the image encoder, for GPUs that have them (elsewhere its numbers, not its speed).

    Raises CapabilityError for a name, size, precision or device that there is not, CheckpointError for weights that do
    not fit.
    """
    entry = find(name)
    target = pick_device(device)
    patch = getattr(entry.config, "patch", PATCH)
    if size is not None and (size < patch or size % patch):
        near = max(1, round(size / patch)) * patch
        raise CapabilityError(f"size {size}: the longer side must be a multiple of {patch} pixels, such as {near}.")
    path = weights_of(name, entry, weights)
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
    module = narrow(module.to(target), precision)
    module = pack(module) if target.type == "cpu" else module
    return Model(name, module, path.name, _sha256(path), entry.reset_every, entry.join)


def weights_of(name: str, entry: Entry, weights: str | os.PathLike[str] | None) -> Path:
    """Return the file to read. Raises CheckpointError, which says what to get and where to put it."""
    if weights is None and entry.embedded:
        return embedded_path(name)
    if weights is None:
        there = f", or put it at {cached_path(name, entry.hub)} and pass {HUB!r}" if entry.hub else ""
        fetched = f' weights="{HUB}" downloads it.' if entry.hub else ""
        raise CheckpointError(
            f"the weights of {name} are not in this package ({entry.licence}): get {entry.source} and pass it, "
            f'longtake.load("{name}", weights="FILE") or --weights FILE{there}.{fetched}'
        )
    if os.fspath(weights) != HUB:
        return Path(weights).expanduser()
    if entry.hub is None:
        instead = "they are in the package" if entry.embedded else f"get {entry.source} and pass the file as weights"
        raise CheckpointError(f"weights={HUB!r}: the weights of {name} are not on the hub; {instead}.")
    return fetch(name, entry.hub, entry.licence)


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


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
