# SPDX-License-Identifier: Apache-2.0
"""torch.compile for the parts of a model that repeat: one compilation a kind of block and size, not one a model.

What is compiled is kept on disk by PyTorch (TORCHINDUCTOR_CACHE_DIR), so a second start takes a fraction of the first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch._functorch import config as functorch

from longtake.engine.packed import unpack
from longtake.engine.tuned import tuning_of
from longtake.nn import ConditionedBlock, DecoderBlock, EncoderBlock

KINDS: tuple[type[nn.Module], ...] = (ConditionedBlock, DecoderBlock, EncoderBlock)


def compile_parts(
    model: nn.Module,
    *more: nn.Module,
    dense: bool = False,
    autotune: bool = False,
    descend: bool = False,
    backend: str = "inductor",
) -> nn.Module:
    """Compile all transformer blocks of a model in place, and the parts named beside it; return the model.

    dense: the dense heads too, those parts whose class says `compiles`; their convolutions stay library calls.
    autotune: try kernels of PyTorch's compiler for the products of the blocks, one by one: minutes.
    descend: let the compiler search the sizes of its own kernels, step by step (coordinate descent).
    The first frame of every picture size then takes seconds to minutes. Sizes are fixed: parts for sizes that may vary
    were tried in training, compiled longer and ran slower (docs/performance.md).
    """
    torch._dynamo.config.automatic_dynamic_shapes = False
    torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
    if tuning_of(model).attention != "auto":
        # That cache does not know which attention was asked for, and would hand over another's.
        functorch.enable_autograd_cache = False
    unpack(model)  # the compiler has its own way to products
    search: dict[str, Any] = {"coordinate_descent_tuning": True} if descend else {}
    blocks = search | ({"max_autotune_gemm": True} if autotune else {})
    inductor = backend == "inductor"
    for part in (*(m for m in model.modules() if isinstance(m, KINDS)), *more):
        part.compile(backend=backend, options=(blocks or None) if inductor else None)
    for part in model.modules() if dense else ():
        if getattr(type(part), "compiles", False):
            part.compile(backend=backend, options=(search or None) if inductor else None)
    return model
