# SPDX-License-Identifier: Apache-2.0
"""Precision of a model: float32 everywhere, or bfloat16 where matrices are multiplied.

In bf16 the weights of linear and convolutional layers are stored narrow, so that they are read once and never cast;
norms, the state and its own residual stream, rotary angles and all geometry stay in float32. (The image's residual
stream begins as a product, and is narrow from there on.) fp8 is bf16 with 8-bit products in the image encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from longtake.engine.fp8 import EightBitLinear, to_eight_bits
from longtake.engine.tuned import preferred
from longtake.errors import CapabilityError

PRECISIONS = {"float32": torch.float32, "bf16": torch.bfloat16}  # what every model has, on every device
EIGHT_BITS = "fp8"
NARROWED = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)


def narrow(model: nn.Module, precision: str) -> nn.Module:
    """Store the weights as `precision` says, in place; return the model.

    Raises CapabilityError for an unknown name, and for fp8 where model or device cannot.

    Going back to float32 does not bring the digits back that bf16 rounded away: load the weights again for that.
    """
    if precision not in (*PRECISIONS, EIGHT_BITS):
        raise CapabilityError(f"precision={precision!r}; there are {', '.join((*PRECISIONS, EIGHT_BITS))}.")
    if precision == EIGHT_BITS:  # before the others are narrow: from the weights' own digits
        to_eight_bits(model)
    dtype = PRECISIONS.get(precision, torch.bfloat16)
    if dtype != torch.float32:
        for part in model.modules():
            if isinstance(part, NARROWED) and not isinstance(part, EightBitLinear):
                part.to(dtype)
    model._precision = precision  # pyright: ignore[reportArgumentType]
    return model


def precision_of(model: nn.Module) -> str:
    """The name that `narrow` was given; float32 (or the weights' own float64) before."""
    return getattr(model, "_precision", "float32")


@contextmanager
def running(model: nn.Module) -> Iterator[None]:
    """No gradients, and matrices in the model's precision on the model's device."""
    dtype = PRECISIONS.get(precision_of(model), torch.bfloat16)
    kind = next(model.parameters()).device.type
    # Weights are narrow already: the cache of cast weights would only hold memory, and breaks captured graphs.
    cast = torch.autocast(kind, dtype, enabled=dtype != torch.float32, cache_enabled=False)
    with torch.no_grad(), cast, preferred(model):
        yield
