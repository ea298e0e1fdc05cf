# SPDX-License-Identifier: Apache-2.0
"""Several rules in one batch: each take is what a stream under its rule alone would have said."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny_learner

from longtake.frame import Flags, Heads, State, Views
from longtake.rules import get_rule
from longtake.stream import absorb
from longtake.synthetic.config import WorldConfig
from longtake.training.flat import FlatParameters
from longtake.training.losses import LossWeights
from longtake.training.mixed_rule import DAMPED, FILTERED, GATED, OVERWRITE, draw_rules
from longtake.training.shapes import Shape
from longtake.training.step import Learner, Step

NAMES = {OVERWRITE: "overwrite", GATED: "ttt3r", FILTERED: "filt3r", DAMPED: "constant:0.5"}
FRAMES = 6


def alone(learner: Learner, images: torch.Tensor, name: str) -> tuple[list[Heads], State]:
    """The heads of each frame (T, 3, H, W) under one rule, and the state after the last."""
    rule = get_rule(name)
    state, said = learner.model.begin(1, rule), []
    for image in images:
        tokens = learner.model.tokenize(Views(image=image[None] * 2 - 1))
        exchange, state = absorb(learner.model, state, tokens, rule, Flags.plain(1))
        said.append(learner.model.detokenize(exchange))
    return said, state


def lively(seed: int) -> Learner:
    """Weights under which rules differ: right after they are drawn the state hardly changes what is said."""
    learner = tiny_learner(seed).eval()
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return learner


@torch.no_grad()
def test_each_take_is_what_a_stream_under_its_rule_says() -> None:
    """Also where the walk is cut in two and goes on from the state, the filter's buffers included."""
    learner, images = lively(1), torch.rand(1, FRAMES, 3, 32, 48).expand(4, -1, -1, -1, -1)
    rules = torch.tensor(list(NAMES))
    whole = learner.walk(images, rules, filtered=True)
    begun = learner.walk(images[:, :2], rules, filtered=True)
    gone_on = learner.walk(images[:, 2:], rules, begun.state, filtered=True)
    assert whole.state is not None and set(whole.state.rule) == {"last", "variance", "scale", "written"}
    states = []
    for take, name in NAMES.items():
        said, state = alone(learner, images[take], name)
        for walk in (whole.heads, begun.heads + gone_on.heads):
            for ours, wanted in zip(walk, said, strict=True):
                torch.testing.assert_close(ours.pose[take], wanted.pose[0], rtol=1e-3, atol=1e-4)
                torch.testing.assert_close(ours.points_self[take], wanted.points_self[0], rtol=1e-3, atol=1e-4)
        torch.testing.assert_close(whole.state.tokens[take], state.tokens[0], rtol=1e-3, atol=1e-4)
        states.append(state.tokens[0])
    apart = [float((a - b).abs().max()) for i, a in enumerate(states) for b in states[:i]]
    assert min(apart) > 1e-2, "or the rules were not told apart"


@torch.no_grad()
def test_without_filtered_takes_there_are_no_buffers_and_bools_mean_gated() -> None:
    learner, images = lively(2), torch.rand(2, 3, 3, 32, 48)
    by_bool = learner.walk(images, torch.tensor([False, True]))
    by_number = learner.walk(images, torch.tensor([OVERWRITE, GATED]))
    assert by_bool.state is not None and not by_bool.state.rule
    assert all(torch.equal(a.pose, b.pose) for a, b in zip(by_bool.heads, by_number.heads, strict=True))


def test_shares_are_kept_and_what_is_left_is_overwritten() -> None:
    torch.manual_seed(0)
    rules = draw_rules(20000, 0.3, 0.25, 0.2, torch.device("cpu"))
    shares = [float((rules == rule).float().mean()) for rule in NAMES]
    assert shares == pytest.approx([0.25, 0.3, 0.25, 0.2], abs=0.015)
    torch.manual_seed(1)
    before = torch.rand(50) < 0.5
    torch.manual_seed(1)
    assert torch.equal(draw_rules(50, 0.5, 0.0, 0.0, torch.device("cpu")), before.long()), "as stages always drew them"


def test_gradients_flow_under_all_rules_and_over_windows() -> None:
    learner = tiny_learner()
    flat = FlatParameters([learner])
    shares = {"filtered_share": 0.25, "damped_share": 0.25}
    shape = Shape(4, 4, 32, 48, 2)
    step = Step(learner, shape, WorldConfig(), LossWeights(), flat.gradients, 0.25, precision=None, **shares)
    torch.manual_seed(2)
    step.run()
    assert len(step.rules.unique()) > 2
    assert "variance" in {name.removeprefix("rule.") for name in step.carried}
    assert flat.gradients.isfinite().all() and flat.gradients.norm() > 0
