# SPDX-License-Identifier: Apache-2.0
"""Load weights into a module so that every name and shape fits, or say exactly which do not."""

from collections.abc import Mapping

from torch import Tensor, nn

from longtake.errors import CheckpointError

_SHOWN = 10


def load_strict(module: nn.Module, tensors: Mapping[str, Tensor], *, what: str) -> None:
    """Put the tensors into the module; nothing may be missing, left over or of another shape.

    A module on the meta device takes the tensors themselves (their dtype and device included); any other keeps its own
    dtype and device and copies. Everything is checked first: on an error the module is as it was.
    `what` names in errors what was loaded into what, such as `cut3r_512.pth into cut3r-512`.

    Raises:
        CheckpointError: with counts, the first ten of each kind with shapes, and what to do.
    """
    own = module.state_dict()
    missing = [f"{name} {list(own[name].shape)}" for name in own if name not in tensors]
    left_over = [f"{name} {list(tensors[name].shape)}" for name in tensors if name not in own]
    both = [name for name in own if name in tensors]
    misshapen = [
        f"{name}: file {list(tensors[name].shape)}, model {list(own[name].shape)}"
        for name in both
        if tensors[name].shape != own[name].shape
    ]
    packed = [
        f"{name}: file {tensors[name].dtype}, model {own[name].dtype}"
        for name in both
        if own[name].is_floating_point() and not tensors[name].is_floating_point()
    ]
    problems = [
        _list("missing in the file", missing),
        _list("left over, unknown to the model", left_over),
        _list("of another shape", misshapen),
        _list("of another kind", packed),
    ]
    if any(problems):
        raise CheckpointError(
            "\n".join([f"{what}: the weights do not fit.", *filter(None, problems), _remedy(problems)])
        )
    on_meta = any(tensor.is_meta for tensor in own.values())
    module.load_state_dict(dict(tensors), strict=True, assign=on_meta)


def _list(kind: str, entries: list[str]) -> str:
    if not entries:
        return ""
    more = [f"... and {len(entries) - _SHOWN} more"] if len(entries) > _SHOWN else []
    return "\n  ".join([f"{len(entries)} {kind}:", *entries[:_SHOWN], *more])


def _remedy(problems: list[str]) -> str:
    missing, left_over, misshapen, packed = map(bool, problems)
    if packed:
        return (
            "The file is packed: unpack it first (longtake.checkpoints.unpack). "
            "If only some tensors are named here, their .scale is missing: download the file again."
        )
    if missing and left_over:
        return "It looks like another family or size: name the model that the file was made for."
    if misshapen:
        return "The configuration is of another size: name the model that the file was made for, or correct its config."
    if missing:
        return "The file is incomplete: download it again, or use the configuration that it was made with."
    return "The file has more than this configuration uses (a head, deeper blocks): use the one it was made with."
