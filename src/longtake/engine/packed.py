# SPDX-License-Identifier: Apache-2.0
"""Linear layers in the layout that oneDNN likes, for models on an x86 processor.

PyTorch multiplies float32 matrices on the CPU with MKL, which is slow on processors of another maker; oneDNN, which
comes with PyTorch too, takes the weights in blocks and is about twice as fast there (docs/performance.md). The numbers
are the same up to the order of the sums.
"""

from __future__ import annotations

import platform
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

LEAST = 64 * 64  # weights; below, a call costs more than the product


class PackedLinear(nn.Linear):
    """A linear layer that keeps a blocked copy of its weights beside them; made by `pack`, never built.

    The copy is used where no gradient is wanted, and made again whenever the weights are others than it was made of.
    """

    def forward(self, input: Tensor) -> Tensor:
        """(..., in_features) -> (..., out_features)."""
        weight = self.weight
        if torch.is_grad_enabled() or not weight.device.type == input.device.type == "cpu":
            return linear(input, weight, self.bias)
        if torch.is_autocast_enabled("cpu"):
            input = input.to(torch.get_autocast_dtype("cpu"))
        if not (weight.dtype == input.dtype and _takes(weight.dtype)):
            return linear(input, weight, self.bias)
        key = (weight.data_ptr(), weight._version, weight.dtype)
        copy: _Copy = self._copy  # type: ignore[assignment]
        if copy.key != key:
            copy.blocks, copy.key = torch.ops.mkldnn._reorder_linear_weight(weight.detach()), key
        return torch.ops.mkldnn._linear_pointwise(input, copy.blocks, self.bias, "none", [], "")


@cache
def _takes(dtype: torch.dtype) -> bool:
    """Whether oneDNN has blocks for this type here: for bfloat16 it wants instructions that not every processor has."""
    if dtype not in (torch.float32, torch.bfloat16):
        return False
    try:
        torch.ops.mkldnn._reorder_linear_weight(torch.zeros(16, 16, dtype=dtype))
    except RuntimeError:
        return False
    return True


class _Copy:
    """The blocked weights, and which weights they are of. Not copied or saved with the module: it is made again."""

    def __init__(self) -> None:
        self.blocks: Tensor | None = None
        self.key: tuple[Any, ...] = ()

    def __deepcopy__(self, memo: Any) -> _Copy:
        return _Copy()

    def __reduce__(self) -> Any:
        return _Copy, ()


def pack(model: nn.Module) -> nn.Module:
    """Let a model's larger linear layers keep blocked weights, in place; return the model.

    Nothing changes where PyTorch was built without oneDNN or the processor is not an x86. Names and values of weights
    stay as they are; the copies take as much memory again, from the first frame on.
    """
    if can_pack():
        for part in model.modules():
            if type(part) is nn.Linear and part.weight.numel() >= LEAST:
                part.__class__ = PackedLinear
                part._copy = _Copy()  # type: ignore[assignment]
    return model


def unpack(model: nn.Module) -> nn.Module:
    """Undo `pack`, in place; return the model."""
    for part in model.modules():
        if isinstance(part, PackedLinear):
            part.__class__ = nn.Linear  # type: ignore[assignment]  # pyright: ignore[reportAttributeAccessIssue]
            del part._copy
    return model


def can_pack() -> bool:
    """Whether this machine and this PyTorch have what `pack` needs."""
    known = platform.machine().lower() in ("x86_64", "amd64") and torch.backends.mkldnn.is_available()
    calls = ("_reorder_linear_weight", "_linear_pointwise")
    return known and all(hasattr(torch.ops.mkldnn, call) for call in calls)


def packed(model: nn.Module) -> bool:
    """Whether any layer of a model was packed."""
    return any(isinstance(part, PackedLinear) for part in model.modules())
