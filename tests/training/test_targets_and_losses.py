# SPDX-License-Identifier: Apache-2.0
"""The targets agree with the world that they come from, and perfect answers cost nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longtake.frame import Heads
from longtake.geometry.rotation import quat_wxyz_from_matrix
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import Batch, make_batch
from longtake.training.losses import LossWeights, compute_loss
from longtake.training.targets import Targets, make_targets

TAKES, FRAMES, HEIGHT, WIDTH = 3, 4, 48, 64


@pytest.fixture(scope="module")
def batch() -> Batch:
    return make_batch(WorldConfig(), TAKES, FRAMES, HEIGHT, WIDTH, "cpu", torch.Generator().manual_seed(5))


@pytest.fixture(scope="module")
def targets(batch: Batch) -> Targets:
    return make_targets(batch.depth, batch.world_from_cam, batch.intrinsics)


def perfect(targets: Targets) -> tuple[list[Heads], Tensor, list[Tensor]]:
    """Heads, log focal and flow that say exactly what was wanted, with the surest confidence."""
    heads = []
    for t in range(FRAMES):
        depth, pose = targets.log_depth[t].exp(), targets.first_from_cam[t]
        sure = torch.full_like(depth, 50.0)
        heads.append(
            Heads(
                points_self=torch.stack((depth, depth, depth), -1),
                confidence_self=sure,
                points_world=targets.world[t],
                confidence_world=sure,
                pose=torch.cat((pose[:, :3, 3], quat_wxyz_from_matrix(pose[:, :3, :3])), -1),
            )
        )
    return heads, targets.log_focal.repeat(FRAMES, 1), list(targets.flow)


def test_perfect_answers_cost_nothing(targets: Targets) -> None:
    _, parts = compute_loss(*perfect(targets), targets, LossWeights())
    for name in ("depth", "edges", "world", "focal", "flow"):
        assert parts[name] < 1e-5, name
    for name in ("rotation", "translation", "step_rotation", "step_translation"):
        assert parts[name] < 1e-3, name  # the root is kept off zero by 1e-8
    assert parts["flow_zero"] > 1e-3
    assert parts["rotation_identity"] > 1e-3


@pytest.mark.parametrize("field", ["points_self", "points_world", "pose"])
def test_each_answer_matters(targets: Targets, field: str) -> None:
    from dataclasses import replace

    heads, focal, flow = perfect(targets)
    best, _ = compute_loss(heads, focal, flow, targets, LossWeights())
    wrong = [replace(head, **{field: getattr(head, field) * 1.3}) for head in heads]
    worse, _ = compute_loss(wrong, focal, flow, targets, LossWeights())
    if field == "pose":  # a longer quaternion is the same rotation, but the path is 1.3 times as long
        assert worse > best + 1e-3
    else:
        assert worse > best + 0.1


def test_lengths_are_in_mean_depths_of_the_first_frame(targets: Targets, batch: Batch) -> None:
    scale = batch.depth[:, 0].mean((-2, -1))
    assert torch.allclose(targets.log_depth[0].exp().mean((-2, -1)), torch.ones(TAKES), atol=1e-5)
    last = targets.first_from_cam[-1, :, :3, 3] * scale[:, None]
    assert torch.allclose(last, batch.world_from_cam[:, -1, :3, 3], atol=1e-4)


def test_flow_leads_to_the_same_colour(batch: Batch) -> None:
    """A pixel and where its surface was in the frame before look alike; two pixels at random do not."""
    clean = make_batch(WorldConfig(effects=False), 4, 3, 96, 128, "cpu", torch.Generator().manual_seed(2))
    targets = make_targets(clean.depth, clean.world_from_cam, clean.intrinsics)
    us, vs = torch.arange(2, 128, 4), torch.arange(2, 96, 4)
    grid = torch.stack(torch.meshgrid(us, vs, indexing="xy"), -1).float()  # (h, w, 2) of (u, v)
    same, still = [], []
    for t in (1, 2):
        was = grid + targets.flow[t] * 128
        at = 2 * (was + 0.5) / torch.tensor([128.0, 96.0]) - 1
        before = torch.nn.functional.grid_sample(clean.images[:, t - 1], at, align_corners=False, padding_mode="border")
        now = clean.images[:, t, :, 2::4, 2::4]
        unmoved = clean.images[:, t - 1, :, 2::4, 2::4]
        valid = targets.flow_valid[t][:, None].expand_as(now)
        same.append((now - before).abs()[valid])
        still.append((now - unmoved).abs()[valid])
    assert torch.cat(same).mean() < 0.6 * torch.cat(still).mean()


def test_the_first_frame_has_no_flow_and_hidden_pixels_do_not_count(targets: Targets) -> None:
    assert not targets.flow_valid[0].any()
    assert 0.3 < targets.flow_valid[1:].float().mean() < 1.0


def test_extreme_outputs_leave_gradients_finite() -> None:
    """Numbers as a diverging net makes them: an infinity inside the heads would turn every gradient into nan."""
    from tiny import tiny_learner

    learner = tiny_learner()
    made = make_batch(WorldConfig(), 2, 3, HEIGHT, WIDTH, "cpu", torch.Generator().manual_seed(1))
    wanted = make_targets(made.depth, made.world_from_cam, made.intrinsics)
    with torch.no_grad():
        learner.model.heads.dense.out.weight.mul_(1e4)
    walk = learner.walk(made.images, torch.tensor([True, False]))
    loss, _ = compute_loss(walk.heads, walk.log_focal, walk.flow, wanted, LossWeights())
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in learner.parameters())
