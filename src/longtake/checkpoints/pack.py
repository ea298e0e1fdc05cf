# SPDX-License-Identifier: Apache-2.0
"""Weights in a quarter of the bytes: int8 with one scale for each row of the first axis.

    scale[r] = max |w[r]| / 127 rounded up to float16,   q = round(w / scale),   |w - scale q| <= scale / 2

A packed tensor NAME is stored as NAME (int8) and NAME.scale (float16; float32 where float16 would overflow). Everything
else is stored in a 16-bit float.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

_STEPS = 127
_PACKED_DIMS = (2, 4)  # linear layers and convolutions: the weights that make up the bytes


def pack(
    tensors: Mapping[str, Tensor], min_elements: int = 4096, *, rest: torch.dtype = torch.bfloat16, int8: bool = True
) -> dict[str, Tensor]:
    """Pack 2-D and 4-D floating weights of at least `min_elements` elements to int8; the other floats become `rest`.

    `int8=False` only casts: every floating tensor becomes `rest`. Integer and boolean tensors stay as they are.

    Raises:
        ValueError: a weight is not finite, or a name NAME.scale is taken.
    """
    packed: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        if not tensor.is_floating_point():
            packed[name] = tensor
        elif int8 and tensor.dim() in _PACKED_DIMS and tensor.numel() >= min_elements:
            if f"{name}.scale" in tensors:
                raise ValueError(f"{name} cannot be packed: {name}.scale is the name of another tensor")
            packed[name], packed[f"{name}.scale"] = _quantise(name, tensor)
        else:
            packed[name] = tensor.to(rest)
    return packed


def is_packed(tensors: Mapping[str, Tensor]) -> bool:
    """Say whether any tensor is stored as int8 with a scale beside it."""
    return any(tensor.dtype == torch.int8 and f"{name}.scale" in tensors for name, tensor in tensors.items())


def unpack(tensors: Mapping[str, Tensor], dtype: torch.dtype = torch.float32) -> dict[str, Tensor]:
    """Turn what `pack` made back into tensors of `dtype`; floats that were not packed are cast, others left alone.

    Raises:
        ValueError: a packed tensor has not one scale for each row.
    """
    unpacked: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        scale = tensors.get(f"{name}.scale")
        owner = tensors.get(name.removesuffix(".scale")) if name.endswith(".scale") else None
        if owner is not None and owner.dtype == torch.int8:
            continue
        if tensor.dtype == torch.int8 and scale is not None:
            if scale.shape != tensor.shape[:1]:
                raise ValueError(f"{name} of shape {list(tensor.shape)} has scales of shape {list(scale.shape)}")
            rows = scale.float().reshape(-1, *[1] * (tensor.dim() - 1))
            unpacked[name] = (tensor.float() * rows).to(dtype)
        else:
            unpacked[name] = tensor.to(dtype) if tensor.is_floating_point() else tensor
    return unpacked


def _quantise(name: str, tensor: Tensor) -> tuple[Tensor, Tensor]:
    """Return int8 values of the tensor's shape and one scale a row, (rows,)."""
    rows = tensor.detach().double().flatten(1)
    if not torch.isfinite(rows).all():
        raise ValueError(f"{name} holds values that are not finite; it cannot be packed")
    exact = rows.abs().amax(dim=1) / _STEPS
    scale = _round_up(exact, torch.float16)
    if torch.isinf(scale).any():
        scale = _round_up(exact, torch.float32)
    divisor = scale.double()
    divisor[divisor == 0] = 1  # a row of zeros
    steps = torch.round(rows / divisor[:, None]).clamp(-_STEPS, _STEPS)
    return steps.to(torch.int8).reshape(tensor.shape), scale


def _round_up(values: Tensor, dtype: torch.dtype) -> Tensor:
    """Round to the next value of `dtype` that is not smaller, so that no row needs more than 127 steps."""
    rounded = values.to(dtype)
    above = torch.nextafter(rounded, torch.full_like(rounded, torch.inf))
    return torch.where(rounded.double() < values, above, rounded)
