# SPDX-License-Identifier: Apache-2.0
"""The output for metric scale: learned where it is there, absent where it is not, and right through resets."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from stream_models import SMALL as STREAMED
from stream_models import build, picture
from tiny import TINY, tiny_learner

from longtake.checkpoints import pack, write_safetensors
from longtake.detokenize.heads import USUAL_METRES
from longtake.errors import CheckpointError
from longtake.families.cut3r import Cut3r
from longtake.predictions import Shown, predictions_of
from longtake.stream import Stream
from longtake.synthetic.config import WorldConfig
from longtake.training.flat import FlatParameters
from longtake.training.heldout import HeldOut
from longtake.training.losses import LossWeights, compute_loss
from longtake.training.shapes import Shape
from longtake.training.snapshot import load_learner, save_learner
from longtake.training.step import Learner, Step

METRIC = replace(TINY, metric_scale=True)


def metric_learner(seed: int) -> Learner:
    torch.manual_seed(seed)
    return Learner(Cut3r(METRIC))


@pytest.mark.parametrize("shipped", [False, True])
def test_weights_without_the_output_are_gone_on_with(tmp_path: Path, shipped: bool) -> None:
    old, new, path = tiny_learner(1), metric_learner(2), tmp_path / "old.safetensors"
    if shipped:
        write_safetensors(path, pack(old.model.state_dict()), TINY.to_dict(), "cut3r")
        load_learner(old, path)  # as the packed numbers have it
    else:
        save_learner(old, path)
    load_learner(new, path)
    images = torch.rand(2, 1, 3, 32, 48)
    with torch.no_grad():
        before, after = (each.walk(images, torch.zeros(2, dtype=torch.bool)).heads[0] for each in (old, new))
    assert torch.equal(before.points_self, after.points_self) and torch.equal(before.pose, after.pose)
    assert before.metric_scale is None and after.metric_scale is not None
    torch.testing.assert_close(after.metric_scale, torch.full((2,), USUAL_METRES))
    save_learner(new, path)
    load_learner(metric_learner(3), path)
    with pytest.raises(CheckpointError, match="another configuration"):
        load_learner(tiny_learner(), path)


def test_a_configuration_of_before_is_one_without() -> None:
    values = TINY.to_dict()
    del values["metric_scale"]
    assert type(TINY).from_dict(values) == TINY


def test_its_loss_is_the_ratio_s_logarithm_and_moves_the_head() -> None:
    learner = metric_learner(1)
    flat = FlatParameters([learner])
    step = Step(learner, Shape(2, 4, 32, 48, 2), WorldConfig(), LossWeights(), flat.gradients, 0.5, precision=None)
    batch, targets = step.draw_batch()
    metres = batch.depth[:, 0].mean((-2, -1))
    walk = learner.walk(batch.images, torch.tensor([0, 0]))
    for factor in (1.0, 2.0):
        said = [replace(head, metric_scale=factor * metres) for head in walk.heads]
        _, parts = compute_loss(said, walk.log_focal, walk.flow, targets, LossWeights())
        assert float(parts["scale"]) == pytest.approx(math.log(factor), abs=1e-5)
    none = [replace(head, metric_scale=None) for head in walk.heads]
    assert "scale" not in compute_loss(none, walk.log_focal, walk.flow, targets, LossWeights())[1]
    step.run()
    assert learner.model.heads.scale.fc2.weight.grad.abs().sum() > 0  # type: ignore[union-attr]
    assert 0 < float(step.parts["scale"]) < 2


def test_a_look_says_how_far_off_it_is_and_what_one_number_would_give() -> None:
    learner, held = metric_learner(1), HeldOut(4, 2, (32, 48), torch.device("cpu"))
    figures = held.figures(learner, gated=False, precision=None)
    metres = held.batch.depth[:, 0].mean((-2, -1))
    assert figures["scale_error"] == pytest.approx(float((USUAL_METRES / metres - 1).abs().median()) * 100, rel=1e-4)
    assert 0 < figures["scale_const"] <= figures["scale_error"] + 1e-6 or figures["scale_const"] < 60
    assert "scale_error" not in held.figures(tiny_learner(), gated=False, precision=None)


def test_metres_do_not_depend_on_the_scale_at_which_chunks_are_joined() -> None:
    torch.manual_seed(0)
    model = Cut3r(replace(STREAMED, metric_scale=True)).eval()
    assert model.config.head == "conv"
    prediction = Stream(model).step(picture(0))
    assert float(prediction.metric_scale) == pytest.approx(USUAL_METRES, rel=1e-5)  # type: ignore[arg-type]
    assert Stream(build(STREAMED)).step(picture(0)).metric_scale is None
    learner = metric_learner(1)
    with torch.no_grad():
        heads = learner.walk(torch.rand(1, 1, 3, 32, 48), torch.tensor([0])).heads[0]
    metres = []
    for scale in (1.0, 3.0):
        chain = torch.diag(torch.tensor([scale, scale, scale, 1.0]))[None]
        shown = [Shown(image=picture(0), pixel_map=None, index=0, time=0.0, name="", intrinsics=None)]  # type: ignore[arg-type]
        (each,) = predictions_of(heads, chain, shown, False, ["head"], torch.zeros(1).long(), scaled=True)
        metres.append(each.points_self * each.metric_scale)
    torch.testing.assert_close(metres[0], metres[1])
