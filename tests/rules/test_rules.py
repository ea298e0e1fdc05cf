# SPDX-License-Identifier: Apache-2.0
"""What every update rule promises, and what the two published ones are."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longtake.errors import CapabilityError
from longtake.frame import Stats
from longtake.rules import TTT3R, Overwrite, Rule, get_rule, rule_names, rule_table

every_rule = pytest.mark.parametrize("name", rule_names())


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


TOKENS, PROPOSAL = random(3, 5, 4), random(3, 5, 4, seed=1)
STATS = Stats(mean_logit=random(3, 5, seed=2))


@every_rule
def test_contract(name: str) -> None:
    rule = get_rule(name)
    assert isinstance(rule, Rule)
    assert rule.name == name
    assert rule_table()[name] == rule.summary
    assert "\n" not in rule.summary
    buffers = rule.begin(TOKENS)
    step = rule(TOKENS, PROPOSAL, STATS, buffers)
    assert step.rate.shape == (3, 5, 1)
    assert step.direction.shape == TOKENS.shape
    assert step.rate.min() >= 0
    assert step.rate.max() <= 1
    assert step.rate.dtype == step.direction.dtype == TOKENS.dtype
    assert {k: (t.shape, t.dtype) for k, t in step.buffers.items()} == {
        k: (t.shape, t.dtype) for k, t in buffers.items()
    }


@every_rule
def test_streams_do_not_touch_each_other(name: str) -> None:
    rule = get_rule(name)
    together = rule(TOKENS, PROPOSAL, STATS, rule.begin(TOKENS))
    assert STATS.mean_logit is not None
    for i in range(3):
        one = slice(i, i + 1)
        alone = rule(TOKENS[one], PROPOSAL[one], Stats(STATS.mean_logit[one]), rule.begin(TOKENS[one]))
        assert torch.equal(alone.rate, together.rate[one])
        assert torch.equal(alone.direction, together.direction[one])


def test_overwrite_takes_the_whole_proposal() -> None:
    step = Overwrite()(TOKENS, PROPOSAL, Stats(), {})
    torch.testing.assert_close(TOKENS + step.rate * step.direction, PROPOSAL, rtol=0, atol=1e-15)


def test_ttt3r_is_the_sigmoid_of_the_mean_logit() -> None:
    step = TTT3R()(TOKENS, PROPOSAL, STATS, {})
    assert STATS.mean_logit is not None
    torch.testing.assert_close(step.rate[..., 0], 1 / (1 + (-STATS.mean_logit).exp()), rtol=0, atol=1e-15)
    assert torch.equal(step.direction, PROPOSAL - TOKENS)


def test_ttt3r_says_what_it_lacks() -> None:
    with pytest.raises(ValueError, match="want_logit"):
        TTT3R()(TOKENS, PROPOSAL, Stats(), {})


def test_names() -> None:
    rule = TTT3R()
    assert get_rule(rule) is rule
    with pytest.raises(CapabilityError, match=r"ttt3.*Did you mean 'ttt3r'.*overwrite"):
        get_rule("ttt3")
