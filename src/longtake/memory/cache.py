# SPDX-License-Identifier: Apache-2.0
"""The memory of causal attention (StreamVGGT, arXiv 2507.11539): every frame's keys and values, in every layer.

It grows with each frame. A budget (ours, off by default) bounds it: what is most like the rest goes first. The mean
cosine of a key with all keys is its product with their mean, so this takes no attention map and no pairwise table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor
from torch.nn.functional import normalize

from longtake.nn import KeysValues

Layout = dict[str, tuple[torch.dtype, tuple[int, ...]]]


def cache_layout(kind: str, layers: int, heads: int, head_dim: int, dtype: torch.dtype) -> Layout:
    """Names, types and shapes of what `named` makes; -1 is any length."""
    shape = (1, heads, -1, head_dim)
    return {f"{kind}.{what}.{i}": (dtype, shape) for i in range(layers) for what in ("keys", "values")}


def named(kind: str, caches: Sequence[KeysValues]) -> dict[str, Tensor]:
    """Give every tensor of a cache a name; `kind` says whose cache it is."""
    return {
        f"{kind}.{what}.{i}": tensor
        for i, cache in enumerate(caches)
        for what, tensor in zip(("keys", "values"), cache, strict=True)
    }


def caches_of(kind: str, memory: Mapping[str, Tensor]) -> list[KeysValues] | None:
    """The caches, layer by layer, from what `named` made; None if the memory is empty."""
    layers = sum(name.startswith(f"{kind}.keys.") for name in memory)
    return [(memory[f"{kind}.keys.{i}"], memory[f"{kind}.values.{i}"]) for i in range(layers)] or None


def bounded(caches: Sequence[KeysValues], first: int, newest: int, budget: int | None) -> list[KeysValues]:
    """Drop keys and values until at most budget * first are left in each layer.

    first, newest: how many belong to the first and to the newest frame. These all stay (so at least first + newest
    do); of the others go those most similar to all that are there, measured by cosine over the heads together.
    """
    if budget is None:
        return list(caches)
    return [_bounded(keys, values, first, newest, max(budget * first, first + newest)) for keys, values in caches]


def recent(caches: Sequence[KeysValues], first: int, frames: int | None) -> list[KeysValues]:
    """Keep the entries of the first frame and of the last frames - 1 frames; `first` entries belong to each."""
    if frames is None or not caches or caches[0][0].shape[-2] <= frames * first:
        return list(caches)
    last = (frames - 1) * first

    def cut(tensor: Tensor) -> Tensor:
        return torch.cat((tensor[..., :first, :], tensor[..., tensor.shape[-2] - last :, :]), -2)

    return [(cut(keys), cut(values)) for keys, values in caches]


def _bounded(keys: Tensor, values: Tensor, first: int, newest: int, limit: int) -> KeysValues:
    count = keys.shape[-2]
    if count <= limit:
        return keys, values
    similarity = mean_similarity(keys)  # (1, T)
    similarity[:, :first] = similarity[:, count - newest :] = -torch.inf  # these stay
    stay = similarity.topk(limit, largest=False).indices.sort().values  # (1, limit), in the order they came
    index = stay[:, None, :, None].expand(-1, keys.shape[1], -1, keys.shape[-1])
    return keys.gather(-2, index), values.gather(-2, index)


def mean_similarity(keys: Tensor) -> Tensor:
    """Mean cosine of each key with all keys, averaged over the heads: (n, heads, T, d) -> (n, T)."""
    unit = normalize(keys.to(torch.promote_types(keys.dtype, torch.float32)), dim=-1)
    return (unit @ unit.mean(-2, keepdim=True).mT)[..., 0].mean(1)
