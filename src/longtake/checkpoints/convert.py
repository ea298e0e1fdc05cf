# SPDX-License-Identifier: Apache-2.0
"""Read weights of any known origin, and turn official checkpoints into Longtake's own files."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from longtake.checkpoints.adapters import fold_adapters
from longtake.checkpoints.embedded import embedded_path
from longtake.checkpoints.infer import Shapes, cut3r_config
from longtake.checkpoints.kind import Kind, kind_of
from longtake.checkpoints.official import read_torch
from longtake.checkpoints.pack import is_packed, unpack
from longtake.checkpoints.recognise import recognise, require_built
from longtake.checkpoints.safe import read_header, read_plain, read_safetensors, write_safetensors
from longtake.checkpoints.strict import load_strict
from longtake.errors import CheckpointError, LongtakeError


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights under Longtake's names, with the configuration that they need."""

    family: str
    config: dict[str, Any]  # what the family's configuration class rebuilds itself from
    tensors: dict[str, Tensor]
    notes: tuple[str, ...] = ()  # what was assumed, skipped or could not be read
    metadata: Mapping[str, Any] | None = None  # of a Longtake file: what its writer added; None for official files


@dataclass(frozen=True, slots=True)
class ConvertReport:
    """What `convert` did."""

    source: Path
    out: Path
    family: str
    config: dict[str, Any]
    tensors: int  # names in the new file
    parameters: int  # elements in the new file
    bytes: int  # size of the new file
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Translation:
    """How a family's official files become ours."""

    configure: Callable[[Shapes, Mapping[str, Any] | None], tuple[dict[str, Any], list[str]]]
    """(official shapes, the constructor's values or None) -> (our configuration as plain values, notes)"""
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]]
    """official state dict -> ours"""
    build: Callable[[Mapping[str, Any]], nn.Module]
    """our configuration -> the module that takes the tensors"""


def _translation(
    infer: Callable[[Shapes, Mapping[str, Any] | None], tuple[dict[str, Any], list[str]]],
    config_class: Any,
    rename: Callable[[Mapping[str, Tensor]], dict[str, Tensor]],
    model_class: Callable[[Any], nn.Module],
) -> Translation:
    def configure(shapes: Shapes, arguments: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[str]]:
        official, notes = infer(shapes, arguments)
        return config_class.from_official(official).to_dict(), notes

    return Translation(configure, rename, lambda config: model_class(config_class.from_dict(config)))


def _cut3r() -> Translation:
    from longtake.families.cut3r import Cut3r, Cut3rConfig
    from longtake.families.cut3r_keys import translate

    return _translation(cut3r_config, Cut3rConfig, translate, Cut3r)


def _dust3r() -> Translation:
    from longtake.checkpoints.infer_kin import dust3r_config
    from longtake.families.dust3r import Dust3r, Dust3rConfig
    from longtake.families.dust3r_keys import translate

    return _translation(dust3r_config, Dust3rConfig, translate, Dust3r)


def _fast3r() -> Translation:
    from longtake.checkpoints.infer_kin import fast3r_config
    from longtake.families.fast3r import Fast3r, Fast3rConfig
    from longtake.families.fast3r_keys import translate

    return _translation(fast3r_config, Fast3rConfig, translate, Fast3r)


def _point3r() -> Translation:
    from longtake.checkpoints.infer_kin import point3r_config
    from longtake.families.point3r import Point3r, Point3rConfig
    from longtake.families.point3r_keys import translate

    return _translation(point3r_config, Point3rConfig, translate, Point3r)


def _vggt() -> Translation:
    from longtake.checkpoints.infer_vggt import vggt_config
    from longtake.families.streamvggt import StreamVggt
    from longtake.families.vggt import Vggt
    from longtake.families.vggt_config import VggtConfig
    from longtake.families.vggt_keys import translate

    def configure(shapes: Shapes, arguments: Mapping[str, Any] | None) -> tuple[dict[str, Any], list[str]]:
        official, notes = vggt_config(shapes, arguments)
        return VggtConfig.from_official(official).to_dict(), notes

    def build(config: Mapping[str, Any]) -> nn.Module:
        made = VggtConfig.from_dict(config)
        return StreamVggt(made) if made.causal else Vggt(made)

    return Translation(configure, translate, build)


_IN_TRAINING = ("model.", "flow.")  # prefixes in the files that `longtake train` leaves
TRANSLATIONS: dict[str, Callable[[], Translation]] = {  # a new family adds its line here
    "cut3r": _cut3r,
    "dust3r": _dust3r,
    "fast3r": _fast3r,
    "point3r": _point3r,
    "vggt": _vggt,
}


def read_any(
    path: Path | str,
    *,
    family: str | None = None,
    overrides: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = torch.float32,
    wanted: str = "weights",
) -> Weights:
    """Read an official torch file, an official state dict in safetensors, or a Longtake file, whichever it is.

    family: what the caller can use; None takes any that is built.
    overrides: official constructor values that stand in for, or correct, the file's own (official files only).
    dtype: of the floating tensors; None keeps the file's. Packed int8 is unpacked.
    wanted: says in errors which file belongs at `path`.

    Raises:
        CheckpointError: unreadable, unsafe, incomplete, or of another family than `family`.
        CapabilityError: of a family that is not built yet.
    """
    path = Path(path)
    kind = kind_of(path, wanted=wanted)
    if kind is Kind.SAFETENSORS and "longtake" in read_header(path, wanted=wanted):
        tensors, metadata = read_safetensors(path, family=family, wanted=wanted)
        require_built(metadata["family"], str(path))
        if "adapter" in metadata:
            tensors = _adapted(path, tensors, metadata)
        if is_packed(tensors):
            with _as_checkpoint_error(f"{path}: its packed weights cannot be unpacked"):
                tensors = unpack(tensors, dtype or torch.float32)
        if all(name.startswith(_IN_TRAINING) for name in tensors):  # the model beside what only training needs
            tensors = {n.removeprefix("model."): t for n, t in tensors.items() if n.startswith("model.")}
        return Weights(metadata["family"], metadata["config"], _cast(tensors, dtype), (), metadata)
    if kind is Kind.SAFETENSORS:
        official, class_name, arguments = read_plain(path), None, None
        notes = ["a safetensors file without a configuration"]
    else:
        checkpoint = read_torch(path)
        official, class_name, arguments = checkpoint.model, checkpoint.class_name, checkpoint.config
        notes = list(checkpoint.notes)
    found = recognise(official, class_name)
    if family is not None and found != family:
        raise CheckpointError(
            f"{path} holds {found} weights; {family} weights were wanted. "
            f"Name a {family} checkpoint, or load this one as a {found} model."
        )
    require_built(found, str(path))
    translation = TRANSLATIONS[found]()
    given = None if arguments is None and not overrides else {**(arguments or {}), **(overrides or {})}
    shapes = {name: tuple(t.shape) for name, t in official.items()}
    with _as_checkpoint_error(f"{path}: its arguments do not describe a {found} model"):
        config, more = translation.configure(shapes, given)
    return Weights(found, config, _cast(translation.rename(official), dtype), (*notes, *more))


def _adapted(path: Path, adapters: dict[str, Tensor], metadata: Mapping[str, Any]) -> dict[str, Tensor]:
    """The whole weights that an adapter file stands for: those in the package, with the adapters folded in."""
    about = metadata["adapter"]
    base = about.get("base") if isinstance(about, dict) else False
    if base is None:
        raise CheckpointError(
            f"{path} holds adapters for weights that are not in the package: use the whole weights that "
            "`longtake finetune` wrote beside it."
        )
    if not isinstance(base, str) or Path(base).name != base:  # a name, never a path
        raise CheckpointError(f"{path}: what it says of its adapters makes no sense; the file is damaged.")
    return fold_adapters(read_any(embedded_path(base), family=metadata["family"]).tensors, adapters, about, str(path))


def convert(
    path: Path | str,
    out: Path | str | None = None,
    *,
    overrides: Mapping[str, Any] | None = None,
    dtype: torch.dtype | None = None,
) -> ConvertReport:
    """Write the weights of an official file (.pth or safetensors) as a Longtake file with its configuration inside.

    out: the new file; default: beside `path` with the ending .safetensors. overrides, dtype: as `read_any`.

    Raises:
        CheckpointError: as `read_any`, or `path` is a Longtake file already.
        CapabilityError: the file's family is not built yet.
        OutputError: the new file could not be written.
    """
    path = Path(path)
    target = path.with_suffix(".safetensors") if out is None else Path(out)
    if target.is_dir():
        target = target / f"{path.stem}.safetensors"
    if target.resolve() == path.resolve():
        target = path.with_name(f"{path.stem}.longtake.safetensors")
    weights = read_any(path, overrides=overrides, dtype=dtype)
    if weights.metadata is not None:
        raise CheckpointError(f"{path} is a Longtake file already ({weights.family}): load it as it is.")
    # So that a bad file fails now and not when it is used.
    load_strict(build_empty(weights.family, weights.config, str(path)), weights.tensors, what=str(path))
    write_safetensors(
        target, weights.tensors, weights.config, weights.family, source=path.name, notes=list(weights.notes)
    )
    return ConvertReport(
        source=path,
        out=target,
        family=weights.family,
        config=weights.config,
        tensors=len(weights.tensors),
        parameters=sum(tensor.numel() for tensor in weights.tensors.values()),
        bytes=target.stat().st_size,
        notes=(*weights.notes, "the weights keep the terms of their authors"),
    )


def build_empty(family: str, config: Mapping[str, Any], what: str) -> nn.Module:
    """Build a family's module from its configuration on the meta device, without weights.

    `what` names in errors where the configuration came from.

    Raises:
        CheckpointError: the configuration describes no model of this version.
    """
    with _as_checkpoint_error(f"{what}: its configuration describes no {family} model"), torch.device("meta"):
        return TRANSLATIONS[family]().build(config)


@contextmanager
def _as_checkpoint_error(text: str) -> Iterator[None]:
    """Values from a file can be of any type and size: whatever they lead to is an error of the file."""
    try:
        yield
    except LongtakeError as error:
        raise type(error)(f"{text}: {error}") from error
    except Exception as error:
        raise CheckpointError(f"{text} ({error}). Get the file again, or update Longtake.") from error


def _cast(tensors: Mapping[str, Tensor], dtype: torch.dtype | None) -> dict[str, Tensor]:
    return {
        name: tensor.to(dtype) if dtype is not None and tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
