# SPDX-License-Identifier: Apache-2.0
"""Confidence learns the inverse of the error to be expected, within its range, and moves nothing else."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny import TINY, tiny_learner

from longtake.evaluation.sparsification import Pixels, ause, curves
from longtake.geometry.activations import activate_confidence
from longtake.synthetic.config import WorldConfig, worlds
from longtake.synthetic.world import make_batch
from longtake.training.flat import FlatParameters
from longtake.training.loop import USUAL_ERROR, TrainConfig, Trainer
from longtake.training.losses import LossWeights, compute_loss, confident
from longtake.training.shapes import Shape
from longtake.training.snapshot import save_learner
from longtake.training.step import Step
from longtake.training.targets import make_targets

USUAL = LossWeights()


@pytest.mark.parametrize("expected", [0.03, 0.15, 0.5])
def test_the_best_confidence_is_alpha_over_the_expected_error(expected: float) -> None:
    """Found by descent on the number before the activation, for errors that scatter as those of real pixels do."""
    errors = expected * -torch.rand(4096, generator=torch.Generator().manual_seed(1)).log()  # exponential
    raw = torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.Adam([raw], lr=0.1)
    for _ in range(200):
        optimiser.zero_grad()
        confident(errors, activate_confidence(raw, high=50.0), USUAL.alpha, USUAL.confidence).mean().backward()
        optimiser.step()
    found = float(activate_confidence(raw.detach(), high=50.0))
    assert found == pytest.approx(USUAL.alpha / float(errors.mean()), rel=0.02)
    assert 1.5 < found < 45, "well inside the range, where it has a gradient"


def test_what_depth_and_points_learn_does_not_depend_on_confidence() -> None:
    learner = tiny_learner()
    batch = make_batch(WorldConfig(), 2, 2, 32, 48, "cpu", torch.Generator().manual_seed(1))
    targets = make_targets(batch.depth, batch.world_from_cam, batch.intrinsics)
    with torch.no_grad():
        walk = learner.walk(batch.images, torch.tensor([0, 0]))
    made = []
    for sure in (1.0, 5.0, 49.0):
        heads = [
            replace(
                head.map(torch.Tensor.clone),
                points_self=head.points_self.clone().requires_grad_(),
                points_world=head.points_world.clone().requires_grad_(),
                confidence_self=torch.full_like(head.confidence_self, sure),
                confidence_world=torch.full_like(head.confidence_world, sure),
            )
            for head in walk.heads
        ]
        compute_loss(heads, walk.log_focal, walk.flow, targets, USUAL)[0].backward()
        made.append([x.grad for head in heads for x in (head.points_self, head.points_world)])
    for first, second, third in zip(*made, strict=True):
        assert first is not None and first.abs().sum() > 0
        assert torch.equal(first, second) and torch.equal(first, third)


def test_a_run_can_begin_confidence_anew_where_it_is_on_its_floor(tmp_path: Path) -> None:
    learner = tiny_learner(1)
    rows = [row for channel in (1, 5) for row in range(4 * channel, 4 * channel + 4)]
    with torch.no_grad():
        learner.model.heads.dense.out.bias[rows] = -40.0  # type: ignore[index]
    save_learner(learner, tmp_path / "old.safetensors")
    images, gated = torch.rand(1, 1, 3, 32, 48), torch.tensor([False])
    before = learner.walk(images, gated).heads[0]
    assert (before.confidence_self == 1).all() and (before.confidence_world == 1).all()
    config = TrainConfig(out=tmp_path, curriculum="toy", frames_per_step=2, resume=tmp_path / "old.safetensors")
    for new in (False, True):
        trainer = Trainer(replace(config, new_confidence=new), TINY)
        with torch.no_grad():
            after = trainer.learner.walk(images, gated).heads[0]
        assert torch.equal(after.points_self, before.points_self), "nothing else begins anew"
        said = torch.stack((after.confidence_self, after.confidence_world))
        torch.testing.assert_close(said, torch.full_like(said, USUAL.alpha / USUAL_ERROR if new else 1.0))
        trainer.step_for(trainer.schedule.stage, 0).run()
        moves = trainer.learner.model.heads.dense.out.weight.grad[rows].abs().sum()  # type: ignore[index]
        assert (moves > 1e-9) == new


@pytest.mark.slow
def test_confidence_of_a_short_training_finds_the_wrong_pixels() -> None:
    """A minute or two: 100 steps on bare rooms, tried on rooms that it has not seen."""
    world = replace(worlds()["bare"], effects=False, shadows=False)
    learner = tiny_learner()
    flat = FlatParameters([learner])
    optimiser = flat.optimiser(2e-3, 0.0)
    shape, weights = Shape(4, 2, 48, 64), replace(USUAL, flow=0.0)
    step = Step(learner, shape, world, weights, flat.gradients, 0.5, precision=None)
    torch.manual_seed(3)
    for i in range(100):
        step.run()
        flat.clip(1.0)
        for group in optimiser.param_groups:
            group["lr"] = 2e-3 * min(1.0, (i + 1) / 20)
        optimiser.step()
    test = make_batch(world, 16, 1, 48, 64, "cpu", torch.Generator().manual_seed(99))
    with torch.no_grad():
        heads = learner.walk(test.images, torch.zeros(16, dtype=torch.bool)).heads[0]
    numbers = [x.flatten(1).double().numpy() for x in (heads.points_self[..., 2], test.depth[:, 0])]
    sure = heads.confidence_self.flatten(1).double().numpy()
    found = [curves(Pixels(z, true, c)) for z, true, c in zip(*numbers, sure, strict=True)]
    areas = {name: np.mean([ause(take[name], take["oracle"]) for take in found]) for name in found[0]}
    assert areas["confidence"] < 0.96 * areas["random"]
    assert areas["confidence"] < areas["1/depth"]
    assert 1.5 < float(heads.confidence_self.mean()) < 20
