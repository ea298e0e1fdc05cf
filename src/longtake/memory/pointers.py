# SPDX-License-Identifier: Apache-2.0
"""The pointer memory of Point3R (arXiv 2507.02863): features that sit at points of the scene.

A frame reads the pointers with attention that knows where they are. Afterwards, when the frame's own points are known,
each of its patches is added as a new pointer, or, where an old one is near, takes that one's place. Pointers never go
away: memory grows with the scene that was seen, not with the number of frames.

Streams of a batch have as many pointers as their scenes need. Each is decoded with its own, so a batch gives what its
streams give alone; streams with equally many pointers share a pass.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from longtake.errors import CapabilityError
from longtake.frame import Exchange, Flags, Stats, Tokens
from longtake.memory.pose_memory import PoseMemory
from longtake.memory.twin import TwinLayer
from longtake.nn import Mlp, layer_norm
from longtake.nn.rope3d import BASES, rope3d_table


@dataclass(frozen=True, slots=True)
class PointerState:
    """n streams between two frames. Rows of `tokens` and `positions` beyond a stream's `count` are zeros.

    World = the frame of the stream's first view since the last reset.
    """

    tokens: Tensor  # (n, P, E) pointer features, P the largest count
    positions: Tensor  # (n, P, 3) where they sit, in the world
    count: Tensor  # (n,) int64: pointers of each stream
    patches: Tensor  # (n, N, 3) world points of the patches of the last view that was written
    size: Tensor  # (n, 2) int64 (H, W) of the stream's views; 0 before the first
    pose_memory: Tensor  # (n, M, 2E)
    seen: Tensor  # (n,) bool: False until the first view after a start or a reset is written
    world_from_chunk: Tensor  # (n, 4, 4): pose chain over the resets so far

    def with_(self, **changes: Any) -> PointerState:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def from_tensors(cls, named: Mapping[str, Tensor]) -> PointerState:
        """Build a state from what `tensors` returned."""
        return cls(**named)

    def map(self, function: Callable[[Tensor], Tensor]) -> PointerState:
        """Apply a function to every tensor."""
        return PointerState(**{name: function(tensor) for name, tensor in self.tensors().items()})

    def to(self, device: torch.device | str) -> PointerState:
        """Move to a device."""
        return self.map(lambda tensor: tensor.to(device))

    def put(self, index: Tensor, part: PointerState) -> PointerState:
        """Return the state with the streams at `index` (k,) taken from `part`, whichever of the two is longer."""
        new = part.tensors()

        def join(name: str, old: Tensor) -> Tensor:
            rows = max(old.shape[1], new[name].shape[1]) if name in _RAGGED else 0
            old, given = (_lengthen(t, rows) if name in _RAGGED else t for t in (old, new[name]))
            return old.index_copy(0, index, given.to(old.dtype))

        return PointerState(**{name: join(name, old) for name, old in self.tensors().items()})

    @property
    def nbytes(self) -> int:
        """Bytes that all tensors take."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())


_RAGGED = ("tokens", "positions", "patches")


class PointerMemory(nn.Module):
    """Pointers, the twin decoder that reads them, and the pose memory."""

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
        self.pose_token = nn.Parameter(torch.randn(1, 1, width) * 0.02)
        self.layers = nn.ModuleList(TwinLayer(width, memory_heads, image_heads, mlp_ratio) for _ in range(depth))
        self.memory_norm, self.image_norm = layer_norm(width), layer_norm(width)
        self.pose_memory = PoseMemory(feature_width, width, width, pose_slots, image_heads, pose_depth, mlp_ratio)
        self.key = Mlp(feature_width + width, feature_width + width, feature_width)

    def begin(self, n: int) -> PointerState:
        """The state of n streams before their first view: no pointers."""
        start = self.pose_memory.start
        precise = torch.promote_types(start.dtype, torch.float32)
        empty = start.new_zeros(n, 0, self.width)
        return PointerState(
            tokens=empty,
            positions=empty[..., :3].to(precise),
            count=torch.zeros(n, dtype=torch.int64, device=start.device),
            patches=empty[..., :3].to(precise),
            size=torch.zeros(n, 2, dtype=torch.int64, device=start.device),
            pose_memory=start.expand(n, -1, -1),
            seen=torch.zeros(n, dtype=torch.bool, device=start.device),
            world_from_chunk=torch.eye(4, dtype=precise, device=start.device).expand(n, 4, 4),
        )

    def exchange(self, state: PointerState, tokens: Tokens, *, trace: dict[str, Any] | None = None) -> Exchange:
        """Let the frames read the pointers. Nothing is proposed: decoding never changes a pointer.

        The first view of a stream reads its own patches, without positions. Later views take the patch positions of the
        view before: their own are not known yet. trace: if given (one stream only), receives both token lists.
        Raises CapabilityError for a view of another size than the stream's earlier ones.
        """
        self._check_sizes(state, tokens)
        appearance = tokens.features.mean(1)
        read = self.pose_memory.read(state.pose_memory, appearance)
        pose_token = torch.where(state.seen[:, None, None], read, self.pose_token.to(read.dtype))
        image = torch.cat((pose_token, self.embed_image(tokens.features).to(pose_token.dtype)), 1)
        fresh = self.embed_memory(tokens.features).to(image.dtype)
        groups: dict[tuple[bool, int], list[int]] = {}
        for i, (seen, count) in enumerate(zip(state.seen.tolist(), state.count.tolist(), strict=True)):
            groups.setdefault((seen, count if seen else 0), []).append(i)
        parts: list[tuple[Tensor, ...]] = []
        for (seen, count), members in groups.items():
            index = torch.tensor(members, device=image.device)
            if seen:
                memory, at = state.tokens[index, :count].to(image.dtype), state.positions[index, :count]
                before = state.patches[index, : fresh.shape[1]]
            else:
                memory = fresh[index]
                at = before = state.positions.new_zeros(len(members), fresh.shape[1], 3)  # the origin turns nothing
            if trace is not None:
                trace |= {"memory_positions": at, "image_positions": before}
            parts.append(self._decode(memory, image[index], at, before, trace))
        order = torch.tensor([i for members in groups.values() for i in members], device=image.device).argsort()
        layers = tuple(torch.cat(each)[order] for each in zip(*parts, strict=True))
        if trace is not None:
            trace["image"][0] = tokens.features
        return Exchange(
            layers=(tokens.features, *layers),
            proposal=fresh[:, :0],
            pose_memory=self.pose_memory.write(state.pose_memory, appearance, layers[-1][:, :1]),
            pose_token_in=pose_token[:, 0],
            stats=Stats(),
            tokens=tokens,
        )

    @staticmethod
    def _check_sizes(state: PointerState, tokens: Tokens) -> None:
        size = state.size.new_tensor(tokens.size)
        other = (state.size[state.seen] != size).any(-1)
        if other.any():
            height, width = state.size[state.seen][other][0].tolist()
            raise CapabilityError(
                f"a view of {tokens.size[1]} x {tokens.size[0]} pixels in a take of {width} x {height}: Point3R places "
                "a view's patches where those of the view before were. Keep one size, or reset before it changes."
            )

    def _decode(
        self, memory: Tensor, image: Tensor, at: Tensor, before: Tensor, trace: dict[str, Any] | None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Run the twin decoder over (k, P, E), (k, 1 + N, E); return the image tokens at hooks B, C and Z."""
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
        """New pointer features (n, N, E), one a patch: how it looks and what was read, plus what its points are.

        values (n, N, D): the encoded points of the patches.
        """
        looks = self.key(torch.cat((exchange.tokens.features, exchange.layers[-1][:, 1:]), -1))
        return self.embed_memory(looks + values)

    @staticmethod
    def commit(
        state: PointerState,
        exchange: Exchange,
        features: Tensor,
        patches: Tensor,
        flags: Flags,
        start: PointerState,
        *,
        merge_steps: int | None = 20,
    ) -> PointerState:
        """The state after the view, for new features (n, N, E) at patches (n, N, 3). Pure.

        merge_steps: see `merge`; None appends every patch, as in the first stage of the published training. Nothing is
        written where the view has no image, must not update, or did not arrive. Resets act after the view.
        """
        writes = flags.active & flags.update & exchange.tokens.has_image
        reset = flags.active & flags.reset
        tokens, positions = [], []
        columns = (state.seen, writes, reset, state.count)
        for i, (seen, write, over, count) in enumerate(zip(*(each.tolist() for each in columns), strict=True)):
            old = (state.positions[i, :count], state.tokens[i, :count])
            new = (patches[i].to(state.positions.dtype), features[i].to(state.tokens.dtype))
            if over:
                old = (old[0][:0], old[1][:0])
            elif write and not seen:
                old = new
            elif write and merge_steps is None:
                old = (torch.cat((old[0], new[0])), torch.cat((old[1], new[1])))
            elif write and merge_steps is not None:
                old = merge(*old, *new, merge_steps)
            positions.append(old[0])
            tokens.append(old[1])
        rows = max(len(each) for each in tokens)

        def pick(condition: Tensor, yes: Tensor, no: Tensor) -> Tensor:
            return torch.where(condition.view(-1, *[1] * (no.dim() - 1)), yes.to(no.dtype), no)

        long = max(patches.shape[1], state.patches.shape[1])
        size = state.size.new_tensor(exchange.tokens.size).expand_as(state.size)
        kept = pick(writes, _lengthen(patches, long), _lengthen(state.patches, long))
        return PointerState(
            tokens=torch.stack([_lengthen(each[None], rows)[0] for each in tokens]),
            positions=torch.stack([_lengthen(each[None], rows)[0] for each in positions]),
            count=state.count.new_tensor([len(each) for each in tokens]),
            patches=pick(reset, torch.zeros_like(kept), kept),
            size=pick(reset, start.size, pick(writes, size, state.size)),
            pose_memory=pick(reset, start.pose_memory, pick(writes, exchange.pose_memory, state.pose_memory)),
            seen=(state.seen | writes) & ~reset,
            world_from_chunk=state.world_from_chunk,
        )


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


def _lengthen(x: Tensor, rows: int) -> Tensor:
    """Append zeros along axis 1 up to `rows`."""
    return pad(x, (0, 0, 0, rows - x.shape[1]))
