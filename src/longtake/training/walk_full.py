# SPDX-License-Identifier: Apache-2.0
"""Training of the families that attend to other frames: one pass over a whole take, as a stream would end up saying it.

With full attention that is what the stream says of all frames when the last one has come. With causal attention it is
what it says of each frame as it comes: the dense outputs are those of a masked pass, and the camera head, whose cache
works differently (see `detokenize.camera_head`), is stepped as the stream does it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from longtake.errors import CapabilityError
from longtake.families.vggt import SMALLEST_ANGLE, Vggt
from longtake.frame import PATCH, State
from longtake.nn import KeysValues, ScaledBlock
from longtake.training.losses import FlowHead
from longtake.training.step import Learner, Walk

ANGLE = 1.0  # radians: the view angle before training; the activation has no gradient at 0 and below
WIDEST = 3.0  # radians: beyond it the focal length says nothing about the angle


class FullLearner(Learner):
    """A VGGT-shaped model and its training-only flow head. Rules and states have no meaning here."""

    family: ClassVar[str] = "vggt"
    looks: ClassVar[Mapping[str, bool]] = {"append": False}
    carries: ClassVar[bool] = False
    captured: ClassVar[bool] = False  # its tables come from the host; one pass has few kernels anyway

    def __init__(self, model: Vggt) -> None:
        """Raises CapabilityError for patches of another size than the flow head's, and for a track head."""
        nn.Module.__init__(self)
        if model.config.patch != PATCH or model.track_head is not None:
            raise CapabilityError(f"training needs patches of {PATCH} pixels and no track head (track_features=0)")
        self.model = model  # type: ignore[assignment]  (what walks it is here)
        self.flow = FlowHead(2 * model.config.width)
        with torch.no_grad():
            for part in model.modules():
                if isinstance(part, ScaledBlock):  # 0.01 is for fine-tuning: from nothing, every block counts in full
                    part.scale1.fill_(1.0)
                    part.scale2.fill_(1.0)
            last = model.camera_head.pose_branch.fc2  # added once a round: a camera at rest, ANGLE wide
            last.weight.mul_(0.1)
            last.bias.copy_(torch.tensor([0, 0, 0, 0, 0, 0, 1, ANGLE, ANGLE]) / model.camera_head.rounds)

    def begin_confidence(self, confidence: float) -> None:
        """Raises CapabilityError: there are no weights of these models whose confidence would have to."""
        raise CapabilityError("the confidence of a VGGT-shaped model cannot be begun anew; leave --new-confidence out")

    def compile_parts(self) -> None:
        """Raises CapabilityError: nothing here is compiled."""
        raise CapabilityError("a VGGT-shaped model is trained without --compiled; leave it out")

    def walk(self, images: Tensor, rules: Tensor, state: State | None = None, *, filtered: bool = False) -> Walk:
        """images (B, T, 3, H, W) in [0, 1] -> what a stream would say in the end, differentiable."""
        model: Vggt = self.model  # type: ignore[assignment]
        takes, frames, _, height, width = images.shape
        size = (height, width)
        grid = model.grid(size)
        tokens = model.memory.enter(model.encode(images), first=True)
        layers = model.memory(tokens, grid, model.wanted, causal=model.config.causal)
        rounds = self._cameras(model, layers)
        said = model.heads(model.outputs(layers, size, rounds, chunk=takes * frames), size)
        angle = rounds[-1, ..., 8].float().clamp(SMALLEST_ANGLE, WIDEST)  # (B, T), of the width
        log_focal = math.log(width / 2 / max(size)) - torch.tan(angle / 2).log()
        final = layers[model.config.depth - 1][:, :, model.memory.special :]  # (B, T, N, 2C)
        return Walk(
            heads=tuple(said.map(lambda each, t=t: each[:, t]) for t in range(frames)),
            log_focal=log_focal.transpose(0, 1),
            flow=tuple(self.flow(final[:, t], grid) for t in range(frames)),
            rate=torch.ones(frames, takes, device=images.device),
        )

    @staticmethod
    def _cameras(model: Vggt, layers: Mapping[int, Tensor]) -> Tensor:
        """Pose encodings (rounds, B, T, 9)."""
        if not model.config.causal:
            return model.cameras(layers)
        tokens = layers[model.config.depth - 1][:, :, 0]
        past: list[KeysValues] | None = None
        rounds = []
        for t in range(tokens.shape[1]):
            each, past = model.camera_head.step(tokens[:, t : t + 1], past)
            rounds.append(each)
        return torch.cat(rounds, 2)
