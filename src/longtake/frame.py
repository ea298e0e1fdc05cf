# SPDX-License-Identifier: Apache-2.0
"""The data that flows through Longtake, as frozen dataclasses of tensors with their shapes.

    Frame -> View -> Views -> Tokens -> Exchange -> Heads -> Prediction
                                 \\-> State (carried from frame to frame)

n is the number of streams stepped at once (1 for a single take), H x W the model's image size, h x w its patch grid,
N = h*w, S the number of state tokens. `Growing` is the state of families whose memory grows.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

PATCH = 16  # pixels along a patch's side in the CroCo families; VGGT's is in its configuration


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture as a source hands it over: upright, RGB, original size."""

    image: np.ndarray  # (H0, W0, 3) uint8 RGB
    time: float  # seconds since the start of the source
    index: int  # position in the source, counted before stride and start
    name: str = ""  # file name, or the source's name and the index
    intrinsics: np.ndarray | None = None  # (3, 3) in pixels of image, where the camera is known


@dataclass(frozen=True, slots=True)
class PixelMap:
    """How original pixels became model pixels: resized by `scale`, then cropped at `offset`.

    Pixel centres are integers: u_model = (u + 0.5) * scale_x - 0.5 - offset_x, and the same for v.
    """

    original_size: tuple[int, int]  # (width, height) of the upright original
    size: tuple[int, int]  # (width, height) of the model's image
    scale: tuple[float, float]  # (x, y) model pixels per original pixel
    offset: tuple[float, float]  # (x, y) model pixels cut off at the left and the top

    def to_original(self, intrinsics: np.ndarray) -> np.ndarray:
        """Map a 3x3 camera matrix in model pixels to original pixels."""
        (sx, sy), (ox, oy) = self.scale, self.offset
        k = np.array(intrinsics, dtype=np.float64)
        k[0, 2] = (k[0, 2] + ox + 0.5) / sx - 0.5
        k[1, 2] = (k[1, 2] + oy + 0.5) / sy - 0.5
        k[0, 0], k[0, 1], k[1, 1] = k[0, 0] / sx, k[0, 1] / sx, k[1, 1] / sy
        return k

    def to_model(self, intrinsics: np.ndarray) -> np.ndarray:
        """Map a 3x3 camera matrix in original pixels to model pixels."""
        (sx, sy), (ox, oy) = self.scale, self.offset
        k = np.array(intrinsics, dtype=np.float64)
        k[0, 2] = (k[0, 2] + 0.5) * sx - 0.5 - ox
        k[1, 2] = (k[1, 2] + 0.5) * sy - 0.5 - oy
        k[0, 0], k[0, 1], k[1, 1] = k[0, 0] * sx, k[0, 1] * sx, k[1, 1] * sy
        return k


@dataclass(frozen=True, slots=True)
class Views:
    """n views of one size, one per stream, as the model takes them. A view has an image, a ray map, or both."""

    image: Tensor | None = None  # (n, 3, H, W), RGB in [-1, 1]
    rays: Tensor | None = None  # (n, 6, H, W): origin xyz, direction xyz in the world frame
    has_image: Tensor | None = None  # (n,) bool; None: all have one if `image` is given
    has_rays: Tensor | None = None  # (n,) bool; None: all have one if `rays` is given

    @property
    def tensor(self) -> Tensor:
        tensor = self.image if self.image is not None else self.rays
        if tensor is None:
            raise ValueError("Views needs an image, a ray map, or both")
        return tensor


@dataclass(frozen=True, slots=True)
class Tokens:
    """What a frame becomes: features on the patch grid, row-major."""

    features: Tensor  # (n, N, D)
    positions: Tensor  # (N, 2) integer (row, column)
    size: tuple[int, int]  # (H, W) of the image
    has_image: Tensor  # (n,) bool: views without one never write
    skips: tuple[Tensor, ...] = ()  # finer maps for the heads, (n, C, H/2, W/2) and so on, where a tokenizer has them


@dataclass(frozen=True, slots=True)
class Stats:
    """What one exchange tells an update rule. The first three and `heads` are None unless the rule asked for them.

    Logits are those of the state's cross-attention over the image, scaled and rotated, before the softmax. No statistic
    needs the attention map of a layer or a head. The image tokens are there anyway and cost nothing.
    """

    mean_logit: Tensor | None = None  # (n, S): mean over layers, heads and image tokens, pose token included
    row_entropy: Tensor | None = None  # (n, S): mean over layers and heads of the softmax's entropy over patches, nats
    mean_map: Tensor | None = None  # (n, S, N): mean over layers and heads of the logits to each patch
    features: Tensor | None = None  # (n, N, D): what the encoder made of the patches
    grid: tuple[int, int] = (0, 0)  # (h, w) of the patches, h * w = N
    image_in: Tensor | None = None  # (n, 1 + N, E): pose token and embedded patches, as the decoder got them
    image_out: Tensor | None = None  # (n, 1 + N, E): the same after decoding, normed
    heads: Heads | None = None  # the view's own outputs: pose, points, confidence


@dataclass(frozen=True, slots=True)
class Exchange:
    """The one pass in which memory and frame read each other."""

    layers: tuple[Tensor, ...]  # image tokens at the heads' hooks: A (n, N, D), B, C (n, N, E), Z (n, 1 + N, E)
    proposal: Tensor  # (n, S, E) what the state would become if overwritten
    pose_memory: Tensor  # (n, M, P2) written pose memory
    pose_token_in: Tensor  # (n, E)
    stats: Stats
    tokens: Tokens


@dataclass(frozen=True, slots=True)
class Heads:
    """Raw outputs of the heads for n views, before poses are chained. World = the frame of the chunk's first view."""

    points_self: Tensor  # (n, H, W, 3) in the view's own camera
    confidence_self: Tensor  # (n, H, W) >= 1
    points_world: Tensor  # (n, H, W, 3) from the world head, not from the pose
    confidence_world: Tensor  # (n, H, W) >= 1
    pose: Tensor  # (n, 7): translation xyz and quaternion wxyz of world_from_cam
    color: Tensor | None = None  # (n, H, W, 3) in [-1, 1]
    intrinsics: Tensor | None = (
        None  # (n, 3, 3) in pixels, where a head predicts them; else they are fitted to the points
    )
    written: Tensor | None = None  # (n,) mean rate at which the view was written to the memory, where a rule says so
    metric_scale: Tensor | None = None  # (n,) metres in one unit of the points, where a head says so

    def map(self, function: Callable[[Tensor], Tensor]) -> Heads:
        """Apply a function to every tensor there is."""
        named = ((f.name, getattr(self, f.name)) for f in fields(self))
        return Heads(**{name: function(tensor) for name, tensor in named if tensor is not None})


@dataclass(frozen=True, slots=True)
class Flags:
    """What happens to each of the n streams in this step."""

    active: Tensor  # (n,) bool: a view arrived
    update: Tensor  # (n,) bool: the view may write
    reset: Tensor  # (n,) bool: start over after this view

    @classmethod
    def plain(cls, n: int, device: torch.device | str = "cpu", *, update: bool = True, reset: bool = False) -> Self:
        """Flags for n streams that all got a view."""

        def full(value: bool) -> Tensor:
            return torch.full((n,), value, dtype=torch.bool, device=device)

        return cls(active=full(True), update=full(update), reset=full(reset))


@dataclass(frozen=True, slots=True)
class Policy:
    """How the loop treats resets and missing inputs: streaming by default, or as the published plain forward does."""

    restart_after_reset: bool = True  # the view after a reset is a first view: learned pose token, rate 1
    fill_missing: bool = False  # learned tokens stand in for an absent image or ray map


@dataclass(frozen=True, slots=True)
class State:
    """A recurrent stream between two frames: tensors only, so it can be saved, moved, and counted in bytes."""

    tokens: Tensor  # (n, S, E) fast weights
    pose_memory: Tensor  # (n, M, P2)
    seen: Tensor  # (n,) bool: False until the first view after a start or a reset
    world_from_chunk: Tensor  # (n, 4, 4): pose chain over the resets so far
    rule: Mapping[str, Tensor] = field(default_factory=dict)  # the rule's buffers, first axis n

    def with_(self, **changes: Any) -> State:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name; rule buffers are named `rule.NAME`."""
        named = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "rule"}
        return named | {f"rule.{name}": tensor for name, tensor in self.rule.items()}

    @classmethod
    def from_tensors(cls, named: Mapping[str, Tensor]) -> State:
        """Build a state from what `tensors` returned."""
        rule = {name.removeprefix("rule."): tensor for name, tensor in named.items() if name.startswith("rule.")}
        return cls(**{name: tensor for name, tensor in named.items() if not name.startswith("rule.")}, rule=rule)

    def map(self, function: Any) -> State:
        """Apply a function to every tensor."""
        return State.from_tensors({name: function(tensor) for name, tensor in self.tensors().items()})

    def to(self, device: torch.device | str) -> State:
        """Move to a device."""
        return self.map(lambda tensor: tensor.to(device))

    def pick(self, index: Tensor) -> State:
        """The streams at index (k,), in that order."""
        return self.map(lambda tensor: tensor[index])

    def put(self, index: Tensor, part: State) -> State:
        """Return the whole with the streams at index (k,) taken from `part`."""
        new = part.tensors()
        return State.from_tensors(
            {name: old.index_copy(0, index, new[name].to(old.dtype)) for name, old in self.tensors().items()}
        )

    def restored(self, named: Mapping[str, Tensor]) -> State:
        """Rebuild what `tensors` gave, for the streams of this fresh state. Raises ValueError if it does not fit."""
        _fit(named, {name: (tensor.dtype, tuple(tensor.shape)) for name, tensor in self.tensors().items()})
        return State.from_tensors(named)

    @property
    def nbytes(self) -> int:
        """Bytes that all tensors take."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())


@dataclass(frozen=True, slots=True)
class Growing:
    """n streams whose memories grow, each at its own pace: tensors only, as in `State`.

    What a memory holds is its family's business; before a stream's first view it is empty.
    """

    memories: tuple[Mapping[str, Tensor], ...]  # one per stream
    world_from_chunk: Tensor  # (n, 4, 4): pose chain over the resets so far
    layout: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]  # of a memory's tensors; -1: any length. Not state

    def with_(self, **changes: Any) -> Growing:
        """Return a copy with some fields replaced."""
        return replace(self, **changes)

    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name; those of stream 3 are named `3.NAME`."""
        named = {f"{i}.{name}": tensor for i, each in enumerate(self.memories) for name, tensor in each.items()}
        return named | {"world_from_chunk": self.world_from_chunk}

    def map(self, function: Any) -> Growing:
        """Apply a function to every tensor."""
        return self.with_(
            memories=tuple({name: function(tensor) for name, tensor in each.items()} for each in self.memories),
            world_from_chunk=function(self.world_from_chunk),
        )

    def to(self, device: torch.device | str) -> Growing:
        """Move to a device."""
        return self.map(lambda tensor: tensor.to(device))

    def pick(self, index: Tensor) -> Growing:
        """The streams at index (k,), in that order."""
        memories = tuple(self.memories[i] for i in index.tolist())
        return self.with_(memories=memories, world_from_chunk=self.world_from_chunk[index])

    def put(self, index: Tensor, part: Growing) -> Growing:
        """Return the whole with the streams at index (k,) taken from `part`."""
        memories = list(self.memories)
        for i, memory in zip(index.tolist(), part.memories, strict=True):
            memories[i] = memory
        chain = self.world_from_chunk.index_copy(0, index, part.world_from_chunk)
        return self.with_(memories=tuple(memories), world_from_chunk=chain)

    def restored(self, named: Mapping[str, Tensor]) -> Growing:
        """Rebuild what `tensors` gave, for the streams of this fresh state. Raises ValueError if it does not fit."""
        chain = self.world_from_chunk
        free = {"world_from_chunk": (chain.dtype, tuple(chain.shape))}
        memories: list[dict[str, Tensor]] = []
        for i in range(len(self.memories)):
            memories.append({n.removeprefix(f"{i}."): t for n, t in named.items() if n.startswith(f"{i}.")})
            free |= {f"{i}.{name}": kind for name, kind in self.layout.items()} if memories[-1] else {}
        _fit(named, free)
        return self.with_(memories=tuple(memories), world_from_chunk=named["world_from_chunk"])

    @property
    def nbytes(self) -> int:
        """Bytes that all tensors take."""
        return sum(tensor.numel() * tensor.element_size() for tensor in self.tensors().values())


def _fit(named: Mapping[str, Tensor], layout: Mapping[str, tuple[torch.dtype, tuple[int, ...]]]) -> None:
    """Raise ValueError, with what differs, unless names, types and shapes are those of the layout; -1 is any length."""
    problems = [f"{name} is missing" for name in layout.keys() - named.keys()]
    problems += [f"{name} is unknown" for name in named.keys() - layout.keys()]
    for name in named.keys() & layout.keys():
        (dtype, shape), has = layout[name], named[name]
        lengths = zip(has.shape, shape, strict=False)
        if has.dtype != dtype or has.dim() != len(shape) or any(wanted not in (-1, own) for own, wanted in lengths):
            problems.append(f"{name} is {has.dtype} {list(has.shape)}, wanted {dtype} {list(shape)}")
    if problems:
        raise ValueError("; ".join(sorted(problems)[:5]))


@dataclass(frozen=True, slots=True)
class Prediction:
    """What one frame of one stream became. World is the first camera of the take (x right, y down, z forward)."""

    points: Tensor  # (H, W, 3) world points: world_from_cam applied to points_self; metres if is_metric
    confidence: Tensor  # (H, W) > 1, larger is surer; compare within one model only
    depth: Tensor  # (H, W) along the camera's z axis, 0 = unknown
    world_from_cam: Tensor  # (4, 4)
    intrinsics: Tensor  # (3, 3) in pixels of the depth map, centres at integers
    points_self: Tensor  # (H, W, 3) in the camera's own frame
    points_world: Tensor  # (H, W, 3) from the world head; only resets move them by a predicted pose
    confidence_world: Tensor  # (H, W)
    image: Tensor  # (H, W, 3) uint8, what the model saw
    is_metric: bool
    color: Tensor | None = None  # (H, W, 3) predicted, in [0, 1], where the model has a colour head
    pixel_map: PixelMap | None = None  # how the original frame became the model's image
    index: int = 0  # the frame's index in its source
    time: float = 0.0  # seconds
    name: str = ""
    camera: str = "head"  # where the pose comes from: head, solve, or why it could not be solved
    tracking_code: Tensor | None = None  # () int64, see `tracking`; stays on the device until it is asked for
    written: Tensor | None = None  # () mean rate at which the frame went into the memory, where an update rule says so
    metric_scale: Tensor | None = None  # () metres in one unit of the points as this frame has it, where a head says so
    revised: tuple[Prediction, ...] = ()  # new predictions of earlier frames, for families that revise

    @property
    def tracking(self) -> str:
        """Whether the frame could be followed from those before it: "ok", "weak" or "lost" (longtake.continuity)."""
        return ("ok", "weak", "lost")[0 if self.tracking_code is None else int(self.tracking_code)]

    @property
    def intrinsics_original(self) -> np.ndarray:
        """(3, 3) camera matrix in pixels of the original frame."""
        k = self.intrinsics.detach().cpu().double().numpy()
        return k if self.pixel_map is None else self.pixel_map.to_original(k)
