# SPDX-License-Identifier: Apache-2.0
"""Adapter files: what fine-tuning added to a model's weights, a few megabytes, useless without those weights.

A Longtake file whose metadata has `adapter`: the adapters' scale, the name of the model in the package that they belong
to (none: weights from elsewhere), and a hash of the tensors on which they were trained. `nn.lora` has the equation.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtake.checkpoints.safe import write_safetensors
from longtake.errors import CheckpointError

DOWN, UP = "lora_down", "lora_up"  # last part of an adapter's names


def tensors_hash(tensors: Mapping[str, Tensor]) -> str:
    """Return the sha256 of tensors by name and value as float32: the same whatever file they came from."""
    digest = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        digest.update(f"{name} {tuple(tensor.shape)}\0".encode())
        digest.update(tensor.detach().cpu().float().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def write_adapters(  # noqa: PLR0913
    path: Path,
    adapters: Mapping[str, Tensor],
    config: Mapping[str, Any],
    family: str,
    *,
    scale: float,
    base: str | None,
    base_tensors: Mapping[str, Tensor],
    **metadata: Any,
) -> None:
    """Write adapters beside what tells which weights they belong to, all or nothing.

    base: the model in the package whose weights `base_tensors` are; None: weights from elsewhere. Raises OutputError.
    """
    about = {"scale": scale, "base": base, "base_sha256": tensors_hash(base_tensors)}
    write_safetensors(path, adapters, config, family, adapter=about, **metadata)


def fold_adapters(
    base: Mapping[str, Tensor], adapters: Mapping[str, Tensor], about: Mapping[str, Any], what: str
) -> dict[str, Tensor]:
    """Return the weights that say what base and adapters say together: W + scale * up @ down.

    about: the file's `adapter` metadata. Raises CheckpointError where the adapters were trained on other weights.
    """
    if tensors_hash(base) != about.get("base_sha256"):
        raise CheckpointError(
            f"{what}: these adapters were trained on other weights than those at hand (another version of the "
            "package?). Use the whole weights that were written beside them, or fine-tune again."
        )
    scale = about.get("scale")
    if not isinstance(scale, int | float) or not math.isfinite(scale):
        raise CheckpointError(f"{what}: its adapters have the scale {scale!r}; the file is damaged.")
    out = dict(base)
    for name in sorted({key.rpartition(".")[0] for key in adapters}):
        down, up, weight = adapters.get(f"{name}.{DOWN}"), adapters.get(f"{name}.{UP}"), out.get(f"{name}.weight")
        if down is None or up is None or weight is None or weight.shape != (up.shape[0], down.shape[1]):
            raise CheckpointError(f"{what}: the adapter of {name} does not fit its weight; the file is damaged.")
        out[f"{name}.weight"] = weight + scale * (up.to(weight) @ down.to(weight))
    return out
