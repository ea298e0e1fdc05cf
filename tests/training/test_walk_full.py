# SPDX-License-Identifier: Apache-2.0
"""Training of VGGT-shaped models: what is trained is what a stream says, all of it learns, and the loss falls."""

from __future__ import annotations

import json
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import longtake
from longtake.errors import CapabilityError, CheckpointError
from longtake.families.vggt_config import VggtConfig
from longtake.frame import Flags, Heads, Views
from longtake.registry import MODELS, SMALL_FULL
from longtake.synthetic.config import WorldConfig
from longtake.training.flat import FlatParameters
from longtake.training.learners import make_learner
from longtake.training.loop import TrainConfig, train
from longtake.training.losses import LossWeights
from longtake.training.shapes import Shape
from longtake.training.step import Step
from longtake.training.walk_full import ANGLE, FullLearner

TINY = replace(SMALL_FULL.tiny(), width=64)
both = pytest.mark.parametrize("causal", [False, True], ids=["full", "causal"])


def tiny(*, causal: bool) -> FullLearner:
    torch.manual_seed(3)
    learner = make_learner(replace(TINY, causal=causal))
    assert isinstance(learner, FullLearner)
    return learner


def rows(heads: Heads) -> dict[str, Tensor]:
    return {f.name: value for f in fields(heads) if (value := getattr(heads, f.name)) is not None}


@both
def test_the_walk_is_what_a_stream_ends_up_saying(causal: bool) -> None:
    """Full attention: of all frames after the last one. Causal: of each frame when it comes."""
    learner = tiny(causal=causal).eval()
    with torch.no_grad():
        for parameter in learner.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
        images = torch.rand(2, 4, 3, 48, 64)
        walk = learner.walk(images, torch.zeros(2, dtype=torch.bool))
        model = learner.model
        for take in range(2):
            state, keep, said = model.begin(1), model.writer(), []
            for t in range(4):
                tokens = model.tokenize(Views(image=images[take : take + 1, t] * 2 - 1))
                heads, state = model.step(state, tokens, keep, Flags.plain(1))
                assert heads is not None
                said = (
                    [*said, heads] if causal else [heads.map(lambda each, i=i: each[i : i + 1]) for i in range(t + 1)]
                )
            for t in range(4):
                for name, value in rows(said[t]).items():
                    ours = rows(walk.heads[t])[name][take : take + 1]
                    torch.testing.assert_close(ours, value, rtol=1e-3, atol=1e-4)
                assert said[t].intrinsics is not None
                focal = said[t].intrinsics[0, 0, 0] / 64
                torch.testing.assert_close(walk.log_focal[t, take].exp(), focal, rtol=1e-3, atol=1e-4)


@both
def test_the_loss_falls_and_everything_learns(causal: bool) -> None:
    learner = tiny(causal=causal)
    flat = FlatParameters([learner])
    optimiser = flat.optimiser(4e-3, 0.0)
    shape = Shape(1, 3, 32, 48)
    step = Step(learner, shape, WorldConfig(), LossWeights(), flat.gradients, 0.0, precision=None)
    losses = []
    for i in range(14):
        torch.manual_seed(8)  # the same takes again: whether it can learn at all
        step.run()
        if i == 0:
            idle = [name for name, p in learner.named_parameters() if p.grad is None or not p.grad.any()]
            assert not idle
        flat.clip(1.0)
        optimiser.step()
        losses.append(float(step.parts["loss"]))
    assert np.isfinite(losses).all()
    assert losses[-1] < 0.5 * losses[0], losses


def test_attention_of_both_kinds_is_orthogonalized() -> None:
    learner = tiny(causal=False)
    flat = FlatParameters([learner])
    attention = [p for name, p in learner.named_parameters() if ".attn." in name and p.dim() == 2]
    mlps = [p for name, p in learner.named_parameters() if ".mlp." in name and p.dim() == 2]
    assert attention and flat.inner == sum(p.numel() for p in attention + mlps)


def test_before_training_a_camera_is_at_rest_and_open() -> None:
    """The view angle's activation has no gradient at 0: there a camera would stay closed for ever."""
    walk = tiny(causal=False).walk(torch.rand(1, 3, 3, 48, 64), torch.tensor([False]))
    wanted = np.log(0.5 / np.tan(ANGLE / 2))
    assert (walk.log_focal - wanted).abs().max() < 0.3
    poses = torch.stack([heads.pose for heads in walk.heads])
    assert (poses - torch.tensor([0.0, 0, 0, 1, 0, 0, 0])).abs().max() < 0.3


@both
def test_the_loop_leaves_weights_that_load_by_name(causal: bool, tmp_path: Path) -> None:
    config = TrainConfig(
        out=tmp_path, minutes=1, curriculum="toy", frames_per_step=2, warmup=2, held_out=1, look_every=600, max_steps=2
    )
    name = "streamvggt-small" if causal else "vggt-small"
    train(config, replace(TINY, causal=causal))
    records = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert records[-1]["event"] == "end" and records[-1]["step"] == 2
    assert {r["rule"] for r in records if r["event"] == "held-out"} == {"append"}
    model = longtake.load(name, tmp_path / "average.safetensors")
    said = model.stream().step(np.zeros((48, 64, 3), np.uint8))
    assert said.points.isfinite().all()
    train(replace(config, resume=tmp_path / "average.safetensors", max_steps=1), replace(TINY, causal=causal))
    other = replace(config, out=tmp_path / "other", resume=tmp_path / "average.safetensors")
    with pytest.raises(CheckpointError, match="another configuration"):
        train(other, replace(TINY, causal=not causal))


def test_sizes_are_those_of_the_embedded_model() -> None:
    wanted = MODELS["longtake-small"].parameters
    for name in ("vggt-small", "streamvggt-small"):
        assert abs(MODELS[name].parameters / wanted - 1) < 0.05


def test_what_cannot_be_trained_is_refused() -> None:
    with pytest.raises(CapabilityError, match="patches of 16"):
        make_learner(VggtConfig().tiny())
    with pytest.raises(CapabilityError, match="no track head"):
        make_learner(replace(TINY, track_features=8))
    with pytest.raises(CapabilityError, match="Point3rConfig cannot be trained"):
        make_learner(MODELS["point3r"].config)
