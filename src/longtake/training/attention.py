# SPDX-License-Identifier: Apache-2.0
"""Attention that can be trained through: kernels whose gradients are finite, and logits that leave a gradient.

Seen on an H200 with PyTorch 2.11 (docs/training.md): where the largest logit is about a thousand, cuDNN's attention in
bf16 returns gradients that are nan, from finite inputs; the other kernels do not. Such logits have a cause of their
own: where softmax picks one key, its gradient vanishes, Muon makes a full step of what noise is left, and the weights
grow. QK-clip (Kimi K2, arXiv 2507.20534, section 2.1) scales queries and keys back; here a run begins with it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel

from longtake.nn.attention import CrossAttention

PROBE = 5  # place of the probe among what a cross-attention is called with
SOUND = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]


def sound_attention() -> AbstractContextManager[Any]:
    """Within it, attention is any kernel but cuDNN's; a gradient comes from the kernel that went forward."""
    return sdpa_kernel(SOUND)


class Logits:
    """While it is open, the largest |scaled logit| of each cross-attention below a module, by name.

    Attention maps are formed for this, a frame's at a time: for a few frames, not for training.
    """

    def __init__(self, module: nn.Module) -> None:
        self.parts = {name: part for name, part in module.named_modules() if isinstance(part, CrossAttention)}
        self.largest: dict[str, Tensor] = {}

    def __enter__(self) -> Logits:
        self.hooks = [part.register_forward_pre_hook(_ask) for part in self.parts.values()]
        self.hooks += [part.register_forward_hook(self._keeper(name)) for name, part in self.parts.items()]
        return self

    def __exit__(self, *_: object) -> None:
        for hook in self.hooks:
            hook.remove()

    def _keeper(self, name: str) -> Callable[..., None]:
        def keep(_: nn.Module, given: tuple[Any, ...], said: Any) -> None:
            query, key = given[PROBE][-1]
            most = (query.float() @ key.float().transpose(-1, -2)).abs().amax() / query.shape[-1] ** 0.5
            self.largest[name] = torch.maximum(self.largest[name], most) if name in self.largest else most

        return keep


def _ask(_: nn.Module, given: tuple[Any, ...]) -> tuple[Any, ...]:
    """Ask an attention for its rotated queries and keys, unless a rule does."""
    given = (*given, *(None, None, False, None)[len(given) - 2 :])
    return (*given[:PROBE], [] if given[PROBE] is None else given[PROBE])


@torch.no_grad()
def clip_logits(module: nn.Module, factors: Mapping[str, float]) -> None:
    """Multiply the logits of cross-attentions, by their names, half of it in the queries, half in the keys."""
    for name, factor in factors.items():
        attention = module.get_submodule(name)
        assert isinstance(attention, CrossAttention)
        for layer in (attention.query, attention.key):
            for parameter in layer.parameters():
                parameter.mul_(factor**0.5)
