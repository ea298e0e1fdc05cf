# SPDX-License-Identifier: Apache-2.0
"""Rates that are trained through the library's loop while everything else stays frozen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from stream_models import SMALL
from torch import Tensor

from longtake.errors import CapabilityError
from longtake.families.cut3r import Cut3r
from longtake.frame import Flags, Heads, Stats, Views
from longtake.rate_fit import fit_rate
from longtake.rules import Product, Rule, get_rule
from longtake.rules.learned import LearnedFrameRate, LearnedRate, LearnedTokenRate
from longtake.stream import absorb
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import make_batch
from longtake.training.losses import LossWeights, compute_loss
from longtake.training.targets import make_targets

CONFIG = replace(SMALL, encoder_width=16, state_heads=2, square_ok=False, is_metric=True)
MAKERS = {
    "scalar": LearnedRate,
    "frame": lambda: LearnedFrameRate(16),
    "token": lambda: LearnedTokenRate(16, 8),
}
makers = pytest.mark.parametrize("make", MAKERS.values(), ids=MAKERS)


def build() -> Cut3r:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        return Cut3r(CONFIG).eval()


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@makers
def test_a_fresh_rate_is_its_start_everywhere(make) -> None:  # type: ignore[no-untyped-def]
    rule = make()
    assert isinstance(rule, Rule)
    stats = Stats(image_out=random(2, 5, 16))
    step = rule(random(2, 6, 16), random(2, 6, 16, seed=1), stats, {})
    torch.testing.assert_close(step.rate, torch.full((2, 6, 1), 0.3))
    assert Product([get_rule("keyframe"), rule]).name.startswith("keyframe+learned")


def test_the_token_rate_is_the_mean_of_all_scores() -> None:
    rule = LearnedTokenRate(16, 8, start=0.6).double()
    torch.nn.init.normal_(rule.key.weight)
    tokens, image = random(2, 6, 16).double(), random(2, 5, 16, seed=1).double()
    s, x = (torch.nn.functional.layer_norm(t, (16,)) for t in (tokens, image[:, 1:]))
    scores = torch.einsum("nsd,nmd->nsm", rule.query(s), rule.key(x)) / 8**0.5
    wanted = (scores.mean(-1) + rule.bias).sigmoid()
    made = rule(tokens, tokens, Stats(image_out=image), {}).rate[..., 0]
    torch.testing.assert_close(made, wanted, rtol=0, atol=1e-12)
    assert made.std() > 0.01


def teacher(model: Cut3r, images: Tensor, rule: Rule) -> list[Heads]:
    """What the model says of takes under another rule: something that a rate can learn exactly."""
    with torch.no_grad():
        state, flags, heads = model.begin(len(images), rule), Flags.plain(len(images)), []
        for t in range(images.shape[1]):
            exchange, state = absorb(model, state, model.tokenize(Views(image=images[:, t])), rule, flags)
            heads.append(model.detokenize(exchange))
    return heads


def difference(ours: list[Heads], theirs: list[Heads]) -> Tensor:
    return torch.stack(
        [(a.points_self - b.points_self).square().mean() for a, b in zip(ours, theirs, strict=True)]
    ).mean()


@makers
def test_training_finds_a_rate_and_leaves_the_model_alone(make) -> None:  # type: ignore[no-untyped-def]
    """The truth is what the same model says at rate 0.8: from 0.3 the learned rate must come to it."""
    model, rule = build(), make()
    before = {name: p.clone() for name, p in model.named_parameters()}
    wanted = get_rule("constant:0.8")

    def batches() -> Iterator[tuple[Tensor, list[Heads]]]:
        for step in range(30):
            images = random(2, 5, 3, 32, 48, seed=step).clamp(-1, 1)
            yield images, teacher(model, images, wanted)

    losses = fit_rate(model, rule, batches(), difference, learning_rate=0.15)
    assert len(losses) == 30
    assert max(losses[-5:]) < 0.2 * losses[0]
    assert type(rule) is not LearnedRate or 0.6 < rule.bias.sigmoid() < 0.95
    assert all(torch.equal(p, before[name]) and p.requires_grad for name, p in model.named_parameters())
    assert all(p.grad is None for p in model.parameters())


def test_training_with_the_librarys_world_and_losses() -> None:
    model, rule = build(), LearnedTokenRate(16, 8)

    def batches():  # type: ignore[no-untyped-def]
        torch.manual_seed(0)
        for _ in range(2):
            with torch.no_grad():
                batch = make_batch(WorldConfig(), 2, 4, 32, 48, torch.device("cpu"))
            yield batch.images * 2 - 1, make_targets(batch.depth, batch.world_from_cam, batch.intrinsics)

    def loss(heads, targets):  # type: ignore[no-untyped-def]
        focal = torch.zeros(4, 2)
        flow = tuple(torch.zeros(2, 8, 12, 2) for _ in heads)
        return compute_loss(tuple(heads), focal, flow, targets, LossWeights())[0]

    start = rule.bias.item()
    with torch.random.fork_rng(devices=[]):
        losses = fit_rate(model, rule, batches(), loss)
    assert all(torch.tensor(losses).isfinite())
    assert rule.bias.item() != start
    assert rule.key.weight.abs().sum() > 0


def test_a_trained_rate_is_kept_as_safetensors(tmp_path: Path) -> None:
    rule = LearnedTokenRate(16, 8)
    torch.nn.init.normal_(rule.key.weight)
    save_file(rule.state_dict(), str(tmp_path / "rate.safetensors"))
    other = LearnedTokenRate(16, 8)
    other.load_state_dict(load_file(tmp_path / "rate.safetensors"))
    stats, tokens = Stats(image_out=random(1, 5, 16)), random(1, 6, 16)
    assert torch.equal(rule(tokens, tokens, stats, {}).rate, other(tokens, tokens, stats, {}).rate)


def test_mistakes_are_named() -> None:
    with pytest.raises(CapabilityError, match="starts at 1"):
        LearnedRate(1.0)
    with pytest.raises(CapabilityError, match="2 frames"):
        fit_rate(build(), LearnedRate(), [(random(1, 2, 3, 32, 48), None)], lambda heads, truth: torch.zeros(()))
