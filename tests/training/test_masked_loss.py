# SPDX-License-Identifier: Apache-2.0
"""The loss with holes: the plain loss where there are none, its gradient, and nothing from where nothing is known."""

from __future__ import annotations

from dataclasses import fields

import pytest
import torch
from torch import Tensor

from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import Batch, make_batch
from longtake.training.losses import compute_frame_terms
from longtake.training.masked import compute_masked_frame_terms, make_masked_targets
from longtake.training.targets import make_targets


@pytest.fixture(scope="module")
def batch() -> Batch:
    return make_batch(WorldConfig(), 2, 3, 48, 64, "cpu", torch.Generator().manual_seed(3))


def _answers(generator: torch.Generator, views: int, height: int, width: int, dtype: torch.dtype) -> list[Tensor]:
    """Depth, confidence, world points, their confidence, flow: wrong ones."""

    def draw(*shape: int) -> Tensor:
        return torch.rand(views, *shape, generator=generator, dtype=dtype) + 0.5

    size = (height, width)
    flow = draw(height // 4, width // 4, 2)
    return [x.requires_grad_() for x in (draw(*size), draw(*size), draw(*size, 3), draw(*size), flow)]


def _truth(batch: Batch, depth: Tensor, t: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    targets = make_masked_targets(depth, batch.world_from_cam, batch.intrinsics)
    return targets.log_depth[t], targets.world[t], targets.flow[t], targets.flow_valid[t]


def test_without_holes_it_is_the_plain_loss(batch: Batch) -> None:
    plain = make_targets(batch.depth, batch.world_from_cam, batch.intrinsics)
    masked = make_masked_targets(batch.depth, batch.world_from_cam, batch.intrinsics)
    for each in fields(plain):
        assert torch.allclose(getattr(plain, each.name).float(), getattr(masked, each.name).float(), atol=1e-6)
    answers = _answers(torch.Generator().manual_seed(1), 2, 48, 64, torch.float32)
    truth = _truth(batch, batch.depth, 1)
    for one, other in zip(
        compute_frame_terms(*answers, *truth, 0.2, 0.1),
        compute_masked_frame_terms(*answers, *truth, 0.2, 0.1),
        strict=True,
    ):
        assert torch.allclose(one, other, rtol=1e-5)


def test_each_term_is_the_mean_over_known_pixels(batch: Batch) -> None:
    """Against loops that walk from pixel to pixel."""
    holes = torch.rand(batch.depth.shape, generator=torch.Generator().manual_seed(2)) < 0.7
    depth = torch.where(holes, 0.0, batch.depth)
    answers = _answers(torch.Generator().manual_seed(1), 2, 48, 64, torch.float32)
    truth = _truth(batch, depth, 1)
    terms = compute_masked_frame_terms(*answers, *truth, 0.2, 0.1)
    scale = torch.stack([d[d > 0].mean() for d in depth[:, 0]])
    known = depth[:, 1] > 0
    wrong = (answers[0].log() - (depth[:, 1] / scale[:, None, None]).log()).abs()
    assert torch.allclose(terms[1], wrong[known].mean(), rtol=1e-5)
    sure = answers[1]
    assert torch.allclose(terms[0], (wrong + 0.1 * (sure * wrong - 0.2 * sure.log()))[known].mean(), rtol=1e-5)
    signed = answers[0].log() - truth[0]
    edges = torch.tensor(0.0)
    for s in (1, 2, 4):
        for a, b in ((signed[..., s:], signed[..., :-s]), (signed[..., s:, :], signed[..., :-s, :])):
            differences = a - b  # nan unless both are known
            edges = edges + differences[differences.isfinite()].abs().mean()
    assert torch.allclose(terms[2], edges, rtol=1e-4)
    apart = (answers[2] - truth[1]).norm(dim=-1) / truth[1].norm(dim=-1).clamp_min(0.1)
    assert torch.allclose(terms[4], apart[known].log1p().mean(), rtol=1e-5)
    assert not (truth[3] & ~known[:, 2::4, 2::4]).any()


def test_unknown_pixels_have_no_gradient_and_no_nan(batch: Batch) -> None:
    depth = batch.depth.clone()
    depth[:, 1, :, 20:] = 0
    depth[:, 2] = 0  # a frame of which nothing is known
    for t in (1, 2):
        answers = _answers(torch.Generator().manual_seed(1), 2, 48, 64, torch.float32)
        terms = compute_masked_frame_terms(*answers, *_truth(batch, depth, t), 0.2, 0.1)
        torch.stack(terms[:6]).sum().backward()
        for answer in answers[:4]:
            assert answer.grad is not None
            assert answer.grad.isfinite().all()
            assert not answer.grad[:, :, 20:].any()
            assert bool(answer.grad.any()) == (t == 1)


def test_the_gradient_is_that_of_the_loss(batch: Batch) -> None:
    depth = torch.where(torch.rand(batch.depth.shape, generator=torch.Generator().manual_seed(4)) < 0.5, 0, batch.depth)
    crop = depth[:1, :, :8, :8].double()
    targets = make_masked_targets(crop, batch.world_from_cam[:1].double(), batch.intrinsics[:1].double())
    truth = (targets.log_depth[1], targets.world[1], targets.flow[1], targets.flow_valid[1])
    answers = _answers(torch.Generator().manual_seed(5), 1, 8, 8, torch.float64)

    def loss(share: float, *given: Tensor) -> Tensor:
        return torch.stack(compute_masked_frame_terms(*given, *truth, 0.2, share)[:6]).sum()

    assert torch.autograd.gradcheck(lambda *given: loss(0.0, *given), answers)
    depth_, sure, world, world_sure, flow = answers  # confidence sees the error without moving it
    fixed = [x.detach() for x in (depth_, world, flow)]
    confidences = (sure, world_sure)
    assert torch.autograd.gradcheck(lambda a, b: loss(0.1, fixed[0], a, fixed[1], b, fixed[2]), confidences)
