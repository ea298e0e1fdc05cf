# SPDX-License-Identifier: Apache-2.0
"""The look at how it goes: figures on synthetic takes of other seeds, drawn once, walked under each rule."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from longtake.evaluation.figures import depth_figures, pose_figures
from longtake.evaluation.summary import TakeFigures, summarize
from longtake.geometry.pose import inverse, world_from_cam
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import Batch, make_batch
from longtake.training.step import Learner

SHOWN = ("abs_rel", "const", "delta", "rotation_ratio", "direction", "ate_over_spread", "focal_error")
SEED = 2**31 - 7  # no training rank starts here
CHUNK = 64  # frames drawn at once on a CPU: the plain renderer writes every step of it out


class HeldOut:
    """A fixed set of takes and the figures of a learner on them."""

    def __init__(self, takes: int, frames: int, size: tuple[int, int], device: torch.device) -> None:
        generator = torch.Generator(device=device).manual_seed(SEED)
        with torch.no_grad():
            fast, config = device.type == "cuda", WorldConfig(chunk=CHUNK)
            self.batch: Batch = make_batch(config, takes, frames, *size, device, generator=generator, fast=fast)
        self.frames = frames

    @torch.no_grad()
    def figures(self, learner: Learner, *, gated: bool, precision: torch.dtype | None) -> dict[str, float]:
        """Medians or means over takes, as the project defines its figures."""
        images = self.batch.images
        mask = torch.full((images.shape[0],), gated, device=images.device)
        # Looks are rare and of other shapes than the steps: compiling for them would cost more than it saves.
        autocast = torch.autocast(images.device.type, precision, enabled=precision is not None)
        with torch.compiler.set_stance("force_eager"), autocast:
            walk = learner.walk(images, mask)

        def per_take(x: list[Tensor]) -> np.ndarray:
            return torch.stack(x, 1).float().cpu().double().numpy()

        depth = per_take([heads.points_self[:, ::4, ::4, 2] for heads in walk.heads])
        poses = per_take([world_from_cam(heads.pose.float()) for heads in walk.heads])
        true_depth = self.batch.depth[..., ::4, ::4].cpu().double().numpy()
        true_poses = (inverse(self.batch.world_from_cam[:, :1]) @ self.batch.world_from_cam).cpu().double().numpy()
        true_focal = self.batch.intrinsics[:, 0, 0].cpu().double().numpy()
        focal = walk.log_focal.float().exp().median(0).values.cpu().double().numpy()
        errors = abs(focal * max(images.shape[-2:]) / true_focal - 1) * 100
        summary = summarize(
            [
                TakeFigures(depth_figures(depth[i], true_depth[i]), pose_figures(poses[i], true_poses[i]), errors[i])
                for i in range(len(depth))
            ]
        )
        return {name: getattr(summary, name) for name in SHOWN}
