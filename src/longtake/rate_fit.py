# SPDX-License-Identifier: Apache-2.0
"""Train a learned rate through the library's own loop while the model stays frozen."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import torch
from torch import Tensor

from longtake.errors import CapabilityError
from longtake.families.cut3r import Cut3r
from longtake.frame import Flags, Heads, Views
from longtake.rules.learned import LearnedRate
from longtake.stream import absorb

Truth = TypeVar("Truth")


def fit_rate(
    model: Cut3r,
    rule: LearnedRate,
    batches: Iterable[tuple[Tensor, Truth]],
    loss: Callable[[list[Heads], Truth], Tensor],
    *,
    learning_rate: float = 0.02,
    on_step: Callable[[int, float], Any] | None = None,
) -> list[float]:
    """Walk takes with the rule, compare what the model says with the truth, and step the rule's parameters (Adam).

    batches: images (B, T, 3, H, W) in [-1, 1] on the model's device, and whatever `loss` wants to know of them.
    loss: the T outputs of the heads (B views each) and that truth -> a scalar.
    The model's parameters get no gradient and do not change, not even their requires_grad. Returns the losses; a step
    whose loss is not finite changes nothing. Raises CapabilityError for a take of fewer than three frames: the first
    writes in full, the second reads that, so only the third can tell one rate from another.
    """
    optimizer = torch.optim.Adam(rule.parameters(), learning_rate)
    losses = []
    trainable = [p for p in model.parameters() if p.requires_grad]
    for parameter in trainable:
        parameter.requires_grad_(False)
    try:
        for step, (images, truth) in enumerate(batches):
            if images.shape[1] < 3:
                raise CapabilityError(f"takes of {images.shape[1]} frames cannot train a rate; give three or more")
            value = loss(_walk(model, rule, images), truth)
            optimizer.zero_grad()
            if bool(value.isfinite()):
                value.backward()
                optimizer.step()
            losses.append(float(value.detach()))
            if on_step is not None:
                on_step(step, losses[-1])
    finally:
        for parameter in trainable:
            parameter.requires_grad_(True)
    return losses


def _walk(model: Cut3r, rule: LearnedRate, images: Tensor) -> list[Heads]:
    takes, frames = images.shape[:2]
    state, flags = model.begin(takes, rule), Flags.plain(takes, images.device)
    heads = []
    for t in range(frames):
        exchange, state = absorb(model, state, model.tokenize(Views(image=images[:, t])), rule, flags)
        heads.append(model.detokenize(exchange))
    return heads
