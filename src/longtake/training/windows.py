# SPDX-License-Identifier: Apache-2.0
"""Takes that are longer than what gradients go back through: drawn as a whole, kept small, cut into windows."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from longtake.synthetic.config import WorldConfig
from longtake.synthetic.textures import load_textures
from longtake.synthetic.uniforms import draw_uniforms
from longtake.synthetic.world import batch_from_uniforms
from longtake.training.shapes import Shape
from longtake.training.targets import Targets, make_window_targets


@dataclass(frozen=True, slots=True)
class Drawn:
    """B takes of N frames, 7 bytes a pixel. World = the first camera of each take."""

    pictures: Tensor  # (B, N, 3, H, W) uint8, from which the drawn values come back exactly
    depth: Tensor  # (B, N, H, W) metres
    first_from_cam: Tensor  # (B, N, 4, 4) metres
    intrinsics: Tensor  # (B, 3, 3)

    def window(self, start: Tensor, frames: int, *, first: bool = False) -> tuple[Tensor, Targets]:
        """Images (B, W, 3, H, W) in [0, 1] and targets of the W frames that begin at `start` (), int64 on the device.

        Targets are those of the whole take, in the first camera and in mean depths of the first frame. Unless it is the
        first window they begin with the frame before it, so that its first frame has a flow and a step.
        """
        own = start + torch.arange(frames, device=start.device)
        seen = own if first else torch.cat((own[:1] - 1, own))
        targets = make_window_targets(
            self.depth.index_select(1, seen),
            self.first_from_cam.index_select(1, seen),
            self.intrinsics,
            self.depth[:, 0].mean((-2, -1)),
        )
        return self.pictures.index_select(1, own).float() / 255, targets


def draw_takes(
    world: WorldConfig, shape: Shape, device: torch.device, *, fast: bool = False, compiled: bool = False
) -> Drawn:
    """Draw takes of several windows, so many at once that no more frames are drawn at a time than a window has."""
    at_once = max(1, (shape.takes * shape.window if fast or not world.chunk else world.chunk) // shape.frames)
    textures = load_textures(device, patterns=world.painted_share > 0)
    parts = []
    with torch.no_grad():
        for block in draw_uniforms(shape.takes, shape.frames, device, None).split(at_once):
            batch = batch_from_uniforms(block, world, textures, shape.frames, shape.height, shape.width, fast, compiled)
            pictures = (batch.images * 255).round().byte()
            parts.append((pictures, batch.depth, batch.world_from_cam, batch.intrinsics))
    return Drawn(*(torch.cat(part) for part in zip(*parts, strict=True)))
