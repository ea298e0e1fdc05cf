# SPDX-License-Identifier: Apache-2.0
"""What the network should have said: normalised geometry and flow, from exact depth, poses and intrinsics.

Lengths are divided by the mean depth of the take's first frame, which a causal model can know from its first view.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
from torch import Tensor

from longtake.geometry.camera import unproject
from longtake.geometry.pose import inverse, transform

FLOW_STRIDE = 4  # pixels between flow samples
OF_A_TAKE = ("log_focal", "log_scale")  # targets without time


@dataclass(frozen=True, slots=True)
class Targets:
    """Targets of B takes of T frames; time is the first axis, as the loop walks it."""

    log_depth: Tensor  # (T, B, H, W)
    world: Tensor  # (T, B, H, W, 3) in the first camera
    first_from_cam: Tensor  # (T, B, 4, 4)
    log_focal: Tensor  # (B,) logarithm of focal / longest side
    log_scale: Tensor  # (B,) logarithm of the metres in a unit
    flow: Tensor  # (T, B, H / 4, W / 4, 2) displacement to the previous frame / longest side
    flow_valid: Tensor  # (T, B, H / 4, W / 4) bool; false everywhere in frame 0

    def later(self) -> Targets:
        """Without the first frame, to which the flow of the second still leads."""
        timed = {f.name: getattr(self, f.name)[1:] for f in fields(self) if f.name not in OF_A_TAKE}
        return Targets(**timed, **{name: getattr(self, name) for name in OF_A_TAKE})


def make_targets(depth: Tensor, world_from_cam: Tensor, intrinsics: Tensor) -> Targets:
    """depth (B, T, H, W) > 0, world_from_cam (B, T, 4, 4), intrinsics (B, 3, 3) -> targets."""
    first_from_cam = inverse(world_from_cam[:, :1]) @ world_from_cam
    return make_window_targets(depth, first_from_cam, intrinsics, depth[:, 0].mean((-2, -1)))


def make_window_targets(depth: Tensor, first_from_cam: Tensor, intrinsics: Tensor, scale: Tensor) -> Targets:
    """The same for any T frames in a row of longer takes, first_from_cam (B, T, 4, 4) and scale (B,) being the takes'.

    The first of these frames has no flow.
    """
    height, width = depth.shape[-2:]
    own = unproject(depth, intrinsics[:, None].expand(-1, depth.shape[1], -1, -1))
    world = transform(first_from_cam, own)
    flow, valid = backward_flow(world, depth, first_from_cam, intrinsics)
    pose = first_from_cam.clone()
    pose[..., :3, 3] = pose[..., :3, 3] / scale[:, None, None]

    def timed(x: Tensor) -> Tensor:
        return x.transpose(0, 1).contiguous()  # strides that do not tell T, so that compiled code serves any

    return Targets(
        log_depth=timed((depth / scale[:, None, None, None]).log()),
        world=timed(world / scale[:, None, None, None, None]),
        first_from_cam=pose.transpose(0, 1),
        log_focal=(intrinsics[:, 0, 0] / max(height, width)).log(),
        log_scale=scale.log(),
        flow=timed(flow),
        flow_valid=timed(valid),
    )


def backward_flow(world: Tensor, depth: Tensor, world_from_cam: Tensor, intrinsics: Tensor) -> tuple[Tensor, Tensor]:
    """Where each sampled pixel was in the previous frame: (B, T, h, w, 2) in longest sides, and whether it was visible.

    world (B, T, H, W, 3) and world_from_cam (B, T, 4, 4) share a frame. Samples lie at pixels 2, 6, 10, ... Visible
    means inside the previous image and within 5 % of the depth that was there.
    """
    height, width = depth.shape[-2:]
    half = FLOW_STRIDE // 2
    points = world[:, :, half::FLOW_STRIDE, half::FLOW_STRIDE]
    previous = torch.cat((world_from_cam[:, :1], world_from_cam[:, :-1]), 1)
    seen = transform(inverse(previous), points)
    z = seen[..., 2].clamp_min(1e-3)
    fx, fy, cx, cy = (intrinsics[:, i, j].view(-1, 1, 1, 1) for i, j in ((0, 0), (1, 1), (0, 2), (1, 2)))
    u = (seen[..., 0] / z * fx + cx).clamp(-4.0 * width, 4.0 * width)
    v = (seen[..., 1] / z * fy + cy).clamp(-4.0 * height, 4.0 * height)
    us = torch.arange(half, width, FLOW_STRIDE, device=depth.device, dtype=depth.dtype)
    vs = torch.arange(half, height, FLOW_STRIDE, device=depth.device, dtype=depth.dtype)
    flow = torch.stack((u - us, v - vs[:, None]), -1) / max(height, width)
    inside = (u >= 0) & (u <= width - 1) & (v >= 0) & (v <= height - 1) & (seen[..., 2] > 1e-3)
    before = torch.cat((depth[:, :1], depth[:, :-1]), 1).flatten(-2)
    index = v.round().clamp(0, height - 1).long() * width + u.round().clamp(0, width - 1).long()
    there = before.gather(-1, index.flatten(-2)).view_as(z)
    valid = inside & ((there - z).abs() < 0.05 * z)
    return flow, valid & (torch.arange(depth.shape[1], device=depth.device) > 0)[:, None, None]
