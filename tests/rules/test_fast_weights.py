# SPDX-License-Identifier: Apache-2.0
"""The one-layer view of the rules: three updates, the loss of the tied case, and why an ungated state forgets."""

from __future__ import annotations

import math

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtake.rules.fast_weights import FastWeightLayer

SEED = st.integers(0, 2**31)
COUNT = st.integers(1, 7)


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def layer(tied: bool = False, width: int = 5) -> FastWeightLayer:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return FastWeightLayer(width, tied=tied).double().requires_grad_(False)


def written(one: FastWeightLayer, state: Tensor, frame: Tensor) -> list[list[float]]:
    """softmax(Q S (K X)^T) V X, a number at a time."""
    out = []
    values = one.value(frame)
    for i in range(len(state)):
        logits = [float(one.query(state)[i] @ one.key(frame)[j]) for j in range(len(frame))]
        weights = [math.exp(logit) for logit in logits]
        out.append(
            [sum(w / sum(weights) * float(values[j, c]) for j, w in enumerate(weights)) for c in range(values.shape[1])]
        )
    return out


@settings(max_examples=30, deadline=None)
@given(n=COUNT, m=COUNT, seed=SEED, tied=st.booleans())
def test_the_three_updates_are_their_formulas(n: int, m: int, seed: int, tied: bool) -> None:
    one, state, frame = layer(tied), random(n, 5, seed=seed), random(m, 5, seed=seed + 1)
    step = torch.tensor(written(one, state, frame), dtype=torch.float64)
    torch.testing.assert_close(one.write_softmax(state, frame), state + step, rtol=0, atol=1e-12)
    beta = torch.stack([(one.query(state)[i] @ one.key(frame).T).mean().sigmoid() for i in range(n)])[:, None]
    torch.testing.assert_close(one.write_gated(state, frame), state + beta * step, rtol=0, atol=1e-12)
    later = random(3, 5, seed=seed + 2)
    memory = one.append(one.append(None, frame), later)
    assert memory[0].shape == (m + 3, 5), "appending is the one that grows"
    whole = torch.cat((frame, later))
    torch.testing.assert_close(one.read_appended(memory, later), one.step(later, whole), rtol=0, atol=1e-12)
    torch.testing.assert_close(one.read(state, frame), one.step(frame, state), rtol=0, atol=1e-12)


@settings(max_examples=30, deadline=None)
@given(n=COUNT, m=COUNT, seed=SEED)
def test_in_the_tied_case_the_step_is_minus_a_gradient(n: int, m: int, seed: int) -> None:
    one, state, frame = layer(tied=True), random(n, 5, seed=seed).requires_grad_(), random(m, 5, seed=seed + 1)
    (gradient,) = torch.autograd.grad(one.loss(state, frame), state)
    keys = one.key(frame)
    torch.testing.assert_close(gradient, -(state @ keys.T).softmax(-1) @ keys, rtol=0, atol=1e-12)
    with torch.no_grad():
        torch.testing.assert_close(one.write_softmax(state, frame), state - gradient, rtol=0, atol=1e-12)
        after = state - one.rate(state, frame) * gradient
        torch.testing.assert_close(one.write_gated(state, frame), after, rtol=0, atol=1e-12)


def test_a_general_value_has_no_such_loss() -> None:
    """A gradient's Jacobian is symmetric: it is so in the tied case, and far from it otherwise."""
    state, frame = random(1, 5), random(6, 5, seed=1)
    for tied in (True, False):
        one = layer(tied)
        jacobian = torch.autograd.functional.jacobian(lambda s, one=one: one.step(s, frame), state)[0, :, 0]
        skew = float((jacobian - jacobian.T).abs().max() / jacobian.abs().max())
        assert (skew < 1e-12) == tied
        assert tied or skew > 0.1


@settings(max_examples=50, deadline=None)
@given(n=COUNT, m=COUNT, seed=SEED)
def test_a_frame_that_matches_nothing_writes_in_full_unless_gated(n: int, m: int, seed: int) -> None:
    """Frames orthogonal to the state write the mean of their values; only the gate hears a bad match."""
    one = layer()
    state, frame = random(n, 5, seed=seed), random(m, 5, seed=seed + 1)
    strange = FastWeightLayer(5).double().requires_grad_(False)
    strange.load_state_dict(one.state_dict())
    strange.key.weight.zero_()  # no query finds anything: every logit is 0
    step = strange.step(state, frame)
    torch.testing.assert_close(step, one.value(frame).mean(0).expand_as(step), rtol=0, atol=1e-12)
    assert strange.step(state, frame).norm() > 0
    rows = (one.query(state) @ one.key(frame).T).softmax(-1)
    torch.testing.assert_close(rows.sum(-1), torch.ones(n, dtype=torch.float64), rtol=0, atol=1e-12)
    mean_key = one.key(frame).mean(0)
    # However small the mean key is, the mean logit falls by 1000 / sqrt(5).
    against = mean_key / mean_key.square().sum()
    hostile = state - 1000 * against @ torch.linalg.inv(one.query.weight).T  # type: ignore[union-attr]
    assert one.rate(hostile, frame).max() < 1e-3
    assert one.step(hostile, frame).norm() > 1e-3, "ungated it still writes"
    assert (one.write_gated(hostile, frame) - hostile).norm() < (
        one.write_softmax(hostile, frame) - hostile
    ).norm() / 99
