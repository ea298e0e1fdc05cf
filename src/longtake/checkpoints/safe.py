# SPDX-License-Identifier: Apache-2.0
"""Longtake's own weight files: safetensors with the family and its configuration inside.

The file's metadata has one entry, `longtake`, a JSON object: format (1), family, config and whatever else the writer
added. JSON has no infinity, so inf, -inf and nan are written as the strings "inf", "-inf" and "nan" and read back as
numbers; tuples come back as lists.
"""

import json
import math
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor

from longtake.checkpoints.kind import Kind, kind_of
from longtake.errors import CheckpointError, OutputError
from longtake.files import save_tensors

FORMAT = 1
_NUMBERS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan}


def write_safetensors(
    path: Path | str, tensors: Mapping[str, Tensor], config: Mapping[str, Any], family: str, **metadata: Any
) -> None:
    """Write weights with their family, configuration and further JSON-able metadata, all or nothing.

    The file appears under its name only when it is complete; an older one is replaced. Missing folders are made.

    Raises:
        OutputError: it could not be written (full disk, no permission); what was there before is untouched.
    """
    path = Path(path)
    text = json.dumps(
        _to_json({**metadata, "format": FORMAT, "family": family, "config": config}), allow_nan=False, sort_keys=True
    )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_tensors(path, _own_memory(tensors), {"longtake": text})
    except (OSError, safetensors.SafetensorError) as error:
        raise OutputError(
            f"{path} could not be written ({error}). Nothing was left behind; free space or choose another folder."
        ) from error


def read_safetensors(
    path: Path | str, *, family: str | None = None, device: str = "cpu", wanted: str = "Longtake weights"
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Read a file of `write_safetensors`: the tensors, and the metadata with at least `family` and `config`.

    `family`: what the caller can use; None takes any. `wanted` says in errors which file belongs at `path`.

    Raises:
        CheckpointError: no such file, not safetensors, truncated, without a configuration, or of another family.
    """
    path = Path(path)
    metadata = read_metadata(path, wanted=wanted)
    if family is not None and metadata["family"] != family:
        raise CheckpointError(
            f"{path} holds {metadata['family']} weights; {family} weights were wanted. "
            f"Name a {family} file, or load this one as a {metadata['family']} model (`longtake models`)."
        )
    tensors, _ = _open(path, device)
    return tensors, metadata


def read_metadata(path: Path | str, *, wanted: str = "Longtake weights") -> dict[str, Any]:
    """Read only the metadata of a Longtake weight file: family, config, format and what its writer added.

    Raises:
        CheckpointError: as `read_safetensors`.
    """
    path = Path(path)
    text = read_header(path, wanted=wanted).get("longtake")
    try:
        metadata = _from_json(json.loads(text)) if text is not None else None
    except ValueError:
        metadata = None
    if not isinstance(metadata, dict) or not isinstance(metadata.get("config"), dict) or "family" not in metadata:
        raise CheckpointError(
            f"{path} is a safetensors file without Longtake's configuration inside. "
            f"Run `longtake convert {path}` to make one that has it."
        )
    if metadata.get("format", FORMAT) != FORMAT:
        raise CheckpointError(
            f"{path} has format {metadata.get('format')}; this version of Longtake reads {FORMAT}. Update Longtake."
        )
    return metadata


def read_plain(path: Path | str, *, device: str = "cpu") -> dict[str, Tensor]:
    """Read the tensors of any safetensors file, with or without a configuration.

    Raises:
        CheckpointError: no such file, not safetensors, or truncated.
    """
    read_header(Path(path), wanted="weights")
    return _open(Path(path), device)[0]


def read_header(path: Path, *, wanted: str) -> dict[str, str]:
    """Check that the file is whole and return safetensors' own metadata (strings), {} if it has none.

    Raises:
        CheckpointError: no such file, not safetensors, or truncated.
    """
    kind, size = kind_of(path, wanted=wanted), path.stat().st_size
    if kind in (Kind.ZIP, Kind.PICKLE):
        raise CheckpointError(
            f"{path} is {kind.value}, not safetensors. Run `longtake convert {path}` and load the result."
        )
    if kind is not Kind.SAFETENSORS:
        raise CheckpointError(f"{path} is {kind.value}; {wanted} in a safetensors file were wanted. Download it again.")
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = file.read(min(length, size))
    try:
        entries = json.loads(header) if length <= size - 8 else None
        end = (
            8
            + length
            + max((e["data_offsets"][1] for n, e in (entries or {}).items() if n != "__metadata__"), default=0)
        )
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as error:
        raise CheckpointError(f"{path} is not safetensors: its header cannot be read. Download it again.") from error
    if entries is None or size < end:
        wanted_size = "" if entries is None else f" of {end}"
        raise CheckpointError(f"{path} is truncated: it has {size}{wanted_size} bytes. Download or copy it again.")
    return entries.get("__metadata__") or {}


def _open(path: Path, device: str) -> tuple[dict[str, Tensor], dict[str, str]]:
    try:
        with safetensors.safe_open(path, framework="pt", device=device) as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (safetensors.SafetensorError, OSError, ValueError) as error:
        raise CheckpointError(f"{path} is damaged: {error}. Download or copy it again.") from error


def _own_memory(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Give every tensor contiguous memory of its own: safetensors refuses two names for one storage."""
    owned, storages = {}, set()
    for name, given in tensors.items():
        tensor = given.detach().to("cpu").contiguous()
        storage = tensor.untyped_storage()
        shared = storage.data_ptr() in storages or storage.nbytes() != tensor.numel() * tensor.element_size()
        owned[name] = tensor.clone() if shared else tensor
        storages.add(owned[name].untyped_storage().data_ptr())
    return owned


def _to_json(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_to_json(item) for item in value]
    if isinstance(value, (torch.dtype, Path)):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return "nan" if math.isnan(value) else "inf" if value > 0 else "-inf"
    return value


def _from_json(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _from_json(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_from_json(item) for item in value]
    return _NUMBERS.get(value, value) if isinstance(value, str) else value
