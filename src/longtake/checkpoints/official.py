# SPDX-License-Identifier: Apache-2.0
"""Read official checkpoints (torch files with `model` and `args`) without executing anything from them."""

import pickle
import threading
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from longtake.checkpoints.constructor import parse_constructor
from longtake.checkpoints.inert import KNOWN_NAMES, Inert, InertMapping, constructor_text, stand_ins
from longtake.checkpoints.kind import Kind, kind_of
from longtake.checkpoints.pickles import code_among, names_in
from longtake.errors import CheckpointError

_AGAIN = "Download it again, and compare its size and hash with those its authors publish."
_SAFE_GLOBALS = threading.Lock()  # torch keeps one list of registered stand-ins for the whole process


@dataclass(frozen=True, slots=True)
class OfficialCheckpoint:
    """What an official file holds that Longtake can use."""

    model: dict[str, Tensor]  # the state dict under its official names, on the CPU, without a common `module.` prefix
    args_text: str | None  # the constructor call as the file has it; None if there is none to be read
    class_name: str | None  # the class that the call names
    config: dict[str, Any] | None  # the call's values; None if it could not be read: `notes` then says why
    notes: tuple[str, ...]  # what a person should know: what was skipped, what could not be read


def read_torch(path: Path | str) -> OfficialCheckpoint:
    """Read a file written by torch.save: weights, and the constructor's values if they can be read.

    Zip files are mapped, so the optimiser's state costs no memory. The arguments' classes (argparse, OmegaConf, any
    other) become inert stand-ins; where they make no sense the weights load all the same and a note says so.

    Raises:
        CheckpointError: no such file, not a torch file, damaged, without weights, or its pickle tries to run code.
    """
    path = Path(path)
    kind = kind_of(path, wanted="an official checkpoint")
    names: frozenset[str] = frozenset()
    if kind in (Kind.ZIP, Kind.PICKLE, Kind.OTHER):
        names = names_in(path)
        if code := code_among(names):
            raise CheckpointError(
                f"{path} tries to run code when it is read: it calls {', '.join(code[:10])}. Nothing was run or "
                "loaded. Weights never need this: delete the file and get it from its authors."
            )
    if kind is Kind.SAFETENSORS:
        raise CheckpointError(f"{path} is a safetensors file, not a torch file; load it as it is.")
    if kind not in (Kind.ZIP, Kind.PICKLE):
        raise CheckpointError(f"{path} is {kind.value}; a file written by torch.save was wanted. {_AGAIN}")
    content = _load(path, kind, names)
    weights, notes = _weights(content, path)
    unknown = sorted(name for name in names - set(KNOWN_NAMES) if not name.startswith(_COMMON))
    if unknown:
        notes.append(f"{len(unknown)} names in the file were neither imported nor run: {', '.join(unknown[:10])}")
    text, class_name, config = _arguments(content, notes)
    return OfficialCheckpoint(weights, text, class_name, config, tuple(notes))


# Torch's own names, and builtins that are only types: in every file, and no news to anyone.
_COMMON = ("torch.", "collections.", "builtins.", "__builtin__.", "_codecs.", "typing.")


def _load(path: Path, kind: Kind, names: frozenset[str]) -> Any:
    """Unpickle with torch's restricted unpickler; try twice, as subclasses of dict need another stand-in."""
    problem: Exception | None = None
    for base in (Inert, InertMapping):
        try:
            with _SAFE_GLOBALS, torch.serialization.safe_globals(stand_ins(names, base)), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch's advice about pickle protocols is not for our users
                return torch.load(path, map_location="cpu", weights_only=True, mmap=kind is Kind.ZIP)
        except Exception as error:  # a damaged pickle can raise nearly anything
            problem = problem or error
    reason = str(problem) or type(problem).__name__
    zip_words = ("zip archive", "PytorchStreamReader", "inline_container")  # torch says it in one way or another
    if any(word in reason for word in zip_words) or isinstance(problem, EOFError):
        raise CheckpointError(
            f"{path} ({path.stat().st_size} bytes) is truncated, damaged or not written by torch.save. {_AGAIN}"
        ) from problem
    if "TorchScript" in reason:
        raise CheckpointError(f"{path} is a TorchScript program; a file with a state dict was wanted.") from problem
    if not isinstance(problem, pickle.UnpicklingError):
        raise CheckpointError(f"{path} is damaged ({_first_line(reason)}). {_AGAIN}") from problem
    reason = reason.split("WeightsUnpickler error:")[-1].split("UnpicklingError:")[-1].strip()
    raise CheckpointError(
        f"{path} cannot be read without running code from it ({_first_line(reason)}). Nothing was run. "
        "Where you trust it, write its state dict to a new file with torch.save, in torch's own pickle protocol."
    ) from problem


def _first_line(text: str) -> str:
    return text.strip().splitlines()[0][:200] if text.strip() else "no reason given"


def _weights(content: Any, path: Path) -> tuple[dict[str, Tensor], list[str]]:
    """Take the state dict out of what the file held."""
    notes: list[str] = []
    if isinstance(content, Inert):
        raise CheckpointError(f"{path} holds a whole pickled {content.name}; a dict with the state dict was wanted.")
    if not isinstance(content, Mapping):
        raise CheckpointError(
            f"{path} holds a {type(content).__name__}; a dict with `model` (a state dict) was wanted."
        )
    found = next((key for key in ("model", "state_dict") if isinstance(content.get(key), Mapping)), None)
    weights = content if found is None else content[found]
    others = [f"{name!s} ({type(value).__name__})" for name, value in weights.items() if not isinstance(value, Tensor)]
    if not weights or others:
        what = "is empty" if not weights else f"holds {', '.join(others[:10])}" + (" ..." if len(others) > 10 else "")
        where = "no `model`; its top level" if found is None else f"a `{found}` that"
        raise CheckpointError(f"{path} has {where} {what}. A state dict, names to tensors, was wanted.")
    if found != "model":
        notes.append("the file is a bare state dict" if found is None else "the weights were under `state_dict`")
    state = {str(name): tensor.detach() for name, tensor in weights.items()}
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
        notes.append("took the prefix `module.` off every name")
    return state, notes


def _arguments(content: Mapping[str, Any], notes: list[str]) -> tuple[str | None, str | None, dict[str, Any] | None]:
    """Read the constructor's text and values; add a note where that fails."""
    if "args" not in content or isinstance(content["args"], Tensor):
        notes.append("the file has no arguments; the configuration must come from the shapes")
        return None, None, None
    text = constructor_text(content["args"])
    if text is None:
        notes.append("no constructor call was found in the file's arguments; the configuration comes from the shapes")
        return None, None, None
    try:
        class_name, config = parse_constructor(text)
    except CheckpointError as error:
        notes.append(f"the arguments were not read: {error}")
        return text, None, None
    return text, class_name, config
