# SPDX-License-Identifier: Apache-2.0
"""Models by name: their configuration, where their weights are, and `load`."""

from __future__ import annotations

import difflib
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from longtake.checkpoints.convert import build_empty, read_any
from longtake.checkpoints.embedded import embedded_path
from longtake.checkpoints.strict import load_strict
from longtake.device import pick_device
from longtake.errors import CapabilityError, CheckpointError
from longtake.families.cut3r import Cut3r, Cut3rConfig
from longtake.frame import PATCH
from longtake.rules import Rule
from longtake.stream import Stream, Streams

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

    config: Cut3rConfig
    licence: str  # of the weights
    source: str  # where the weights come from
    embedded: bool = False

    @property
    def parameters(self) -> int:
        """How many numbers the model has. Counted without making any of them."""
        with torch.device("meta"):
            return sum(p.numel() for p in Cut3r(self.config).parameters())


MODELS: dict[str, Entry] = {
    "longtake-small": Entry(SMALL, "Apache-2.0", "in the package", embedded=True),
    "cut3r-512": Entry(
        Cut3rConfig(), "CC BY-NC-SA 4.0 (non-commercial)", "cut3r_512_dpt_4_64.pth of the CUT3R project"
    ),
    "cut3r-224": Entry(
        Cut3rConfig(head="linear", image_size=224, square_crop=True),
        "CC BY-NC-SA 4.0 (non-commercial)",
        "cut3r_224_linear_4.pth of the CUT3R project",
    ),
}


@dataclass(frozen=True, slots=True)
class Model:
    """A loaded model: its weights never change while it runs, so any number of streams can share it."""

    name: str  # as `longtake models` lists it
    module: Cut3r
    weights: str = ""  # name of the file that the weights came from
    weights_sha256: str = ""  # of that file

    @property
    def config(self) -> Cut3rConfig:
        """Every number of the model."""
        return self.module.config

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.module.parameters()).device

    def stream(self, rule: str | Rule = "ttt3r", *, reset_every: int | None = None, **options: Any) -> Stream:
        """Begin one take. rule: a name of `longtake rules`, or a rule object. See `streams` for the rest."""
        return Stream(self.module, rule=rule, reset_every=reset_every, name=self.name, **options)

    def streams(self, n: int, rule: str | Rule = "ttt3r", *, reset_every: int | None = None, **options: Any) -> Streams:
        """Begin n takes that are stepped together in one batch.

        reset_every: start each take's memory over every so many of its frames; poses are chained through the resets.
        options: reset_when, a longtake.continuity.trigger.ResetTrigger; join, how chunks meet: exact, scale or sim3.
        """
        return Streams(self.module, n, rule=rule, reset_every=reset_every, name=self.name, **options)

    def resume(self, path: str | Path, *, rule: str | Rule | None = None) -> Stream | Streams:
        """Continue what `stream.save(path)` wrote, bit for bit: a Stream if it was one, else Streams.

        rule: needed only where the saved rule is not one of `longtake rules`. Raises InputError, CheckpointError.
        """
        return Streams.resume(self.module, path, rule=rule, name=self.name)

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
    size: longer side in pixels of the image that the model sees, a multiple of 16; by default what it was trained for.
    rounded_rope: whether the image encoder rounds its rotary embedding to half precision as the published programs do;
        by default as the weights were trained (yes for official weights).

    Raises CapabilityError for a name, size or device that there is not, CheckpointError for weights that do not fit.
    """
    entry = find(name)
    target = pick_device(device)
    if size is not None and (size < PATCH or size % PATCH):
        near = max(1, round(size / PATCH)) * PATCH
        raise CapabilityError(f"size {size}: the longer side must be a multiple of {PATCH} pixels, such as {near}.")
    if weights is None and not entry.embedded:
        raise CheckpointError(
            f"the weights of {name} are not in this package ({entry.licence}): get {entry.source} and pass it, "
            f'longtake.load("{name}", weights="FILE") or --weights FILE.'
        )
    path = embedded_path(name) if weights is None else Path(weights).expanduser()
    found = read_any(path, family="cut3r", wanted=f"the weights of {name}")
    changes = {"image_size": size, "rounded_rope": rounded_rope}
    config = found.config | {key: value for key, value in changes.items() if value is not None}
    module = build_empty("cut3r", config, str(path))
    assert isinstance(module, Cut3r)
    if module.config.head != entry.config.head:
        raise CheckpointError(
            f"{path} holds a model with {module.config.head} heads; {name} has {entry.config.head} heads. "
            f"Name the model that the file was made for (`longtake models`)."
        )
    load_strict(module, found.tensors, what=f"{path} into {name}")
    if broken := [key for key, tensor in found.tensors.items() if not tensor.isfinite().all()]:
        raise CheckpointError(
            f"{path}: {len(broken)} tensors hold numbers that are not finite ({', '.join(broken[:5])}): the file is "
            "damaged, or its training diverged. Download it again, or take an earlier one."
        )
    module.eval().requires_grad_(False)
    return Model(name, module.to(target), path.name, _sha256(path))


def find(name: str) -> Entry:
    """Return a line of the table. Raises CapabilityError with near names."""
    if name not in MODELS:
        near = difflib.get_close_matches(name.lower(), MODELS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise CapabilityError(f"no model is called {name!r}.{hint} There are: {', '.join(MODELS)}.")
    return MODELS[name]


def model_table() -> list[dict[str, str]]:
    """Return what `longtake models` and docs/models.md show, a row each: name, parameters, weights, their licence."""
    return [
        {
            "name": name,
            "parameters": f"{entry.parameters / 1e6:.1f} M",
            "weights": entry.source,
            "licence of the weights": entry.licence,
        }
        for name, entry in MODELS.items()
    ]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
