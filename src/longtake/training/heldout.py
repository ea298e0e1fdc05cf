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
from longtake.training.step import Learner, Walk

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
        return {name: getattr(summary, name) for name in SHOWN} | self._more(walk)

    def _more(self, walk: Walk) -> dict[str, float]:
        """What needs more than depth and poses: whether confidence is right, and metric scale.

        surest_half: error of the surest half of each take's pixels over that of all, 1 for a confidence that says
        nothing. scale_error: median error in percent of the metres that the last frame says a unit has; scale_const:
        that of the one number that suits these takes best.
        """
        said = torch.stack([heads.points_self[:, ::4, ::4, 2] for heads in walk.heads], 1).float()
        sure = torch.stack([heads.confidence_self[:, ::4, ::4] for heads in walk.heads], 1).float().flatten(1)
        error = (said / self.batch.depth[..., ::4, ::4]).log().flatten(1)
        error = (error - error.median(1, keepdim=True).values).abs()
        # Equal confidences are in no order; the noise is far below what would matter.
        noise = torch.rand(sure.shape, generator=torch.Generator().manual_seed(0)).to(sure.device)
        order = (sure + 1e-6 * noise).argsort(1, descending=True)[:, : sure.shape[1] // 2]
        more = {"surest_half": float((error.gather(1, order).mean(1) / error.mean(1)).mean())}
        scale = walk.heads[-1].metric_scale
        if scale is not None:
            true = self.batch.depth[:, 0].mean((-2, -1))
            more["scale_error"] = float((scale.float() / true - 1).abs().median()) * 100
            guesses = true[:, None] / true - 1
            more["scale_const"] = float(guesses.abs().median(1).values.min()) * 100
        return more
