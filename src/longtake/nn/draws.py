# SPDX-License-Identifier: Apache-2.0
"""Learned tokens and tables before training: normal numbers, drawn only where there is memory to hold them."""

from __future__ import annotations

import torch
from torch import nn


def drawn(*shape: int, scale: float = 0.02) -> nn.Parameter:
    """Return a parameter of normal numbers with this standard deviation; on the meta device, one without numbers.

    Drawing "on" the meta device would import PyTorch's compiler: two seconds of every start, for nothing.
    """
    values = torch.empty(shape)
    return nn.Parameter(values if values.is_meta else torch.randn(shape) * scale)
