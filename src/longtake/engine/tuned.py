# SPDX-License-Identifier: Apache-2.0
"""What may be done to a loaded model so that it runs faster and says the same, each thing a setting of its own.

All of it is for inference, after the weights are where they stay and as narrow as they stay. docs/performance.md has
what each is expected to give on a GPU, and what it gave.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from longtake.errors import CapabilityError
from longtake.nn import CrossAttention, Kept, Lanes

# The first that can run a call does: a kind of attention may refuse one token, or float32.
ATTENTION = {
    "auto": (),
    "cudnn": (
        SDPBackend.CUDNN_ATTENTION,
        SDPBackend.FLASH_ATTENTION,
        SDPBackend.EFFICIENT_ATTENTION,
        SDPBackend.MATH,
    ),
    "flash": (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH),
    "math": (SDPBackend.MATH,),
}


@dataclass(frozen=True, slots=True)
class Tuning:
    """The settings. Those of the default change nothing."""

    lanes: bool = False  # independent parts of a frame on CUDA streams of their own
    joint: bool = False  # key and value of a cross-attention by one product
    tables: bool = False  # rotary tables are made once for a size of picture
    channels_last: bool = False  # weights of convolutions as cuDNN wants them, not turned around in every call
    benchmark: bool = False  # cuDNN tries its ways through a convolution and keeps the fastest
    attention: str = "auto"  # which fused attention is preferred: a name of ATTENTION
    color: bool = True  # whether the colour head runs, where a model has one; False takes it away for good
    ahead: bool = False  # the next frame is encoded beside this one, where a source knows it; read when a stream begins

    def words(self) -> str:
        """Say what is not as in the default."""
        usual = asdict(Tuning())
        said = {name: value for name, value in asdict(self).items() if value != usual[name]}
        return ", ".join(name if value is True else f"{name}={value}" for name, value in said.items())


def tune(model: nn.Module, tuning: Tuning) -> nn.Module:
    """Apply settings to a model, in place; return the model. A later call replaces the lanes and tables of an earlier.

    Raises CapabilityError for a kind of attention that there is not.
    """
    if tuning.attention not in ATTENTION:
        raise CapabilityError(f"attention={tuning.attention!r}; there are {', '.join(ATTENTION)}.")
    lanes = Lanes() if tuning.lanes else None
    for part in list(model.modules()):
        if hasattr(type(part), "lanes"):
            part.lanes = lanes  # type: ignore[assignment]
        if hasattr(type(part), "kept"):
            part.kept = Kept() if tuning.tables else None  # type: ignore[assignment]
        if isinstance(part, CrossAttention):
            part.joint = None
            if tuning.joint:
                part.join_weights()
        if not tuning.color and getattr(part, "color", None) is not None:
            part.color = None  # type: ignore[assignment]
        if isinstance(part, nn.Conv2d | nn.ConvTranspose2d):
            layout = torch.channels_last if tuning.channels_last else torch.contiguous_format
            part.weight.data = part.weight.data.contiguous(memory_format=layout)
    model._tuning = tuning  # type: ignore[assignment]  # pyright: ignore[reportArgumentType]
    return model


def tuning_of(model: nn.Module) -> Tuning:
    """The settings that `tune` was given; the default before."""
    found: Any = getattr(model, "_tuning", None)
    return found or Tuning()


@contextmanager
def preferred(model: nn.Module) -> Iterator[None]:
    """Hold what is a setting of PyTorch, and not of the model, for as long as the model runs."""
    tuning = tuning_of(model)
    kinds, before = ATTENTION[tuning.attention], torch.backends.cudnn.benchmark
    torch.backends.cudnn.benchmark = before or tuning.benchmark
    try:
        with sdpa_kernel(list(kinds), set_priority=True) if kinds else nullcontext():
            yield
    finally:
        torch.backends.cudnn.benchmark = before
