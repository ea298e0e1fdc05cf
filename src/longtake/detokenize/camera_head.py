# SPDX-License-Identifier: Apache-2.0
"""The camera head of the VGGT family: camera tokens of all frames -> pose encodings, refined a few times.

Every round starts from the same camera tokens, modulated by the pose of the round before (adaptive LayerNorm). What is
fed back is the raw pose, before its activation.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm, relu, silu

from longtake.nn import KeysValues, Mlp, ScaledBlock

POSE = 9  # translation, quaternion xyzw, vertical and horizontal field of view


class CameraHead(nn.Module):
    """Camera tokens (n, S, width) -> (rounds, n, S, 9): translation xyz, quaternion xyzw, FoV (vertical, horizontal).

    Translation and quaternion are of cam_from_world. The quaternion is not normalised, the angles are >= 0 radians.
    """

    def __init__(self, width: int, heads: int, depth: int, rounds: int = 4, mlp_ratio: float = 4) -> None:
        super().__init__()
        self.width, self.rounds = width, rounds
        self.token_norm, self.trunk_norm = nn.LayerNorm(width, eps=1e-5), nn.LayerNorm(width, eps=1e-5)
        self.trunk = nn.ModuleList(ScaledBlock(width, heads, mlp_ratio) for _ in range(depth))
        self.no_pose = nn.Parameter(torch.zeros(1, 1, POSE))
        self.embed_pose = nn.Linear(POSE, width)
        self.modulation = nn.Linear(width, 3 * width)
        self.pose_branch = Mlp(width, width // 2, POSE)

    def forward(self, tokens: Tensor, *, causal: bool = False) -> Tensor:
        """All frames at once. causal: a frame sees itself and earlier ones, each round the tokens of its own round."""
        frames = tokens.shape[1]
        mask = torch.ones(frames, frames, dtype=torch.bool, device=tokens.device).tril() if causal else None
        start, pose, poses = self.token_norm(tokens), None, []
        for _ in range(self.rounds):
            x = self._modulated(start, pose)
            for block in self.trunk:
                x = block(x, None, mask)
            pose = self._add(x, pose)
            poses.append(_activated(pose))
        return torch.stack(poses)

    def step(self, tokens: Tensor, past: list[KeysValues] | None) -> tuple[Tensor, list[KeysValues]]:
        """One more frame, tokens (n, 1, width): its poses (rounds, n, 1, 9), and all keys and values so far.

        Every round of every frame leaves its own keys and values behind and reads those of all rounds before it. So
        these poses differ from `forward`'s: the published streaming program works like this.
        """
        start, pose, poses = self.token_norm(tokens), None, []
        caches: list[KeysValues | None] = [None] * len(self.trunk) if past is None else list(past)
        for _ in range(self.rounds):
            x = self._modulated(start, pose)
            for i, block in enumerate(self.trunk):
                assert isinstance(block, ScaledBlock)
                x, caches[i] = block.step(x, caches[i])
            pose = self._add(x, pose)
            poses.append(_activated(pose))
        return torch.stack(poses), [cache for cache in caches if cache is not None]

    def _modulated(self, start: Tensor, pose: Tensor | None) -> Tensor:
        told = self.embed_pose(self.no_pose.expand(*start.shape[:2], -1) if pose is None else pose)
        shift, scale, gate = self.modulation(silu(told)).chunk(3, -1)
        return gate * (layer_norm(start, (self.width,), eps=1e-6) * (1 + scale) + shift) + start

    def _add(self, x: Tensor, pose: Tensor | None) -> Tensor:
        delta = self.pose_branch(self.trunk_norm(x))
        return delta if pose is None else pose + delta


def _activated(pose: Tensor) -> Tensor:
    return torch.cat((pose[..., :7], relu(pose[..., 7:])), -1)
