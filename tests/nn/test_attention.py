# SPDX-License-Identifier: Apache-2.0
"""Fused attention against the map it never makes, and the rate's statistic against the mean of the full map."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtake.nn.attention import CrossAttention, SelfAttention, mean_logit, merge_heads, split_heads
from longtake.nn.rope import RopeTable, grid_positions, rope_table, rotate

SIZE = st.integers(1, 33)
HEADS = st.integers(1, 5)
HEAD_WIDTH = st.sampled_from([1, 4, 7, 16, 48])


def random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, dtype=dtype, generator=torch.Generator().manual_seed(seed))


def explicit(q: Tensor, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
    """The textbook: logits (n, h, S, N), then softmax over keys times values."""
    logits = torch.einsum("nhsd,nhkd->nhsk", q, k) / math.sqrt(q.shape[-1])
    return torch.einsum("nhsk,nhkd->nhsd", logits.softmax(-1), v), logits


@settings(max_examples=200, deadline=None)
@given(n=st.integers(1, 3), h=HEADS, s=SIZE, keys=SIZE, d=HEAD_WIDTH, seed=st.integers(0, 2**31), loud=st.booleans())
def test_the_mean_key_rate_is_the_full_maps(n: int, h: int, s: int, keys: int, d: int, seed: int, loud: bool) -> None:
    q, k = random(n, h, s, d, seed=seed), random(n, h, keys, d, seed=seed + 1)
    if loud:
        q, k = 5 * q, k + 3  # far from balanced
    _, logits = explicit(q, k, k)
    scale = max(1.0, float(logits.abs().max()))
    torch.testing.assert_close(mean_logit(q, k), logits.mean((1, 3)), rtol=0, atol=1e-12 * scale)
    torch.testing.assert_close(mean_logit(q, k).sigmoid(), logits.mean((1, 3)).sigmoid(), rtol=0, atol=1e-12)


def test_its_gradient_is_the_full_maps() -> None:
    q, k = random(2, 3, 5, 8).requires_grad_(), random(2, 3, 7, 8, seed=1).requires_grad_()
    weight = random(2, 5, seed=2)
    ours = torch.autograd.grad((mean_logit(q, k) * weight).sum(), (q, k))
    _, logits = explicit(q, k, k)
    theirs = torch.autograd.grad((logits.mean((1, 3)) * weight).sum(), (q, k))
    for a, b in zip(ours, theirs, strict=True):
        torch.testing.assert_close(a, b, rtol=0, atol=1e-14)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_it_is_summed_in_float32_at_least(dtype: torch.dtype) -> None:
    q, k = random(1, 2, 3, 16, dtype=torch.float32).to(dtype), random(1, 2, 4000, 16, dtype=torch.float32).to(dtype)
    made = mean_logit(q, k)
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, mean_logit(q.float(), k.float()), rtol=0, atol=0)


@given(n=st.integers(1, 2), h=HEADS, s=SIZE, keys=SIZE, d=st.sampled_from([4, 8, 20]), turn=st.booleans())
@settings(max_examples=60, deadline=None)
def test_cross_attention_is_the_explicit_map(n: int, h: int, s: int, keys: int, d: int, turn: bool) -> None:
    torch.manual_seed(0)
    layer = CrossAttention(h * d, h).double()
    x, y = random(n, s, h * d, seed=3), random(n, keys, h * d, seed=4)
    tables: list[RopeTable | None] = [None, None]
    if turn:
        tables = [rope_table(grid_positions(1, m) + shift, d, torch.float64) for m, shift in ((s, 3), (keys, -1))]
    with torch.no_grad():
        out, logit = layer(x, y, *tables, want_logit=True)
        q, k, v = (split_heads(part(t), h) for part, t in ((layer.query, x), (layer.key, y), (layer.value, y)))
        if tables[0] is not None and tables[1] is not None:
            q, k = rotate(q, tables[0]), rotate(k, tables[1])
        mixed, logits = explicit(q, k, v)
        torch.testing.assert_close(out, layer.proj(merge_heads(mixed)), rtol=0, atol=1e-12)
        torch.testing.assert_close(logit, logits.mean((1, 3)), rtol=0, atol=1e-12)
        plain, nothing = layer(x, y, *tables)
    assert nothing is None
    assert torch.equal(plain, out)


@given(h=HEADS, n=SIZE, d=st.sampled_from([4, 8, 20]))
@settings(max_examples=40, deadline=None)
def test_self_attention_is_the_explicit_map(h: int, n: int, d: int) -> None:
    torch.manual_seed(0)
    layer = SelfAttention(h * d, h).double()
    x, table = random(2, n, h * d, seed=5), rope_table(grid_positions(n, 1), d, torch.float64)
    with torch.no_grad():
        # Rows of qkv: all of q, then k, then v; head i owns channels i * d to (i + 1) * d.
        rows = [layer.qkv(x)[..., i * h * d : (i + 1) * h * d] for i in range(3)]
        q, k, v = (torch.stack(part.split(d, -1), 1) for part in rows)
        mixed, _ = explicit(rotate(q, table), rotate(k, table), v)
        wanted = layer.proj(torch.cat(list(mixed.unbind(1)), -1))
        torch.testing.assert_close(layer(x, table), wanted, rtol=0, atol=1e-12)


@settings(deadline=None)
@given(n=st.integers(1, 3), tokens=SIZE, h=HEADS, d=HEAD_WIDTH)
def test_heads_split_and_merge(n: int, tokens: int, h: int, d: int) -> None:
    x = random(n, tokens, h * d)
    assert torch.equal(merge_heads(split_heads(x, h)), x)
    assert split_heads(x, h).shape == (n, h, tokens, d)
