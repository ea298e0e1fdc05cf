# SPDX-License-Identifier: Apache-2.0
"""Linear layers whose products are of 8-bit floating-point numbers (e4m3): half the bytes, twice the rate of bfloat16.

Every row of the input and every output channel of the weights has a scale of its own that takes its largest number to
448, the format's largest; sums are in float32, results in bfloat16. A number is then within 1/16 of what it was, or
within 2^-10 of its row's scale: four bits less than bfloat16, so the products of the encoder's blocks alone are narrow.
docs/performance.md says what that does to poses and depth.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from longtake.errors import CapabilityError
from longtake.nn import EncoderBlock

EIGHT = torch.float8_e4m3fn
LARGEST = 448.0
KINDS: tuple[type[nn.Module], ...] = (EncoderBlock,)


class EightBitLinear(nn.Linear):
    """A linear layer with 8-bit weights, made by `to_eight_bits`, never built; for inference only."""

    weight_scale: Tensor  # (1, out_features) float32

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """(..., in_features) -> (..., out_features) bfloat16."""
        rows, scale = eight_bits(input.reshape(-1, self.in_features))
        if input.device.type == "cuda":
            made = torch._scaled_mm(  # pyright: ignore[reportPrivateImportUsage]
                rows,
                self.weight.t(),
                scale_a=scale,
                scale_b=self.weight_scale,
                bias=self.bias,
                out_dtype=torch.bfloat16,
                use_fast_accum=True,
            )
        else:
            made = plain_product(rows, scale, self.weight, self.weight_scale, self.bias)
        return made.reshape(*input.shape[:-1], self.out_features)


def eight_bits(rows: Tensor) -> tuple[Tensor, Tensor]:
    """rows (R, C) -> e4m3 numbers (R, C) and their scales (R, 1) in float32: rows = numbers * scales, nearly."""
    wide = rows.float()
    scale = wide.abs().amax(-1, keepdim=True).clamp_min(1e-12) / LARGEST
    return (wide / scale).clamp(-LARGEST, LARGEST).to(EIGHT), scale


def plain_product(rows: Tensor, scale: Tensor, weight: Tensor, weight_scale: Tensor, bias: Tensor | None) -> Tensor:
    """What the 8-bit product says, by a float32 one: for devices without it, where it is no faster, and for tests."""
    with torch.autocast(rows.device.type, enabled=False):
        made = linear(rows.float(), weight.float()) * scale * weight_scale
        return (made if bias is None else made + bias.float()).to(torch.bfloat16)


def to_eight_bits(model: nn.Module, kinds: tuple[type[nn.Module], ...] = KINDS) -> int:
    """Narrow the linear layers inside blocks of these kinds, in place; return how many.

    The tensor units want multiples of 16: layers of other widths stay as they are.
    Raises CapabilityError for a model without such layers, and for a GPU that has no 8-bit products.
    """
    device = next(model.parameters()).device
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 9):
        raise CapabilityError(
            f"precision='fp8': {torch.cuda.get_device_name(device)} has no 8-bit products; choose bf16."
        )
    count = 0
    for block in [part for part in model.modules() if isinstance(part, kinds)]:
        for layer in block.modules():
            if isinstance(layer, nn.Linear) and layer.in_features % 16 == layer.out_features % 16 == 0:
                weight, scale = eight_bits(layer.weight.detach())
                layer.__class__ = EightBitLinear
                layer.weight = nn.Parameter(weight, requires_grad=False)
                layer.register_buffer("weight_scale", scale.t().contiguous(), persistent=False)
                if layer.bias is not None:
                    layer.bias = nn.Parameter(layer.bias.detach().to(torch.bfloat16), requires_grad=False)
                count += 1
    if not count:
        raise CapabilityError(f"precision='fp8': {type(model).__name__} has no layers that are narrowed; choose bf16.")
    return count
