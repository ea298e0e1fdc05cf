# SPDX-License-Identifier: Apache-2.0
"""The pointer memory of Point3R (arXiv 2507.02863): features that sit at points of the scene.

A frame reads the pointers with attention that knows where they are. Afterwards, when the frame's own points are known,
each of its patches is added as a new pointer, or, where an old one is near, takes that one's place. Pointers never go
away: memory grows with the scene that was seen, not with the number of frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from longtake.frame import Exchange, Stats, Tokens
from longtake.memory.keep import check_size
from longtake.memory.pose_memory import PoseMemory
from longtake.memory.twin import TwinLayer
from longtake.nn import Mlp, drawn, layer_norm
from longtake.nn.rope3d import BASES, rope3d_table

Memory = Mapping[str, Tensor]  # of one stream, see PointerMemory.layout; empty before its first view
ONE_SIZE = "Point3R places a frame's patches where those of the frame before were, so all have one size"


class PointerMemory(nn.Module):
    """Pointers, the twin decoder that reads them, and the pose memory. One stream at a time."""

    def __init__(
        self,
        feature_width: int,
        width: int,
        depth: int,
        *,
        image_heads: int,
        memory_heads: int,
        pose_slots: int = 256,
        pose_depth: int = 2,
        bases: tuple[float, ...] = BASES,
        mlp_ratio: float = 4,
    ) -> None:
        super().__init__()
        self.width, self.depth, self.bases = width, depth, bases
        self.head_dims = (width // memory_heads, width // image_heads)
        self.embed_memory = nn.Linear(feature_width, width)
        self.embed_image = nn.Linear(feature_width, width)
        self.pose_token = drawn(1, 1, width)
        self.layers = nn.ModuleList(TwinLayer(width, memory_heads, image_heads, mlp_ratio) for _ in range(depth))
        self.memory_norm, self.image_norm = layer_norm(width), layer_norm(width)
        self.pose_memory = PoseMemory(feature_width, width, width, pose_slots, image_heads, pose_depth, mlp_ratio)
        self.key = Mlp(feature_width + width, feature_width + width, feature_width)

    def layout(self, dtype: torch.dtype) -> dict[str, tuple[torch.dtype, tuple[int, ...]]]:
        """Names, types and shapes of what is kept of one stream; -1 is any length."""
        precise = torch.promote_types(dtype, torch.float32)  # places decide what is merged
        return {
            "tokens": (dtype, (1, -1, self.width)),  # pointer features
            "positions": (precise, (1, -1, 3)),  # where they sit: in the frame of the first view since a reset
            "patches": (precise, (1, -1, 3)),  # world points of the patches of the last view that was written
            "size": (torch.int64, (2,)),  # (H, W) of the stream's views
            "pose_memory": (dtype, (1, *self.pose_memory.start.shape[1:])),
        }

    def exchange(self, memory: Memory, tokens: Tokens, *, trace: dict[str, Any] | None = None) -> Exchange:
        """Let one view (n = 1) read the pointers. Nothing is proposed: decoding never changes a pointer.

        The first view of a stream reads its own patches, without positions. Later views take the patch positions of the
        view before: their own are not known yet. trace: if given, receives the token lists and the positions.
        Raises CapabilityError for a view of another size than the stream's earlier ones.
        """
        features = tokens.features
        appearance = features.mean(1)
        check_size(memory, tokens.size, ONE_SIZE)
        if memory:
            pose_memory = memory["pose_memory"]
            pose_token = self.pose_memory.read(pose_memory, appearance)
            stored, at, before = memory["tokens"], memory["positions"], memory["patches"]
        else:
            pose_memory, pose_token = self.pose_memory.start, self.pose_token
            stored = self.embed_memory(features)
            at = before = torch.zeros_like(stored[..., :3])  # the origin turns nothing
        image = torch.cat((pose_token, self.embed_image(features).to(pose_token.dtype)), 1)
        layers = self._decode(stored.to(image.dtype), image, at, before, trace)
        if trace is not None:
            trace["image"][0] = features
            trace |= {"memory_positions": at, "image_positions": before}
        return Exchange(
            layers=(features, *layers),
            proposal=stored[:, :0],
            pose_memory=self.pose_memory.write(pose_memory, appearance, layers[-1][:, :1]),
            pose_token_in=pose_token[:, 0],
            stats=Stats(),
            tokens=tokens,
        )

    def _decode(
        self, memory: Tensor, image: Tensor, at: Tensor, before: Tensor, trace: dict[str, Any] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the twin decoder over (1, P, E), (1, 1 + N, E); return the image tokens at hooks B, C and Z."""
        memory_tables, image_tables = (
            (
                rope3d_table(at, head_dim, self.image_norm.weight.dtype, self.bases),
                rope3d_table(before, head_dim, self.image_norm.weight.dtype, self.bases, lead=True),
            )
            for head_dim in self.head_dims
        )
        memories, images = [memory], [image]
        for number, layer in enumerate(self.layers, 1):
            assert isinstance(layer, TwinLayer)
            if number == self.depth and trace is None:  # what the last layer would do to the pointers, nothing reads
                image, _ = layer.image(image, memory, image_tables[1], image_tables[0])
            else:
                memory, image, _ = layer(memory, image, memory_tables, image_tables)
                memories.append(memory)
            images.append(image)
        final = self.image_norm(image)
        if trace is not None:
            trace |= {"memory": [*memories[:-1], self.memory_norm(memory)], "image": [*images[:-1], final]}
        second, third = (images[self.depth * quarters // 4][:, 1:] for quarters in (2, 3))
        return second, third, final

    def describe(self, exchange: Exchange, values: Tensor) -> Tensor:
        """New pointer features (1, N, E), one a patch: how it looks and what was read, plus what its points are.

        values (1, N, D): the encoded points of the patches.
        """
        looks = self.key(torch.cat((exchange.tokens.features, exchange.layers[-1][:, 1:]), -1))
        return self.embed_memory(looks + values)

    def write(
        self, memory: Memory, exchange: Exchange, features: Tensor, patches: Tensor, steps: int | None = 20
    ) -> Memory:
        """The memory after the view, for new features (1, N, E) at patches (1, N, 3). Pure.

        steps: see `merge`; None appends every patch, as in the first stage of the published training.
        """
        dtype = self.embed_memory.weight.dtype
        features, patches = features.to(dtype), patches.to(torch.promote_types(dtype, torch.float32))
        tokens, positions = features, patches
        if memory and steps is None:
            tokens, positions = (
                torch.cat(each, 1) for each in ((memory["tokens"], features), (memory["positions"], patches))
            )
        elif memory and steps is not None:
            old = memory["positions"][0], memory["tokens"][0]
            positions, tokens = (each[None] for each in merge(*old, patches[0], features[0], steps))
        return {
            "tokens": tokens,
            "positions": positions,
            "patches": patches,
            "size": torch.tensor(exchange.tokens.size, device=tokens.device),
            "pose_memory": exchange.pose_memory.to(dtype),
        }


def merge_distance(positions: Tensor, new_positions: Tensor, steps: int = 20) -> Tensor:
    """The diagonal of a cell whose sides are the extent of both sets (P, 3), (N, 3) together / steps: a scalar."""
    both = torch.cat((positions, new_positions))
    return ((both.amax(0) - both.amin(0)) / steps).norm()


def merge(
    positions: Tensor, features: Tensor, new_positions: Tensor, new_features: Tensor, steps: int = 20
) -> tuple[Tensor, Tensor]:
    """Merge new pointers (N, 3), (N, E) into the old (P, 3), (P, E), P > 0; return positions and features.

    A new pointer at least `merge_distance` away from the nearest old one is appended. The others are assigned to their
    nearest: an old pointer with some takes their mean place and feature, and its own are forgotten. Old ones keep their
    order. Decisions look at the old pointers only, not at those appended by this view.
    """
    # Differences, not the expansion into products, whose rounding would decide near the threshold.
    distances = torch.cdist(new_positions, positions, compute_mode="donot_use_mm_for_euclid_dist")
    distance, nearest = distances.min(1)
    far = distance >= merge_distance(positions, new_positions, steps)
    hit, of = nearest[~far].unique(return_inverse=True)
    # One product instead of scattered additions, whose order is not fixed on a GPU.
    shares = (of == torch.arange(len(hit), device=of.device)[:, None]).to(features.dtype)  # (U, M)
    shares = shares / shares.sum(1, keepdim=True)
    place = (shares.to(positions.dtype)[..., None] * new_positions[~far]).sum(1)
    positions = positions.index_copy(0, hit, place)
    features = features.index_copy(0, hit, shares @ new_features[~far])
    return torch.cat((positions, new_positions[far])), torch.cat((features, new_features[far]))
