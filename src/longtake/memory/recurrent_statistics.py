# SPDX-License-Identifier: Apache-2.0
"""Attention statistics for update rules, from the queries and keys of all layers, without a map of any layer or head.

The mean map over layers and heads is linear: sum_lh q_lh . k_lh is one product of the concatenated queries and keys.
The entropy of a softmax row is logsumexp - s q . (sum_j p_j k_j), and both terms come from one fused attention.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import pad, scaled_dot_product_attention

from longtake.nn.attention import merge_heads

Probe = list[
    tuple[Tensor, Tensor]
]  # a layer's rotated queries (n, h, S, d) and keys (n, h, 1 + N, d), pose token first


def mean_map(probe: Probe) -> Tensor:
    """Return the mean over layers and heads of the scaled logits to each patch, (n, S, N); the pose key is left out.

    Accumulated in at least float32.
    """
    query, key = probe[0]
    dtype = torch.promote_types(query.dtype, torch.float32)
    with torch.autocast(query.device.type, enabled=False):
        queries = torch.cat([merge_heads(q).to(dtype) for q, _ in probe], -1)  # (n, S, L h d)
        keys = torch.cat([merge_heads(k[..., 1:, :]).to(dtype) for _, k in probe], -1)
        return queries @ keys.transpose(-1, -2) / (len(probe) * query.shape[1] * key.shape[-1] ** 0.5)


def row_entropy(probe: Probe) -> Tensor:
    """Return the mean over layers and heads of the entropy of the softmax over patches, in nats, (n, S)."""
    return torch.stack([softmax_entropy(q, k[..., 1:, :]).mean(1) for q, k in probe]).mean(0)


def softmax_entropy(query: Tensor, key: Tensor) -> Tensor:
    """Entropy in nats of softmax_j(query . key_j / sqrt(d)) for query (n, h, S, d), key (n, h, N, d): (n, h, S).

    Fused kernels do not hand out the logsumexp, so one key more is attended to, the mean key, whose logit m is known
    and never above the others' logsumexp - log N. Two channels of the values count what the keys and what the extra
    key received, a and b: logsumexp = m + log(a / b). The other channels are the keys themselves: sum_j p_j k_j.
    Computed in at least float32.
    """
    with torch.autocast(query.device.type, enabled=False):
        dtype = torch.promote_types(query.dtype, torch.float32)
        q, k = query.to(dtype), key.to(dtype)
        d, scale = q.shape[-1], q.shape[-1] ** -0.5
        spare = -(d + 2) % 8  # fused kernels want one width for all three, and a multiple of eight
        middle = k.mean(-2, keepdim=True)
        keys = pad(torch.cat((k, middle), -2), (0, 2 + spare))
        one = torch.ones_like(k[..., :1])
        values = torch.cat(
            (pad(torch.cat((k, one), -1), (0, 1 + spare)), pad(torch.ones_like(middle[..., :1]), (d + 1, spare))), -2
        )
        read = scaled_dot_product_attention(pad(q, (0, 2 + spare)), keys, values, scale=scale)
        here, there = read[..., d], read[..., d + 1].clamp_min(torch.finfo(dtype).tiny)
        log_sum = scale * (q * middle).sum(-1) + here.log() - there.log()
        return (log_sum - scale * (q * read[..., :d]).sum(-1) / here).clamp_min(0)
