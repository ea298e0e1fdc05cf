# SPDX-License-Identifier: Apache-2.0
"""VGGT (arXiv 2503.11738): all frames read each other, so each new frame revises what was said of the earlier ones.

`forward` is the published program's pass over a whole set of frames. Behind a stream, the encoder's features of earlier
frames are kept and everything after the encoder is computed again with each frame; a window bounds how many.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor, nn

from longtake.detokenize.camera_head import CameraHead
from longtake.detokenize.dpt import channels_last
from longtake.detokenize.dpt_uv import UvDptHead
from longtake.detokenize.track_head import TrackHead
from longtake.errors import CapabilityError
from longtake.families.contract import Capabilities, refuse
from longtake.families.vggt_config import VggtConfig
from longtake.frame import Flags, Growing, Heads, PixelMap, Tokens, Views
from longtake.geometry.camera import unproject
from longtake.geometry.pose import inverse, pose7_from_matrix
from longtake.geometry.pose_encoding import decode_camera
from longtake.memory.alternating import AlternatingAttention
from longtake.memory.full import ONE_SIZE, append, full_layout, read_all
from longtake.memory.keep import Keep, at_least_two
from longtake.nn import grid_positions
from longtake.tokenize.dinov2 import DinoEncoder
from longtake.tokenize.images_wide import prepare_wide

CHUNK = 8  # frames that the dense heads take at once: their maps are large
SMALLEST_ANGLE = 1e-2  # radians: where the head's view angle is clipped to 0, streams still get a finite focal length


@dataclass(frozen=True, slots=True)
class VggtOutputs:
    """What one pass over S frames of n takes says. World = the model's own, near the first frame's camera."""

    pose_rounds: Tensor  # (rounds, n, S, 9): see geometry.pose_encoding; the last round counts
    depth: Tensor  # (n, S, H, W) > 0
    confidence: Tensor  # (n, S, H, W) > 1, of the depth
    points_world: Tensor  # (n, S, H, W, 3) from the point head, not from depth and pose
    confidence_world: Tensor  # (n, S, H, W) > 1
    layers: Mapping[int, Tensor]  # (n, S, tokens, 2C) by layer


@dataclass(frozen=True, slots=True)
class Reading:
    """What one pass over a stream's memory and its new frame gives."""

    layers: Mapping[int, Tensor]  # (1, T, tokens, 2C) by layer; the last of the T frames is the new one
    pose_rounds: Tensor  # (rounds, 1, T, 9)
    memory: Mapping[str, Tensor]  # what is kept if the frame may write
    size: tuple[int, int]  # (H, W)


class Vggt(nn.Module):
    """DINOv2 features, alternating attention, and heads for cameras, depth, points and tracks."""

    capabilities: ClassVar[Capabilities] = Capabilities(
        memory="full",
        cost="frame t reads all t frames again: time and working memory grow with t, attention with t squared",
        bounded=False,
        batch=False,
        revises=True,
        one_size=ONE_SIZE,
        tracks=True,
    )

    def __init__(self, config: VggtConfig) -> None:
        super().__init__()

        c = self.config = config
        self.encoder = DinoEncoder(
            c.image_size, c.patch, c.width, c.encoder_depth, c.encoder_heads, c.registers, c.mlp_ratio
        )
        self.memory = AlternatingAttention(c.width, c.depth, c.heads, c.registers, c.mlp_ratio, c.rope_base)
        self.camera_head = CameraHead(2 * c.width, c.camera_heads, c.camera_depth, c.camera_rounds, c.mlp_ratio)
        self.depth_head = UvDptHead(2 * c.width, c.dpt_width, c.dpt_layers, 2, c.dpt_last)
        self.point_head = UvDptHead(2 * c.width, c.dpt_width, c.dpt_layers, 4, c.dpt_last)
        self.track_head = self._build_track_head(c)

    @staticmethod
    def _build_track_head(c: VggtConfig) -> TrackHead | None:
        if not c.track_features:
            return None
        return TrackHead(
            2 * c.width,
            c.track_features,
            c.track_layers,
            hidden=c.track_hidden,
            depth=c.track_depth,
            heads=c.track_heads,
            levels=c.track_levels,
            radius=c.track_radius,
            rounds=c.track_rounds,
            virtual=c.track_virtual,
            max_scale=c.track_scale,
            stride=c.track_stride,
            down=c.track_down,
        )

    # --- the pass over a whole set of frames ---

    @property
    def wanted(self) -> set[int]:
        """The layers that the heads read."""
        return {*self.config.dpt_read, self.config.depth - 1}

    def encode(self, images: Tensor) -> Tensor:
        """RGB (n, S, 3, H, W) in [0, 1], sides multiples of the patch -> features (n, S, h * w, C)."""
        return self.encoder(images.flatten(0, 1)).unflatten(0, images.shape[:2])

    def forward(self, images: Tensor, *, all_layers: bool = False) -> VggtOutputs:
        """All frames at once: RGB (n, S, 3, H, W) in [0, 1] -> everything but tracks. all_layers: keep every layer."""
        size = (int(images.shape[-2]), int(images.shape[-1]))
        tokens = self.memory.enter(self.encode(images), first=True)
        wanted = set(range(self.config.depth)) if all_layers else self.wanted
        layers = self.memory(tokens, self.grid(size), wanted, causal=self.config.causal)
        return self.outputs(layers, size, self.cameras(layers))

    def grid(self, size: tuple[int, int]) -> tuple[int, int]:
        """Patches (h, w) of an image (H, W)."""
        return size[0] // self.config.patch, size[1] // self.config.patch

    def cameras(self, layers: Mapping[int, Tensor]) -> Tensor:
        """Pose encodings (rounds, n, S, 9) from the camera tokens of the last layer."""
        return self.camera_head(layers[self.config.depth - 1][:, :, 0], causal=self.config.causal)

    def outputs(
        self, layers: Mapping[int, Tensor], size: tuple[int, int], pose_rounds: Tensor, *, chunk: int = CHUNK
    ) -> VggtOutputs:
        """Run the dense heads, which see each frame on its own, on `chunk` frames at once."""
        read = self._patches(layers)
        n, frames = read[0].shape[:2]
        flat = [each.flatten(0, 1) for each in read]
        made: list[tuple[Tensor, Tensor]] = []
        for begin in range(0, n * frames, chunk):
            part = [each[begin : begin + chunk] for each in flat]
            made.append(
                (
                    channels_last(self.depth_head(part, self.grid(size), size)),
                    channels_last(self.point_head(part, self.grid(size), size)),
                )
            )
        depth, points = (torch.cat(each).unflatten(0, (n, frames)) for each in zip(*made, strict=True))
        far = points[..., :3]
        return VggtOutputs(
            pose_rounds=pose_rounds,
            depth=depth[..., 0].exp(),
            confidence=1 + depth[..., 1].exp(),
            points_world=far.sign() * torch.expm1(far.abs()),
            confidence_world=1 + points[..., 3].exp(),
            layers=layers,
        )

    def tracks(
        self, layers: Mapping[int, Tensor], size: tuple[int, int], points: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Follow points (n, K, 2), pixels (x, y) of frame 0, through the frames whose layers are given.

        Returns tracks (rounds, n, S, K, 2) in pixels, visibility and confidence (n, S, K) in [0, 1].
        """
        assert self.track_head is not None
        return self.track_head(self._patches(layers), self.grid(size), size, points)

    def _patches(self, layers: Mapping[int, Tensor]) -> Sequence[Tensor]:
        return [layers[i][:, :, self.memory.special :] for i in self.config.dpt_read]

    # --- behind a stream ---

    def prepare(self, image: np.ndarray) -> tuple[np.ndarray, PixelMap]:
        """As the published loader: the width becomes config.size, a height beyond it is cut off at the centre."""
        return prepare_wide(image, self.config.size, patch=self.config.patch)

    def writer(self, rule: Any = None, *, window: int | None = None, revise: bool | None = None, **others: Any) -> Keep:
        """All frames are read, or with a window the first and the last window - 1. Raises CapabilityError."""
        rule = None if rule == Keep.name else rule
        refuse("full attention", "its memory is every frame; window= bounds it.", rule=rule, **others)
        at_least_two("window", window)
        return Keep(window=window, revise=revise is not False)

    def begin(self, n: int, writer: Any = None) -> Growing:
        """The state of n streams before their first view: nothing but the pose chain."""
        weight = self.memory.camera_token
        precise = torch.promote_types(weight.dtype, torch.float32)
        chain = torch.eye(4, dtype=precise, device=weight.device).expand(n, 4, 4)
        return Growing(memories=({},) * n, world_from_chunk=chain, layout=self.layout(weight.dtype))

    def layout(self, dtype: torch.dtype) -> Mapping[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Names, types and shapes of what is kept of one stream; -1 is any length."""
        return full_layout(self.config.width, dtype)

    def tokenize(self, views: Views) -> Tokens:
        """Encode n views of one size. Stateless. Raises CapabilityError without an image."""
        if views.image is None or views.rays is not None:
            raise CapabilityError("this family sees images only: views need one, and no ray maps")
        size = (int(views.image.shape[-2]), int(views.image.shape[-1]))
        features = self.encoder(views.image * 0.5 + 0.5)
        everywhere = torch.ones(len(features), dtype=torch.bool, device=features.device)
        positions = grid_positions(*self.grid(size), features.device)
        return Tokens(features=features, positions=positions, size=size, has_image=everywhere)

    def exchange(self, state: Growing, tokens: Tokens, keep: Keep) -> Reading:
        """All kept frames and the new one read each other. One stream."""
        (memory,) = state.memories
        layers, features = read_all(self.memory, memory, tokens, self.grid(tokens.size), self.wanted)
        pose_rounds = self.cameras(layers)
        if not keep.revise:
            layers = {i: each[:, -1:] for i, each in layers.items()}
            pose_rounds = pose_rounds[:, :, -1:]
        return Reading(layers, pose_rounds, append(features, tokens.size, keep), tokens.size)

    def detokenize(self, reading: Reading) -> Heads:
        """Depth, cameras and points of the T frames read, the new one last. World = the model's own."""
        said = self.heads(self.outputs(reading.layers, reading.size, reading.pose_rounds), reading.size)
        return said.map(lambda each: each[0])

    def heads(self, said: VggtOutputs, size: tuple[int, int]) -> Heads:
        """What S frames of n takes say as the loop knows it: (n, S, ...). A closed view angle is opened a little."""
        encoding = said.pose_rounds[-1].to(torch.promote_types(said.depth.dtype, torch.float32))
        encoding = torch.cat((encoding[..., :7], encoding[..., 7:].clamp_min(SMALLEST_ANGLE)), -1)
        cam_from_world, intrinsics = decode_camera(encoding, *size)
        return Heads(
            points_self=unproject(said.depth, intrinsics),
            confidence_self=said.confidence,
            points_world=said.points_world,
            confidence_world=said.confidence_world,
            pose=pose7_from_matrix(inverse(cam_from_world)),
            intrinsics=intrinsics,
        )

    def commit(self, state: Growing, reading: Reading, keep: Keep, flags: Flags) -> Growing:
        """The state after the view: appended to, as it was, or empty after a reset. Pure."""
        memory = reading.memory if bool(flags.update.all()) else state.memories[0]
        return state.with_(memories=({} if bool(flags.reset.all()) else memory,))

    def step(
        self, state: Growing, tokens: Tokens, keep: Keep, flags: Flags, *, show: bool = True
    ) -> tuple[Heads | None, Growing]:
        """One view of one stream."""
        reading = self.exchange(state, tokens, keep)
        return self.detokenize(reading) if show else None, self.commit(state, reading, keep, flags)
