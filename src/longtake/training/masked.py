# SPDX-License-Identifier: Apache-2.0
"""The training loss where depth is known in places only: the same terms, each a mean over the pixels that have truth.

Unknown pixels travel as nan in `Targets.log_depth`, so that `compute_loss` serves both kinds of takes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from longtake.geometry.camera import unproject
from longtake.geometry.pose import inverse, transform
from longtake.training.losses import FrameTerms, compute_frame_terms
from longtake.training.targets import FLOW_STRIDE, Targets, backward_flow, make_targets


def make_masked_targets(depth: Tensor, world_from_cam: Tensor, intrinsics: Tensor) -> Targets:
    """depth (B, T, H, W) along z, 0 = unknown, world_from_cam (B, T, 4, 4), intrinsics (B, 3, 3) -> targets.

    Lengths are divided by the mean of the known depths of each take's first frame, which must have one at least.
    `log_depth` is nan where depth is unknown; flow counts where both frames have a depth.
    """
    known = depth > 0
    first = known[:, 0].flatten(1)
    scale = (depth[:, 0].flatten(1) * first).sum(-1) / first.sum(-1)
    filled = torch.where(known, depth, scale[:, None, None, None])  # leaves the mean of the first frame what it is
    targets = make_targets(filled, world_from_cam, intrinsics)
    first_from_cam = inverse(world_from_cam[:, :1]) @ world_from_cam
    world = transform(first_from_cam, unproject(depth, intrinsics[:, None].expand(-1, depth.shape[1], -1, -1)))
    _, seen = backward_flow(world, depth, first_from_cam, intrinsics)  # an unknown depth agrees with nothing
    half = FLOW_STRIDE // 2
    valid = (seen & known[:, :, half::FLOW_STRIDE, half::FLOW_STRIDE]).transpose(0, 1)
    log_depth = torch.where(known.transpose(0, 1), targets.log_depth, torch.nan)
    return replace(targets, log_depth=log_depth, flow_valid=valid)


def compute_masked_frame_terms(*given: Any) -> FrameTerms:
    """`losses.compute_frame_terms` of the same arguments, where pixels with true_log_depth = nan count for nothing."""
    true_log_depth: Tensor = given[5]
    known = true_log_depth.isfinite()
    return compute_frame_terms(*given, known=known)
