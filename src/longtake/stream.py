# SPDX-License-Identifier: Apache-2.0
"""The one loop that every family shares.

`absorb` is the loop's body on tensors: training, conformance and streaming all run it. `Streams` wraps it for people:
frames in, predictions out, several takes at once, resets with the overlap frame, states that can be saved.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from longtake.continuity.joining import check_join, join_chunks, split_scale
from longtake.continuity.tracking import begin_tracking, track
from longtake.continuity.trigger import ResetTrigger, begin_trigger, pull
from longtake.errors import CheckpointError, InputError, OutputError
from longtake.families.cut3r import STREAMING, Cut3r
from longtake.files import save_tensors
from longtake.frame import (
    PATCH,
    Exchange,
    Flags,
    Frame,
    Heads,
    PixelMap,
    Policy,
    Prediction,
    State,
    Tokens,
    Views,
)
from longtake.geometry.camera import intrinsics_from_focal
from longtake.geometry.focal import focal_weiszfeld
from longtake.geometry.pose import transform, world_from_cam
from longtake.rules import Rule, get_rule
from longtake.tokenize.images import prepare, to_tensor

FORMAT = "longtake-state-1"


def absorb(
    model: Cut3r,
    state: State,
    tokens: Tokens,
    rule: Rule,
    flags: Flags,
    policy: Policy = STREAMING,
    *,
    careful: dict[str, Tensor] | None = None,
    **options: Any,
) -> tuple[Exchange, State]:
    """One view of each stream: exchange, then commit. The view's own outputs come from the exchange.

    careful: if given, streams whose proposal is not finite do not write, and it receives the `rate` (n,) at which each
    stream was written, its mean over tokens.
    """
    exchange = model.exchange(state, tokens, rule, **options)
    if careful is None:
        return exchange, model.commit(state, exchange, rule, flags, policy)
    flags = replace(flags, update=flags.update & finite_streams(exchange.proposal, exchange.pose_memory))
    new = model.commit(state, exchange, rule, flags, policy, trace=careful)
    rate = torch.where(state.seen, careful["rate"].float().mean((1, 2)), 1)
    careful["rate"] = torch.where(flags.active & flags.update & tokens.has_image, rate, 0)
    return exchange, new


def finite_streams(*tensors: Tensor) -> Tensor:
    """(n,) bool: every number of the stream is finite in all tensors (n, ...)."""
    return torch.stack([tensor.isfinite().flatten(1).all(1) for tensor in tensors]).all(0)


class Streams:
    """n takes stepped together. Each has its own state, resets and frame counter."""

    def __init__(
        self,
        model: Cut3r,
        n: int,
        *,
        rule: str | Rule = "ttt3r",
        reset_every: int | None = None,
        reset_when: ResetTrigger | None = None,
        join: str = "exact",
        name: str = "",
    ) -> None:
        if n < 1:
            raise InputError(f"got {n} streams; at least one is needed")
        if reset_every is not None and reset_every < 1:
            raise InputError(f"reset_every={reset_every}; give the number of frames between resets, or None for never")
        self.model = model.eval()
        self.rule = get_rule(rule)
        self.reset_every = reset_every
        self.reset_when = reset_when
        self.join = check_join(join)
        self.model_name = name
        self.frames = [0] * n  # frames shown so far, per stream
        with torch.no_grad():
            state = model.begin(n, self.rule)
        watch = begin_tracking(n, state.tokens.device)
        if reset_when is not None:
            watch |= begin_trigger(n, state.tokens.device)
        self.state = state.with_(watch=watch)

    @property
    def device(self) -> torch.device:
        """Where the state lives."""
        return self.state.tokens.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return self.state.tokens.dtype

    @property
    def state_bytes(self) -> int:
        """Bytes kept between frames; constant for ever."""
        return self.state.nbytes

    def describe(self) -> dict[str, Any]:
        """What runs: model, rule, device, precision, resets."""
        return {
            "model": self.model_name,
            "rule": self.rule.name,
            "streams": len(self.frames),
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "reset_every": self.reset_every,
            "reset_when": None if self.reset_when is None else asdict(self.reset_when),
            "join": self.join,
            "state_bytes": self.state_bytes,
        }

    def step(
        self, frames: Sequence[Frame | np.ndarray | None], *, update: bool = True, reset: Sequence[bool] | bool = False
    ) -> list[Prediction | None]:
        """One frame of each stream (None: that stream gets none this time) -> its prediction.

        update=False looks without writing. reset starts a stream over after its frame: the frame is fed once more as
        the first of the new chunk and the poses are chained through it, so the world stays the take's first camera.
        With `reset_when` a trigger does the same a frame after its cause; `join` says how the chunks meet.
        update=False with a reset leaves a new chunk that has seen nothing, as in the published program: frames after it
        are lost.
        """
        if len(frames) != len(self.frames):
            raise InputError(
                f"got {len(frames)} frames for {len(self.frames)} streams; give None for those without one"
            )
        resets = [bool(reset)] * len(frames) if isinstance(reset, (bool, np.bool_)) else list(reset)
        if len(resets) != len(frames):
            raise InputError(f"got {len(resets)} resets for {len(frames)} streams; give one bool for all, or one each")
        if self.reset_when is not None:  # decided by the frames before this one: nothing is waited for
            resets = [a or b for a, b in zip(resets, self.state.watch["due"].tolist(), strict=True)]
        prepared = [None if frame is None else self._prepare(frame, i) for i, frame in enumerate(frames)]
        predictions: list[Prediction | None] = [None] * len(frames)
        sizes = {p.image.shape for p in prepared if p is not None}
        for size in sorted(sizes):  # one pass per image size; usually one
            members = [i for i, p in enumerate(prepared) if p is not None and p.image.shape == size]
            group = [p for p in (prepared[i] for i in members) if p is not None]
            due = [resets[i] or self._due(i) for i in members]
            for i, prediction in zip(members, self._step_group(members, group, update, due), strict=True):
                predictions[i] = prediction
        return predictions

    def query(self, rays: Tensor) -> Heads:
        """Read the state at unseen views without writing: ray maps (n, 6, H, W) in the chunk's world frame -> outputs.

        Needs a model with a ray-map encoder. The pose token always comes from the pose memory. Raises InputError for
        another shape, CapabilityError where the model has no such encoder.
        """
        n, patch = len(self.frames), PATCH
        if rays.dim() != 4 or rays.shape[:2] != (n, 6) or rays.shape[2] % patch or rays.shape[3] % patch:
            raise InputError(
                f"got ray maps of shape {tuple(rays.shape)}; wanted ({n}, 6, H, W) with H and W multiples of {patch}"
            )
        with torch.no_grad():
            tokens = self.model.tokenize(Views(rays=rays.to(self.device, self.dtype)))
            recall = torch.ones_like(self.state.seen)
            return self.model.detokenize(self.model.exchange(self.state, tokens, self.rule, recall=recall))

    def _due(self, i: int) -> bool:
        return self.reset_every is not None and (self.frames[i] + 1) % self.reset_every == 0

    def _prepare(self, frame: Frame | np.ndarray, i: int) -> _Prepared:
        if not isinstance(frame, Frame):
            frame = Frame(image=np.asarray(frame), time=float(self.frames[i]), index=self.frames[i])
        config = self.model.config
        image, pixel_map = prepare(
            frame.image, config.image_size, square_ok=config.square_ok, short_side_crop=config.square_crop
        )
        return _Prepared(frame, image, pixel_map)

    @torch.no_grad()
    def _step_group(
        self, members: list[int], group: list[_Prepared], update: bool, due: list[bool]
    ) -> list[Prediction]:
        whole = members == list(range(len(self.frames)))
        index = torch.tensor(members, device=self.device)
        state = self.state if whole else self.state.map(lambda tensor: tensor[index])
        images = torch.stack([to_tensor(p.image) for p in group]).to(self.device, self.dtype)
        tokens = self.model.tokenize(Views(image=images))
        plain = Flags.plain(len(members), self.device, update=update)
        resets = torch.tensor(due, device=self.device)
        careful: dict[str, Tensor] = {}
        flags = Flags(plain.active, plain.update, plain.active & resets)
        exchange, new = absorb(self.model, state, tokens, self.rule, flags, careful=careful)
        heads = self.model.detokenize(exchange)
        code, watch = track(state.watch, images, heads)
        if self.reset_when is not None:
            watch |= pull(self.reset_when, state.watch, careful["rate"], watch["sure"], code, resets)
        predictions = _predictions(heads, state.world_from_chunk, group, self.model.config.is_metric, code, self.join)
        if any(due):  # the overlap: the same views again, as the first of their new chunks
            overlap = Flags(resets, plain.update, torch.zeros_like(resets))
            again, new = absorb(self.model, new, tokens, self.rule, overlap, careful=careful)
            after = None if self.join == "exact" else self.model.detokenize(again)
            chain = join_chunks(self.join, state.world_from_chunk, heads, after, resets)
            new = new.with_(world_from_chunk=chain)
        new = new.with_(watch=watch) if update else new
        self.state = new if whole else _scatter(self.state, new, index)
        for i in members:
            self.frames[i] += 1
        return predictions

    def save(self, path: str | Path) -> None:
        """Write all streams to a safetensors file; `model.resume` continues bit for bit on the same device.

        Raises OutputError where it cannot be written; an earlier file of that name is then as it was.
        """
        about = self.describe() | {"format": FORMAT, "frames": self.frames, "config": self.model.config.to_dict()}
        about["single"] = isinstance(self, Stream)
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state.tensors().items()}
        try:
            save_tensors(Path(path), tensors, {"longtake": json.dumps(about)})
        except (SafetensorError, OSError) as error:
            raise OutputError(
                f"{path}: the state cannot be saved here ({error}). Give a file in a folder that can be written to."
            ) from error

    @staticmethod
    def resume(model: Cut3r, path: str | Path, *, rule: str | Rule | None = None, name: str = "") -> Stream | Streams:
        """Continue saved streams on a model of the same configuration: a Stream if one was saved, else Streams.

        Raises InputError where there is no such file, CheckpointError if it does not fit.
        """
        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file. Give a state file that stream.save() wrote.")
        try:
            with safe_open(str(path), framework="pt") as file:
                about = json.loads((file.metadata() or {}).get("longtake", "{}"))
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a dict)
        except (SafetensorError, json.JSONDecodeError, OSError) as error:
            raise CheckpointError(
                f"{path}: not a readable state file ({error}). Save it again with stream.save()."
            ) from error
        if about.get("format") != FORMAT:
            raise CheckpointError(
                f"{path}: holds no stream state (wanted {FORMAT}); weights are loaded with longtake.load"
            )
        if about["config"] != json.loads(json.dumps(model.config.to_dict())):
            raise CheckpointError(
                f"{path}: was saved by {about['model'] or 'another model'}; load that model and resume it"
            )
        when = about.get("reset_when")
        options = {
            "rule": rule or about["rule"],
            "reset_every": about["reset_every"],
            "reset_when": None if when is None else ResetTrigger(**when),
            "join": about.get("join", "exact"),
            "name": name,
        }
        streams = Stream(model, **options) if about["single"] else Streams(model, len(about["frames"]), **options)
        saved, wanted = ({k: (t.shape, t.dtype) for k, t in s.items()} for s in (tensors, streams.state.tensors()))
        if saved != wanted:
            raise CheckpointError(
                f"{path}: was saved in {about['dtype']} under rule {about['rule']} and holds {sorted(saved)}; this is "
                f"{streams.dtype} under rule {streams.rule.name} with {sorted(wanted)}. Resume with the same two."
            )
        device = streams.device
        streams.state = State.from_tensors({key: tensor.to(device) for key, tensor in tensors.items()})
        streams.frames = list(about["frames"])
        return streams

    def to(self, device: torch.device | str) -> Streams:
        """Move the state and the model to a device."""
        self.model.to(device)
        self.state = self.state.to(device)
        return self


class Stream(Streams):
    """One take: frames in, predictions out."""

    def __init__(self, model: Cut3r, **options: Any) -> None:
        """Options as those of Streams."""
        super().__init__(model, 1, **options)

    def step(  # type: ignore[override]
        self, frames: Frame | np.ndarray, *, update: bool = True, reset: bool = False
    ) -> Prediction:
        """One frame -> its prediction, in constant memory. See Streams.step for update and reset."""
        (prediction,) = super().step([frames], update=update, reset=reset)
        assert prediction is not None
        return prediction


class _Prepared:
    """A frame with the model's view of it."""

    def __init__(self, frame: Frame, image: np.ndarray, pixel_map: PixelMap) -> None:
        self.frame, self.image, self.pixel_map = frame, image, pixel_map


def _scatter(state: State, part: State, index: Tensor) -> State:
    """Put the streams at `index` back into the whole."""
    parts = part.tensors()
    return State.from_tensors(
        {name: tensor.index_copy(0, index, parts[name].to(tensor.dtype)) for name, tensor in state.tensors().items()}
    )


def _predictions(
    heads: Heads, world_from_chunk: Tensor, group: list[_Prepared], is_metric: bool, tracking: Tensor, join: str
) -> list[Prediction]:
    height, width = heads.points_self.shape[1:3]
    intrinsics = intrinsics_from_focal(focal_weiszfeld(heads.points_self), height, width)
    world_from_cams = world_from_chunk @ world_from_cam(heads.pose)
    points_self = heads.points_self
    if join != "exact":  # the chain has a scale: what leaves is in the take's units, and poses are rigid motions
        world_from_cams, scale = split_scale(world_from_cams)
        points_self = points_self * scale[:, None, None, None].to(points_self.dtype)
    points = transform(world_from_cams, points_self)
    points_world = transform(world_from_chunk, heads.points_world)  # the head speaks of the chunk's first camera
    depth = points_self[..., 2].clamp_min(0)
    return [
        Prediction(
            points=points[i],
            confidence=heads.confidence_self[i],
            depth=depth[i],
            world_from_cam=world_from_cams[i],
            intrinsics=intrinsics[i],
            points_self=points_self[i],
            points_world=points_world[i],
            confidence_world=heads.confidence_world[i],
            image=torch.from_numpy(prepared.image),
            is_metric=is_metric,
            color=None if heads.color is None else heads.color[i] * 0.5 + 0.5,
            pixel_map=prepared.pixel_map,
            index=prepared.frame.index,
            time=prepared.frame.time,
            name=prepared.frame.name,
            tracking_code=tracking[i],
        )
        for i, prepared in enumerate(group)
    ]
