# SPDX-License-Identifier: Apache-2.0
"""torch.compile for the parts of a model that repeat: one compilation a kind of block and size, not one a model.

What is compiled is kept on disk by PyTorch (TORCHINDUCTOR_CACHE_DIR), so a second start takes a fraction of the first.
"""

from __future__ import annotations

import torch
from torch import nn

from longtake.engine.packed import unpack
from longtake.nn import ConditionedBlock, DecoderBlock, EncoderBlock

KINDS: tuple[type[nn.Module], ...] = (ConditionedBlock, DecoderBlock, EncoderBlock)


def compile_parts(model: nn.Module, *more: nn.Module) -> nn.Module:
    """Compile all transformer blocks of a model in place, and the parts named beside it; return the model.

    The first frame of every picture size then takes seconds to minutes. Sizes are fixed: parts for sizes that may vary
    were tried in training, compiled longer and ran slower (docs/performance.md).
    """
    torch._dynamo.config.automatic_dynamic_shapes = False
    torch._dynamo.config.cache_size_limit = max(64, torch._dynamo.config.cache_size_limit)
    unpack(model)  # the compiler has its own way to products
    for part in (*(m for m in model.modules() if isinstance(m, KINDS)), *more):
        part.compile()
    return model
