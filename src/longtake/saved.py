# SPDX-License-Identifier: Apache-2.0
"""Saved streams on disk: what a state file says, before a model goes on from it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from longtake.engine.precision import precision_of
from longtake.errors import CheckpointError, InputError, OutputError
from longtake.files import save_tensors
from longtake.geometry.lens import Lens

FORMAT = "longtake-state-1"


def read_saved(path: str | Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return what is said of a saved stream, and its tensors by name.

    Raises InputError where there is no such file, CheckpointError for what is no state.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give a state file that stream.save() wrote.")
    try:
        with safe_open(str(path), framework="pt") as file:
            about = json.loads((file.metadata() or {}).get("longtake", "{}"))
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
    except (SafetensorError, json.JSONDecodeError, OSError) as error:
        raise CheckpointError(
            f"{path}: not a readable state file ({error}). Save it again with stream.save()."
        ) from error
    if about.get("format") != FORMAT:
        raise CheckpointError(f"{path}: holds no stream state (wanted {FORMAT}); weights are loaded with longtake.load")
    return about, tensors


def write_saved(path: str | Path, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write what `read_saved` reads. Raises OutputError; an earlier file of that name is then as it was."""
    try:
        save_tensors(Path(path), tensors, {"longtake": json.dumps(about | {"format": FORMAT})})
    except (SafetensorError, OSError) as error:
        raise OutputError(
            f"{path}: the state cannot be saved here ({error}). Give a file in a folder that can be written to."
        ) from error


def options_of(about: dict[str, Any]) -> dict[str, Any]:
    """How the streams of a state file were made, as `Streams` takes it; what older files do not say is left out."""
    names = ("rule", "reset_every", "camera", "intrinsics", "join", "reset_when")
    options = {name: about[name] for name in names if name in about} | about.get("options", {})
    if about.get("intrinsics_size"):
        options["intrinsics"] = Lens(about["intrinsics"], (), tuple(about["intrinsics_size"]))
    return options


def check_same_kind(path: str | Path, about: dict[str, Any], config: Any) -> None:
    """Raise CheckpointError unless a model's configuration is that of the one that saved a state."""
    if about["config"] != json.loads(json.dumps(config.to_dict())):
        raise CheckpointError(
            f"{path}: was saved by {about['model'] or 'another model'}; load that model and resume it"
        )


def saved_model(path: str | Path) -> tuple[str, int | None, str]:
    """Return the model that saved a state, the longer side of what it sees, and its precision: as `load` takes them.

    Empty, None and float32 where the state does not say. Raises InputError, CheckpointError.
    """
    about, _ = read_saved(path)
    config = about.get("config", {})
    # VGGT's kind: image_size belongs to the weights, and seen_size is what was chosen, 0 where nothing was.
    size = (config["seen_size"] or None) if "seen_size" in config else config.get("image_size")
    return str(about.get("model") or ""), size, str(about.get("precision") or "float32")


def fingerprint(model: nn.Module) -> str:
    """Return what tells these weights from others: a SHA-256 of names, types, shapes and 64 numbers of each tensor.

    Training moves every number of what it trains, so a few of each tell, in milliseconds where a hash of them all takes
    seconds. Device and layout do not matter. The colour head is left out: the memory never hears of it, and
    `engine.tune` may take it away.
    """
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        if ".color." not in name:
            numbers = tensor.detach().reshape(-1)
            some = numbers[:: numbers.numel() // 64 | 1].cpu().contiguous()  # an odd step: not one column of a matrix
            digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\0".encode())
            digest.update(some.view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def check_same_numbers(path: str | Path, about: dict[str, Any], model: Any) -> None:
    """Raise CheckpointError unless a model has the weights and the precision of the one that saved a state.

    What the file does not say, as those of earlier versions, is not asked.
    """
    wide = next(model.parameters()).dtype == torch.float64
    ours = "float64" if wide else precision_of(model)
    theirs = "float64" if about.get("dtype") == "float64" else about.get("precision", ours)
    anyway = "or go on anyway with strict=False: what comes then is not what the take would have become."
    if theirs != ours:
        raise CheckpointError(
            f"{path}: was saved in {theirs} and this model runs in {ours}. Resume with the same precision, {anyway}"
        )
    if about.get("weights", "") not in ("", fingerprint(model)):
        raise CheckpointError(
            f"{path}: was saved by {about['model'] or 'a model'} with other weights, and these cannot read what those "
            f"wrote. Load the weights that the take began with, {anyway}"
        )
