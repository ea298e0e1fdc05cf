# SPDX-License-Identifier: Apache-2.0
"""The bounded cache: what goes is most like the rest, what must stay stays."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtake.memory.cache import bounded, caches_of, mean_similarity, named, recent


def cache(count: int, seed: int = 0, heads: int = 2, width: int = 4) -> tuple[Tensor, Tensor]:
    made = torch.randn(2, 1, heads, count, width, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))
    return made[0], made[1]


def test_the_mean_cosine_is_that_of_the_whole_table() -> None:
    keys, _ = cache(7)
    table = torch.zeros(7, 7, dtype=torch.float64)
    for head in keys[0]:
        for i in range(7):
            for j in range(7):
                table[i, j] += torch.dot(head[i], head[j]) / head[i].norm() / head[j].norm() / len(keys[0])
    torch.testing.assert_close(mean_similarity(keys)[0], table.mean(1))


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(1, 5), st.integers(0, 12), st.integers(2, 4), st.integers(0, 99))
def test_first_and_newest_stay_and_the_most_similar_go(
    first: int, newest: int, between: int, budget: int, seed: int
) -> None:
    keys, values = cache(first + between + newest, seed)
    ((kept, kept_values),) = bounded([(keys, values)], first, newest, budget)
    limit = min(keys.shape[-2], max(budget * first, first + newest))
    assert kept.shape[-2] == kept_values.shape[-2] == limit
    assert torch.equal(kept[..., :first, :], keys[..., :first, :])
    assert torch.equal(kept[..., limit - newest :, :], keys[..., first + between :, :])
    similarity = mean_similarity(keys)[0, first : first + between]
    least = similarity.argsort()[: limit - first - newest].sort().values + first  # of those between, as they came
    assert torch.equal(kept[..., first : limit - newest, :], keys[..., least, :])
    assert torch.equal(kept_values[..., first : limit - newest, :], values[..., least, :])


def test_copies_go_before_what_is_unlike_the_rest() -> None:
    crowd, lone = torch.ones(1, 1, 6, 4), -torch.ones(1, 1, 1, 4)
    keys = torch.cat((crowd[..., :4, :], lone, crowd[..., 4:, :]), -2)
    ((kept, _),) = bounded([(keys, keys)], 1, 1, 3)
    assert (kept == -1).all(-1).sum() == 1


def test_without_a_budget_nothing_is_touched() -> None:
    keys, values = cache(9)
    ((kept, kept_values),) = bounded([(keys, values)], 2, 2, None)
    assert kept is keys
    assert kept_values is values


@pytest.mark.parametrize(
    ("frames", "stay"), [(None, [0, 1, 2, 3, 4]), (9, [0, 1, 2, 3, 4]), (3, [0, 3, 4]), (2, [0, 4])]
)
def test_recent_entries(frames: int | None, stay: list[int]) -> None:
    keys, values = cache(5 * 2)
    ((kept, kept_values),) = recent([(keys, values)], 2, frames)
    index = [2 * i + j for i in stay for j in (0, 1)]
    assert torch.equal(kept, keys[..., index, :])
    assert torch.equal(kept_values, values[..., index, :])


def test_names_lead_back_to_the_caches() -> None:
    caches = [cache(3, seed) for seed in range(12)]  # more than ten: names must not be sorted as text
    memory = named("layers", caches) | named("camera", [cache(2, 99)])
    back = caches_of("layers", memory)
    assert back is not None
    assert all(a is b for ours, theirs in zip(back, caches, strict=True) for a, b in zip(ours, theirs, strict=True))
    assert caches_of("other", memory) is None
