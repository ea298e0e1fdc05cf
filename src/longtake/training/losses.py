# SPDX-License-Identifier: Apache-2.0
"""The training loss: depth, world points, pose, focal length, and flow to the previous frame.

Confidence learns by the term of DUSt3R (arXiv 2312.14132), c * error - alpha * log c, least at c = alpha / error.
There it also weighs the error. Here the error stands beside it, unweighed, and confidence sees it without a gradient:
what depth and points learn does not depend on how sure the model is, and hard pixels are not given up. The flow head
exists only in training: matching appears in a sudden transition, and flow shows it before any pose figure does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from longtake.frame import PATCH, Heads
from longtake.geometry.pose import inverse, world_from_cam
from longtake.training.targets import FLOW_STRIDE, Targets

CELLS = PATCH // FLOW_STRIDE  # flow samples along a patch's side
# depth and its error, edges, world and its error; sums over valid cells: flow error, flow of a camera at rest, count
FrameTerms = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weight of each term."""

    depth: float = 1.0
    edges: float = 0.5  # differences of log depth between neighbours
    world: float = 0.5
    translation: float = 1.0
    rotation: float = 2.0
    step: float = 0.5  # the same pose errors between consecutive frames
    focal: float = 0.3
    flow: float = 20.0
    scale: float = 0.3  # log of metres a unit, where the model says it
    confidence: float = 0.1
    # c = alpha / error, and c lies between 1 and 50: errors of .02 to 1 are inside. Versions 1 to 3 had .2, and errors
    # beyond it at the start, so that c went to its floor and stayed there.
    alpha: float = 1.0


class FlowHead(nn.Module):
    """Flow to the previous frame on a grid of 4-pixel cells, from the final image tokens."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, CELLS * CELLS * 2)

    def forward(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """tokens (n, h * w, E), grid (h, w) -> (n, 4 h, 4 w, 2) in longest sides."""
        cells = self.out(tokens).float().unflatten(-1, (CELLS, CELLS, 2)).unflatten(1, grid)  # (n, h, w, 4, 4, 2)
        return cells.permute(0, 1, 3, 2, 4, 5).flatten(3, 4).flatten(1, 2) * 0.1


def compute_loss(
    heads: Sequence[Heads],
    log_focal: Tensor,
    flow: Sequence[Tensor],
    targets: Targets,
    weights: LossWeights,
    frame_terms: Callable[..., FrameTerms] | None = None,
    before: tuple[Tensor, Tensor] | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and its parts for T frames of B takes.

    heads, flow: one of B views for each frame, flow (B, H / 4, W / 4, 2). log_focal (T, B). frame_terms: a compiled
    `compute_frame_terms`, all of whose sizes depend on B and the picture alone, so that one serves takes of any length.
    before: poses (B, 4, 4) of the frame before these, what was said of it and what is true, where these do not begin
    the takes: then all of them count as moved, the first as a step too.
    """
    compute = frame_terms or compute_frame_terms
    dense = [
        compute(
            head.points_self[..., 2],
            head.confidence_self,
            head.points_world,
            head.confidence_world,
            now,
            targets.log_depth[t],
            targets.world[t],
            targets.flow[t],
            targets.flow_valid[t],
            weights.alpha,
            weights.confidence,
        )
        for t, (head, now) in enumerate(zip(heads, flow, strict=True))
    ]
    depth, depth_error, edges, world, world_error, flow_sum, zero_sum, seen = torch.stack(
        [torch.stack(terms) for terms in dense]
    ).unbind(-1)
    count = seen.sum().clamp_min(1)
    flow_error = flow_sum.sum() / count
    poses = world_from_cam(torch.stack([head.pose.float() for head in heads]))
    true_poses = targets.first_from_cam
    if before is None:
        anchor_translation, anchor_rotation = _pose_errors(poses[:1], true_poses[:1])
    else:
        poses, true_poses = (torch.cat((b[None], x)) for b, x in zip(before, (poses, true_poses), strict=True))
        anchor_translation = anchor_rotation = poses.new_zeros(())
    translation, rotation = _pose_errors(poses[1:], true_poses[1:])
    own_steps = inverse(poses[:-1]) @ poses[1:]
    true_steps = inverse(true_poses[:-1]) @ true_poses[1:]
    step_translation, step_rotation = _pose_errors(own_steps, true_steps)
    focal = (log_focal.float() - targets.log_focal).abs().mean()
    scale = _scale_error(heads, targets)
    total = (
        weights.depth * depth.mean()
        + weights.edges * edges.mean()
        + weights.world * world.mean()
        + weights.translation * (translation + 0.2 * anchor_translation)
        + weights.rotation * (rotation + 0.2 * anchor_rotation)
        + weights.step * (weights.translation * step_translation + weights.rotation * step_rotation)
        + weights.focal * focal
        + weights.flow * flow_error
        + weights.scale * (0.0 if scale is None else scale)
    )
    at_rest = torch.eye(4, device=poses.device).expand_as(poses[1:])
    parts = {
        "loss": total,
        "depth": depth_error.mean(),
        "edges": edges.mean(),
        "world": world_error.mean(),
        "translation": translation,
        "rotation": rotation,
        "step_translation": step_translation,
        "step_rotation": step_rotation,
        "focal": focal,
        "flow": flow_error,
        "flow_zero": zero_sum.sum() / count,
        "rotation_identity": _pose_errors(at_rest, true_poses[1:])[1],
    }
    if scale is not None:
        parts["scale"] = scale
    return total, {name: part.detach() for name, part in parts.items()}


def compute_frame_terms(
    depth: Tensor,
    confidence: Tensor,
    world: Tensor,
    world_confidence: Tensor,
    flow: Tensor,
    true_log_depth: Tensor,
    true_world: Tensor,
    true_flow: Tensor,
    flow_valid: Tensor,
    alpha: float,
    share: float,
    known: Tensor | None = None,
) -> FrameTerms:
    """The terms of B views that look at pixels, in the order of FrameTerms. Shapes as in `Targets` without time.

    known (B, H, W) bool: the pixels whose truth is known, None where all are. Means are over these, an edge counts
    where both of its pixels are known, and a term without any pixel is 0.
    """
    error, apart = _wide(depth).log() - true_log_depth, _wide(world) - true_world
    if known is not None:  # constants where nothing is known: nothing flows back from there, and nothing is nan
        error, apart = torch.where(known, error, 0.0), torch.where(known[..., None], apart, 1.0)
    edges = sum(_mean(*_differences(error, known, axis, s)) for s in (1, 2, 4) for axis in (-1, -2))
    assert isinstance(edges, Tensor)
    nearness = true_world.norm(dim=-1).clamp_min(0.1).reciprocal()
    # The logarithm keeps one wild point, which the exponential head makes easily, from outweighing all others.
    world_error = (apart.norm(dim=-1) * nearness).log1p()
    return (
        _mean(confident(error.abs(), _wide(confidence), alpha, share), known),
        _mean(error.abs(), known),
        edges,
        _mean(confident(world_error, _wide(world_confidence), alpha, share), known),
        _mean(world_error, known),
        torch.where(flow_valid, (_wide(flow) - true_flow).norm(dim=-1), 0.0).sum(),
        torch.where(flow_valid, true_flow.norm(dim=-1), 0.0).sum(),
        flow_valid.sum().float(),
    )


def _mean(values: Tensor, known: Tensor | None) -> Tensor:
    if known is None:
        return values.mean()
    return torch.where(known, values, 0.0).sum() / known.sum().clamp_min(1)


def _differences(error: Tensor, known: Tensor | None, axis: int, step: int) -> tuple[Tensor, Tensor | None]:
    """Absolute differences of pixels `step` apart along an axis, and where both are known."""
    count = error.shape[axis] - step
    ahead, behind = error.narrow(axis, step, count), error.narrow(axis, 0, count)
    both = None if known is None else known.narrow(axis, step, count) & known.narrow(axis, 0, count)
    return (ahead - behind).abs(), both


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))


def confident(error: Tensor, confidence: Tensor, alpha: float, share: float) -> Tensor:
    """error + share * (confidence * error - alpha * log confidence), elementwise; confidence moves no error.

    For pixels that look alike the second term is smallest where confidence = alpha / (their mean error).
    """
    return error + share * (confidence * error.detach() - alpha * confidence.log())


def _scale_error(heads: Sequence[Heads], targets: Targets) -> Tensor | None:
    """Mean of |log said - log true| metres a unit over all frames; None where the model does not say it."""
    said = [head.metric_scale for head in heads if head.metric_scale is not None]
    return (torch.stack(said).float().log() - targets.log_scale).abs().mean() if said else None


def _pose_errors(ours: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distance of the centres and mean chordal distance of the rotations (2 sin(angle / 2))."""
    translation = (ours[..., :3, 3] - true[..., :3, 3]).square().sum(-1).add(1e-8).sqrt().mean()
    rotation = (ours[..., :3, :3] - true[..., :3, :3]).square().sum((-2, -1)).div(2).add(1e-8).sqrt().mean()
    return translation, rotation
