# SPDX-License-Identifier: Apache-2.0
"""The training loss: depth, world points, pose, focal length, and flow to the previous frame.

Confidence-weighted terms follow DUSt3R (arXiv 2312.14132): c * error - alpha * log c. The flow head exists only in
training: matching appears in a sudden transition, and flow shows it before any pose figure does.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from longtake.frame import Heads
from longtake.geometry.pose import inverse, world_from_cam
from longtake.training.targets import FLOW_STRIDE, Targets

CELLS = 16 // FLOW_STRIDE  # flow samples along a patch's side


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
    alpha: float = 0.2  # reward for confidence


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
    heads: Heads, log_focal: Tensor, flow: Tensor, targets: Targets, weights: LossWeights
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss and its parts. `heads`, log_focal and flow hold T * B views, time first."""
    steps, takes = targets.log_depth.shape[:2]

    def timed(x: Tensor) -> Tensor:
        return x.float().unflatten(0, (steps, takes))

    depth_error = timed(heads.points_self[..., 2]).log() - targets.log_depth
    depth = _confident(depth_error.abs(), timed(heads.confidence_self), weights.alpha)
    edges = sum(
        ((depth_error[..., s:] - depth_error[..., :-s]).abs().mean())
        + ((depth_error[..., s:, :] - depth_error[..., :-s, :]).abs().mean())
        for s in (1, 2, 4)
    )
    nearness = targets.world.norm(dim=-1).clamp_min(0.1).reciprocal()
    # The logarithm keeps one wild point, which the exponential head makes easily, from outweighing all others.
    world_error = ((timed(heads.points_world) - targets.world).norm(dim=-1) * nearness).log1p()
    world = _confident(world_error, timed(heads.confidence_world), weights.alpha)
    poses = world_from_cam(timed(heads.pose))
    translation, rotation = _pose_errors(poses[1:], targets.first_from_cam[1:])
    own_steps = inverse(poses[:-1]) @ poses[1:]
    true_steps = inverse(targets.first_from_cam[:-1]) @ targets.first_from_cam[1:]
    step_translation, step_rotation = _pose_errors(own_steps, true_steps)
    anchor_translation, anchor_rotation = _pose_errors(poses[:1], targets.first_from_cam[:1])
    focal = (timed(log_focal) - targets.log_focal).abs().mean()
    valid = targets.flow_valid
    count = valid.sum().clamp_min(1)
    flow_error = torch.where(valid, (timed(flow) - targets.flow).norm(dim=-1), 0.0).sum() / count
    flow_zero = torch.where(valid, targets.flow.norm(dim=-1), 0.0).sum() / count
    total = (
        weights.depth * depth
        + weights.edges * edges
        + weights.world * world
        + weights.translation * (translation + 0.2 * anchor_translation)
        + weights.rotation * (rotation + 0.2 * anchor_rotation)
        + weights.step * (weights.translation * step_translation + weights.rotation * step_rotation)
        + weights.focal * focal
        + weights.flow * flow_error
    )
    parts = {
        "loss": total,
        "depth": depth_error.abs().mean(),
        "edges": edges,
        "world": world_error.mean(),
        "translation": translation,
        "rotation": rotation,
        "step_translation": step_translation,
        "step_rotation": step_rotation,
        "focal": focal,
        "flow": flow_error,
        "flow_zero": flow_zero,
        "rotation_identity": _pose_errors(
            torch.eye(4, device=poses.device).expand_as(poses[1:]), targets.first_from_cam[1:]
        )[1],
    }
    return total, {name: part.detach() for name, part in parts.items()}


def _confident(error: Tensor, confidence: Tensor, alpha: float) -> Tensor:
    return (confidence * error - alpha * confidence.log()).mean()


def _pose_errors(ours: Tensor, true: Tensor) -> tuple[Tensor, Tensor]:
    """Mean distance of the centres and mean chordal distance of the rotations (2 sin(angle / 2))."""
    translation = (ours[..., :3, 3] - true[..., :3, 3]).square().sum(-1).add(1e-8).sqrt().mean()
    rotation = (ours[..., :3, :3] - true[..., :3, :3]).square().sum((-2, -1)).div(2).add(1e-8).sqrt().mean()
    return translation, rotation
