# SPDX-License-Identifier: Apache-2.0
"""What every update rule promises, whatever its formula: shapes, independence of streams, no branch on values."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from stream_models import SMALL
from stream_models import build as build_tiny
from torch import Tensor

from longtake.errors import CapabilityError
from longtake.families.cut3r import Cut3r
from longtake.frame import Stats
from longtake.rules import TTT3R, Overwrite, Product, Rule, get_rule, register_rule, rule_names, rule_table
from longtake.rules.contract import begin_buffers
from longtake.stream import Stream, Streams

NAMES = (*rule_names(), "ttt3r+memix", "ttsa3r+memix:0.5+keyframe")
every_rule = pytest.mark.parametrize("name", NAMES)
PATCHES, FEATURES = 8, 7


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


TOKENS, PROPOSAL = random(3, 5, 4), random(3, 5, 4, seed=1)
STATS = Stats(
    mean_logit=random(3, 5, seed=2),
    row_entropy=random(3, 5, seed=3).abs(),
    mean_map=random(3, 5, 6, seed=4),
    features=random(3, 6, FEATURES, seed=5),
    grid=(2, 3),
    image_in=random(3, 7, 4, seed=6),
    image_out=random(3, 7, 4, seed=7),
)


def each(stats: Stats, function: Any) -> Stats:
    named = {f.name: getattr(stats, f.name) for f in fields(stats)}
    return Stats(**{k: function(v) if isinstance(v, Tensor) else v for k, v in named.items()})


def begin(rule: Rule, tokens: Tensor) -> dict[str, Tensor]:
    return begin_buffers(rule, tokens, (PATCHES, FEATURES))


@every_rule
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_contract(name: str, dtype: torch.dtype) -> None:
    rule = get_rule(name)
    assert isinstance(rule, Rule)
    assert rule.name == name
    assert "\n" not in rule.summary
    tokens, proposal = TOKENS.to(dtype), PROPOSAL.to(dtype)
    stats = each(STATS, lambda t: t.to(dtype))
    buffers = begin(rule, tokens)
    assert all(len(t) == 3 for t in buffers.values())
    for _ in range(3):
        step = rule(tokens, proposal, stats, buffers)
        assert step.rate.shape == (3, 5, 1)
        assert step.direction.shape == tokens.shape
        assert step.rate.min() >= 0
        assert step.rate.max() <= 1
        assert step.rate.dtype == step.direction.dtype == dtype
        layout = {k: (t.shape, t.dtype) for k, t in buffers.items()}
        assert {k: (t.shape, t.dtype) for k, t in step.buffers.items()} == layout
        buffers = dict(step.buffers)


@every_rule
def test_streams_do_not_touch_each_other(name: str) -> None:
    rule = get_rule(name)
    later = random(3, 5, 4, seed=9)
    buffers = dict(rule(TOKENS, PROPOSAL, STATS, begin(rule, TOKENS)).buffers)
    together = rule(PROPOSAL, later, STATS, buffers)
    for i in range(3):
        one = slice(i, i + 1)
        stats = each(STATS, lambda t, one=one: t[one])
        own = dict(rule(TOKENS[one], PROPOSAL[one], stats, begin(rule, TOKENS[one])).buffers)
        alone = rule(PROPOSAL[one], later[one], stats, own)
        torch.testing.assert_close(alone.rate, together.rate[one], rtol=0, atol=1e-14)
        torch.testing.assert_close(alone.direction, together.direction[one], rtol=0, atol=1e-14)


@every_rule
def test_nothing_depends_on_values_but_values(name: str) -> None:
    """On the meta device there are no values: a branch, an .item() or a copy to the host would raise."""
    rule = get_rule(name)
    stats = each(STATS, lambda t: t.to("meta"))
    tokens, proposal = TOKENS.to("meta"), PROPOSAL.to("meta")
    step = rule(tokens, proposal, stats, begin(rule, tokens))
    assert {t.device.type for t in (step.rate, step.direction, *step.buffers.values())} == {"meta"}


@every_rule
def test_a_frozen_world_stays_finite(name: str) -> None:
    """The same picture again and again, until nothing changes any more; then nothing at all."""
    rule = get_rule(name)
    for proposal, stats in ((PROPOSAL, STATS), (PROPOSAL * 0, each(STATS, lambda t: t * 0))):
        tokens, buffers = TOKENS, begin(rule, TOKENS)
        for _ in range(50):
            step = rule(tokens, proposal, stats, buffers)
            tokens, buffers = tokens + step.rate * step.direction, dict(step.buffers)
            assert tokens.isfinite().all()
            assert all(t.isfinite().all() for t in buffers.values())


def test_overwrite_takes_the_whole_proposal() -> None:
    step = Overwrite()(TOKENS, PROPOSAL, Stats(), {})
    torch.testing.assert_close(TOKENS + step.rate * step.direction, PROPOSAL, rtol=0, atol=1e-15)


def test_ttt3r_is_the_sigmoid_of_the_mean_logit() -> None:
    step = TTT3R()(TOKENS, PROPOSAL, STATS, {})
    assert STATS.mean_logit is not None
    torch.testing.assert_close(step.rate[..., 0], 1 / (1 + (-STATS.mean_logit).exp()), rtol=0, atol=1e-15)
    assert torch.equal(step.direction, PROPOSAL - TOKENS)


def test_filt3r_settles_at_the_gain_of_its_steady_state() -> None:
    rule, tokens = get_rule("filt3r"), TOKENS.clone()
    buffers = rule.begin(tokens)
    for i in range(300):  # changes of one size: never a surprise, so q stays at its least
        step = rule(tokens, tokens + random(3, 5, 1, seed=i).sign(), STATS, buffers)
        buffers = dict(step.buffers)
    root = (0.02**2 + 4 * 0.02) ** 0.5
    assert step.rate.min() > (root + 0.02) / (root + 0.02 + 2) - 1e-3  # 0.132
    assert step.rate.median() < 0.2


def test_duplicates_and_the_keyframe_gate() -> None:
    rule = get_rule("keyframe")
    buffers = rule.begin(TOKENS)
    shares = []
    for i in range(40):
        seed = min(i, 20)  # a moving camera, then 20 times the same picture, then a new one
        proposal = PROPOSAL + 0.1 * random(3, 5, 4, seed=50 + (seed if i < 39 else 99))
        step = rule(TOKENS, proposal, STATS, buffers)
        buffers = dict(step.buffers)
        shares.append(float(step.rate.mean()))
    assert shares[0] == 1
    assert 0.3 < np.mean(shares[2:20]) < 0.7
    assert shares[38] < 0.05
    assert shares[38] < shares[30] < shares[24] < shares[21]
    assert shares[39] > 0.5


def test_rules_say_what_they_lack() -> None:
    for name, missing in [("ttt3r", "mean_logit.*want_logit"), ("ttsa3r", "mean_map.*want_map"), ("memix", "image_in")]:
        rule = get_rule(name)
        with pytest.raises(ValueError, match=missing):
            rule(TOKENS, PROPOSAL, Stats(), begin(rule, TOKENS))


def test_names() -> None:
    rule = TTT3R()
    assert get_rule(rule) is rule
    assert isinstance(get_rule("ttt3r + keyframe"), Product)
    with pytest.raises(CapabilityError, match=r"ttt3.*Did you mean 'ttt3r'.*overwrite"):
        get_rule("ttt3")
    with pytest.raises(CapabilityError, match=r"'ttt3r' takes no number.*constant:RATE"):
        get_rule("ttt3r:0.5")
    with pytest.raises(CapabilityError, match="'x' is no number"):
        get_rule("constant:x")
    for wrong in ("constant:2", "constant:nan", "memix:0", "memix:1.5", "ttt3r-calibrated:inf"):
        with pytest.raises(CapabilityError, match="give"):
            get_rule(wrong)


def test_rules_of_ones_own() -> None:
    @register_rule
    class Quarter(TTT3R):
        name = "quarter"
        summary = "a quarter of ttt3r's rate"

        def __call__(self, *given):  # type: ignore[no-untyped-def]
            step = super().__call__(*given)
            return replace(step, rate=step.rate / 4)

    assert rule_table()["quarter"] == Quarter.summary
    assert torch.equal(
        get_rule("quarter")(TOKENS, PROPOSAL, STATS, {}).rate, get_rule("ttt3r")(TOKENS, PROPOSAL, STATS, {}).rate / 4
    )
    assert get_rule("quarter+memix").name == "quarter+memix"
    with pytest.raises(CapabilityError, match="already"):
        register_rule(Quarter)
    with pytest.raises(CapabilityError, match=r"lacks.*begin"):
        register_rule(type("Empty", (), {"name": "empty"}))
    Quarter.name = "a b"
    with pytest.raises(CapabilityError, match="'a b'"):
        register_rule(Quarter)


MODEL = replace(SMALL, encoder_width=16, state_heads=2, is_metric=True)


def build() -> Cut3r:
    return build_tiny(MODEL)


def picture(seed: int, height: int = 32, width: int = 48) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


@every_rule
def test_a_resumed_stream_is_the_uninterrupted_one(tmp_path: Path, name: str) -> None:
    going = Streams(build(), 2, rule=name, reset_every=5)
    sizes = [(32, 48), (32, 48), (48, 32), (48, 48), (16, 48), (32, 48), (32, 48), (48, 48)]
    nbytes = going.state_bytes
    for i in range(4):
        going.step([picture(i, *sizes[i]), None if i == 1 else picture(10 + i, *sizes[i])], update=i != 2)
    going.save(tmp_path / "state.safetensors")
    resumed = Stream.resume(build(), tmp_path / "state.safetensors")
    assert resumed.rule.name == name
    for i in range(4, 8):
        frames = [picture(i, *sizes[i]), picture(10 + i, *sizes[i])]
        ours, theirs = resumed.step(frames), going.step(frames)  # type: ignore[arg-type]
        assert isinstance(ours, list)
        assert all(torch.equal(a.points, b.points) for a, b in zip(ours, theirs, strict=True) if a and b)
    mine, others = resumed.state.tensors(), going.state.tensors()
    assert mine.keys() == others.keys()
    assert all(torch.equal(mine[key], others[key]) for key in mine)
    assert going.state_bytes == resumed.state_bytes == nbytes
