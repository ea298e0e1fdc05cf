# SPDX-License-Identifier: Apache-2.0
"""The one loop that every family shares.

`absorb` is the loop's body on tensors: training, conformance and streaming all run it. `Streams` wraps it for people:
frames in, predictions out, several takes at once, resets with the overlap frame, states that can be saved.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, Generator, Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtake.cameras import CameraChoice
from longtake.continuity.joining import check_join, join_chunks
from longtake.continuity.trigger import ResetTrigger, read_trigger
from longtake.continuity.watch import Watch
from longtake.engine import Ahead, choose_engine, packed, precision_of, running, tuning_of
from longtake.errors import CapabilityError, CheckpointError, InputError
from longtake.families.contract import Family
from longtake.families.cut3r import STREAMING, Cut3r
from longtake.flow import predict, predict_async
from longtake.frame import PATCH, Exchange, Flags, Frame, Heads, Policy, Prediction, State, Tokens, Views
from longtake.geometry.lens import Lens
from longtake.memory.keep import Keep, check_size, out_of_memory
from longtake.meter import is_lack_of_memory
from longtake.predictions import Prepared, Shown, facts_of, predictions_of, shown_from
from longtake.rules import Rule
from longtake.saved import check_same_kind, check_same_numbers, fingerprint, options_of, read_saved, write_saved
from longtake.tokenize.images import to_tensor
from longtake.tokenize.images_device import DevicePreparer


def absorb(
    model: Cut3r, state: State, tokens: Tokens, rule: Rule, flags: Flags, policy: Policy = STREAMING, **options: Any
) -> tuple[Exchange, State]:
    """One view of each stream: exchange, then commit. The view's own outputs come from the exchange."""
    exchange = model.exchange(state, tokens, rule, **options)
    return exchange, model.commit(state, exchange, rule, flags, policy)


class Streams:
    """n takes stepped together. Each has its own state, resets and frame counter."""

    def __init__(
        self,
        model: Family[Any],
        n: int,
        *,
        rule: str | Rule | None = None,
        reset_every: int | None = None,
        reset_when: str | ResetTrigger | None = None,
        join: str = "exact",
        name: str = "",
        camera: str = "head",
        intrinsics: np.ndarray | Lens | None = None,
        graphs: bool = False,
        prepare_on: str = "host",
        **options: Any,
    ) -> None:
        """rule, options: how the memory is written; see the family's `writer`. camera, intrinsics: see `cameras`.

        reset_when, join: see `longtake.continuity`; a trigger may be given in words. graphs: see `longtake.engine`.
        prepare_on: where pictures are resized and cropped: "host", or "device", where the model is (CUT3R; within one
        grey level of the host's).
        Raises InputError, CapabilityError, MissingExtra.
        """
        if n < 1:
            raise InputError(f"got {n} streams; at least one is needed")
        if reset_every is not None and reset_every < 1:
            raise InputError(f"reset_every={reset_every}; give the number of frames between resets, or None for never")
        self.model: Any = model
        self.model.eval()
        self.rule = model.writer(rule, **options)  # how the memory is written: an update rule, or what it keeps
        self.cameras = CameraChoice.checked(camera, intrinsics)
        self.reset_every = reset_every
        self.join = check_join(join)
        self.model_name = name
        self.frames = [0] * n  # frames shown so far, per stream
        self.written = [0] * n  # of these, those that were written into the memory
        self.shown: list[list[Shown]] = [[] for _ in range(n)]  # of the frames kept, where a family revises them
        self.graphs = graphs
        self.engine = choose_engine(model, self.rule, n, graphs=graphs)
        self.early: Ahead[Tensor] = Ahead()  # the images of `upcoming`: the engine knows them by the tensor
        if prepare_on not in ("host", "device"):
            raise InputError(f"prepare_on={prepare_on!r}; there are host and device")
        if prepare_on == "device" and not hasattr(model, "prepare_on"):
            raise CapabilityError(
                f"prepare_on='device': {name or 'this model'} prepares its pictures on the host only."
            )
        self.preparer = DevicePreparer(self.device) if prepare_on == "device" else None
        self.watch = Watch(n, self.device, read_trigger(reset_when))

    @property
    def state(self) -> Any:
        """What is kept between frames, as the family defines it; read it before the next frame, or copy it."""
        return self.engine.state

    @state.setter
    def state(self, state: Any) -> None:
        self.engine.load(state)

    @property
    def device(self) -> torch.device:
        """Where the state lives."""
        return self.state.world_from_chunk.device

    @property
    def dtype(self) -> torch.dtype:
        """The precision of the weights."""
        return next(self.model.parameters()).dtype

    @property
    def state_bytes(self) -> int:
        """Bytes kept between frames; constant for ever where the memory is."""
        watched = sum(tensor.nbytes for tensor in self.watch.tensors().values())
        return self.state.nbytes + watched + sum(frame.image.nbytes for each in self.shown for frame in each)

    def describe(self) -> dict[str, Any]:
        """What runs: model, its memory and what that costs, rule, device, precision, threads and layout, resets."""
        return {
            "model": self.model_name,
            "memory": self.model.capabilities.memory,
            "cost": self.model.capabilities.cost,
            "rule": self.rule.name,
            "options": self.rule.options() if isinstance(self.rule, Keep) else {},
            "streams": len(self.frames),
            "device": str(self.device),
            "dtype": str(self.dtype).removeprefix("torch."),
            "precision": precision_of(self.model),
            "engine": self.engine.name,
            "tuning": tuning_of(self.model).words(),
            "prepared_on": "host" if self.preparer is None else "device",
            "threads": torch.get_num_threads() if self.device.type == "cpu" else None,
            "packed": self.device.type == "cpu" and packed(self.model),
            "reset_every": self.reset_every,
            "reset_when": None if self.watch.trigger is None else self.watch.trigger.name,
            "join": self.join,
            "camera": self.cameras.camera,
            "intrinsics": None if self.cameras.intrinsics is None else self.cameras.intrinsics.tolist(),
            "intrinsics_size": None if self.cameras.known is None else self.cameras.known.size,
            "state_bytes": self.state_bytes,
        }

    def step(
        self,
        frames: Sequence[Frame | np.ndarray | Prepared | None],
        *,
        update: bool = True,
        reset: Sequence[bool] | bool = False,
        upcoming: Sequence[Prepared | None] = (),
    ) -> list[Prediction | None]:
        """One frame of each stream (None: that stream gets none this time) -> its prediction.

        update=False looks without writing: such a frame does not count for `reset_every`, and neither that nor
        `reset_when` starts anything over at it. reset starts a stream over after its frame: the frame is fed once more
        as the first of the new chunk and the poses are chained through it, so the world stays the take's first camera.
        reset=True with update=False leaves a new chunk that has seen nothing, as in the published program: it begins
        with the next frame, which nothing ties to the take's world, so the poses after it are not in that world.
        upcoming: frames of the next call, if they are known: an engine that looks ahead (`Tuning.ahead`) encodes them
        meanwhile, where the same streams have a frame, all of one size. Should others come, those are encoded then.

        Raises InputError, OutOfMemory, CapabilityError for a size that a take cannot have, before any is stepped.
        """
        if len(frames) != len(self.frames):
            raise InputError(
                f"got {len(frames)} frames for {len(self.frames)} streams; give None for those without one"
            )
        resets = [bool(reset)] * len(frames) if isinstance(reset, (bool, np.bool_)) else list(reset)
        if len(resets) != len(frames):
            raise InputError(f"got {len(resets)} resets for {len(frames)} streams; give one bool for all, or one each")
        if update:
            resets = [a or b for a, b in zip(resets, self.watch.due() or resets, strict=True)]
        prepared = [None if frame is None else self._prepared(frame, i) for i, frame in enumerate(frames)]
        self._check_sizes(prepared)  # before any stream is stepped: a refused frame leaves all as they were
        predictions: list[Prediction | None] = [None] * len(frames)
        groups = self._groups(prepared)
        coming = self._groups(upcoming) if self.engine.looks_ahead else []
        for members in groups:
            group = [p for p in (prepared[i] for i in members) if p is not None]
            due = [resets[i] or (update and self._due(i)) for i in members]
            following = [p for p in upcoming if p is not None] if coming == groups == [members] else []
            for i, prediction in zip(members, self._step_group(members, group, update, due, following), strict=True):
                predictions[i] = prediction
        return predictions

    def query(self, rays: Tensor) -> Heads:
        """Read the state at unseen views without writing: ray maps (n, 6, H, W) in the chunk's world frame -> outputs.

        Needs a model with a ray-map encoder. The pose token always comes from the pose memory. Raises InputError for
        another shape, CapabilityError where the model has no such encoder.
        """
        if not isinstance(self.model, Cut3r):
            raise CapabilityError(f"{self.model_name or 'this model'} cannot be asked about unseen views; CUT3R can.")
        n, patch = len(self.frames), PATCH
        if rays.dim() != 4 or rays.shape[:2] != (n, 6) or rays.shape[2] % patch or rays.shape[3] % patch:
            raise InputError(
                f"got ray maps of shape {tuple(rays.shape)}; wanted ({n}, 6, H, W) with H and W multiples of {patch}"
            )
        with running(self.model):
            tokens = self.model.tokenize(Views(rays=rays.to(self.device, self.dtype)))
            recall = torch.ones_like(self.state.seen)
            return self.model.detokenize(self.model.exchange(self.state, tokens, self.rule, recall=recall))

    def _due(self, i: int) -> bool:
        return self.reset_every is not None and (self.written[i] + 1) % self.reset_every == 0

    def prepare(self, frame: Frame) -> Prepared:
        """Resize and crop a frame for the model: what `step` does first. Stateless, so another thread may do it ahead.

        Raises InputError for what is no picture.
        """
        if self.preparer is None:
            image, pixel_map = self.model.prepare(frame.image)
            picture = to_tensor(image)
        else:
            image, picture, pixel_map = self.model.prepare_on(frame.image, self.preparer)
        shown = Shown(image, pixel_map, frame.index, frame.time, frame.name, frame.intrinsics)
        return Prepared(shown, picture)

    def _check_sizes(self, prepared: Sequence[Prepared | None]) -> None:
        why = self.model.capabilities.one_size
        for memory, ready in zip(self.state.memories, prepared, strict=True) if why else ():
            if ready is not None:
                check_size(memory, ready.shown.image.shape[:2], why, f"frame {ready.shown.index} {ready.shown.name}")

    def _groups(self, prepared: Sequence[Prepared | None]) -> list[list[int]]:
        """Streams that are stepped in one pass: those of one image size, or each alone where a family says so."""
        present = [(p.picture.shape, i) for i, p in enumerate(prepared) if p is not None]
        if not self.model.capabilities.batch:
            return [[i] for _, i in present]
        return [[i for other, i in present if other == size] for size in sorted({size for size, _ in present})]

    def _images(self, ready: Sequence[Prepared], members: Sequence[int]) -> Tensor:
        dtype = self.dtype if precision_of(self.model) == "float32" else torch.float32
        early = self.early.take(ready, members)
        return torch.stack([p.picture for p in ready]).to(self.device, dtype) if early is None else early

    def _prepared(self, frame: Frame | np.ndarray | Prepared, i: int) -> Prepared:
        if not isinstance(frame, Frame | Prepared):
            frame = Frame(image=np.asarray(frame), time=float(self.frames[i]), index=self.frames[i])
        return frame if isinstance(frame, Prepared) else self.prepare(frame)

    @torch.no_grad()
    def _step_group(
        self, members: list[int], ready: list[Prepared], update: bool, due: list[bool], following: list[Prepared]
    ) -> list[Prediction]:
        before = self.state
        try:
            return self._step_ready(members, ready, update, due, following)
        except (MemoryError, RuntimeError) as error:
            if not is_lack_of_memory(error):
                raise
            self.state = before
            seen = max(self.frames[i] for i in members)
            raise out_of_memory(self.model_name, self.model.capabilities, self.rule, seen) from error

    def _step_ready(
        self, members: list[int], ready: list[Prepared], update: bool, due: list[bool], following: list[Prepared]
    ) -> list[Prediction]:
        images = self._images(ready, members)
        group = [p.shown for p in ready]
        plain = Flags.plain(len(members), self.device, update=update)
        resets = torch.tensor(due, device=self.device)
        index = torch.tensor(members, device=self.device)
        chain = self.state.world_from_chunk[index]
        upcoming = self._images(following, members) if following else None
        heads = self.engine.see(images, Flags(plain.active, plain.update, resets), members, upcoming)
        if upcoming is not None:
            self.early.keep(following, members, upcoming)
        own = heads.map(lambda each: each[-len(group) :])  # earlier frames, which some families revise, come first
        codes = self.watch.look(images, own, members, resets, update=update)
        if any(due):  # the overlap: the same views again, as the first of their new chunks
            overlap = Flags(resets, plain.update, torch.zeros_like(resets))
            again = self.engine.again(overlap, members, show=self.join != "exact")
            again = None if again is None else again.map(lambda each: each[-len(group) :])
            new = join_chunks(self.join, chain, own, again, resets)
            self.state = self.state.with_(
                world_from_chunk=self.state.world_from_chunk.index_copy(0, index, new.to(chain.dtype))
            )
        rows = [*self.shown[members[0]], *group] if len(heads.pose) > len(group) else group
        heads, words = self.cameras.apply(heads, [r.pixel_map for r in rows], [r.intrinsics for r in rows])
        metric, scaled = self.model.config.is_metric, self.join != "exact"
        predictions = predictions_of(heads, chain, rows, metric, words, codes, scaled=scaled)
        for i, shown, reset in zip(members, group, due, strict=True):
            self.frames[i] += 1
            self.written[i] += update
            self._keep_shown(i, shown, update, reset)
        earlier, now = predictions[: -len(group)], predictions[-len(group) :]
        return [replace(now[0], revised=tuple(earlier))] if earlier else now

    def _keep_shown(self, i: int, shown: Shown, update: bool, reset: bool) -> None:
        """Remember what a revised prediction needs of the frames in the memory, in step with it."""
        if isinstance(self.rule, Keep) and self.rule.revise and (update or reset):
            frames = [*([] if reset else self.shown[i]), *([shown] if update else [])]
            self.shown[i] = [frames[k] for k in self.rule.kept(len(frames))]

    def save(self, path: str | Path) -> None:
        """Write all streams to a safetensors file; `model.resume` continues bit for bit on the same device.

        Raises OutputError where it cannot be written; an earlier file of that name is then as it was.
        """
        about = self.describe() | {"frames": self.frames, "config": self.model.config.to_dict()}
        about["written"] = self.written
        about |= {"single": isinstance(self, Stream), "weights": fingerprint(self.model)}
        about["shown"] = [facts_of(each) for each in self.shown]
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state.tensors().items()}
        tensors |= {name: tensor.cpu() for name, tensor in self.watch.tensors().items()}
        kept = [(i, [f.image for f in frames]) for i, frames in enumerate(self.shown) if frames]
        tensors |= {f"shown.{i}": torch.from_numpy(np.stack(images)) for i, images in kept}
        write_saved(path, about, tensors)

    @staticmethod
    def resume(
        model: Family[Any], path: str | Path, *, rule: str | Rule | None = None, name: str = "", strict: bool = True
    ) -> Stream | Streams:
        """Continue saved streams on a model of the same configuration: a Stream if one was saved, else Streams.

        strict: demand the weights and the precision that the streams were saved with, as far as the file says them.
        Raises InputError where there is no such file, CheckpointError if it does not fit.
        """
        about, tensors = read_saved(path)
        check_same_kind(path, about, model.config)
        if strict:
            check_same_numbers(path, about, model)
        options: dict[str, Any] = options_of(about) | {"name": name} | ({"rule": rule} if rule else {})
        streams = Stream(model, **options) if about["single"] else Streams(model, len(about["frames"]), **options)
        images = {key: tensors.pop(key) for key in list(tensors) if key.startswith("shown.")}
        watched = {key: tensors.pop(key) for key in list(tensors) if key.startswith("watch.")}
        device = streams.device
        try:
            streams.state = streams.state.restored({key: tensor.to(device) for key, tensor in tensors.items()})
            if watched:
                streams.watch.restore(watched)
            said = about.get("shown", [[]] * len(streams.frames))
            streams.shown = [shown_from(facts, images.get(f"shown.{i}")) for i, facts in enumerate(said)]
        except (ValueError, KeyError) as error:
            raise CheckpointError(
                f"{path}: was saved in {about['dtype']} under rule {about['rule']} and does not fit {streams.dtype} "
                f"under rule {streams.rule.name} ({error}). Resume with the same two."
            ) from error
        streams.frames, streams.written = list(about["frames"]), list(about.get("written", about["frames"]))
        return streams

    def to(self, device: torch.device | str) -> Streams:
        """Move the state and the model to a device."""
        self.model.to(device)
        state = self.state.to(device)
        self.engine = choose_engine(self.model, self.rule, len(self.frames), graphs=self.graphs)
        self.early = Ahead()
        self.state = state
        self.watch.to(device)
        return self


class Stream(Streams):
    """One take: frames in, predictions out."""

    def __init__(
        self,
        model: Family[Any],
        *,
        rule: str | Rule | None = None,
        reset_every: int | None = None,
        name: str = "",
        **options: Any,
    ) -> None:
        super().__init__(model, 1, rule=rule, reset_every=reset_every, name=name, **options)

    def step(  # type: ignore[override]
        self,
        frames: Frame | np.ndarray | Prepared,
        *,
        update: bool = True,
        reset: bool = False,
        upcoming: Prepared | None = None,
    ) -> Prediction:
        """One frame -> its prediction. See Streams.step for update, reset, both, and upcoming.

        Memory and time are constant where the model's memory is bounded; `describe()["cost"]` says what a frame costs.
        """
        (prediction,) = super().step([frames], update=update, reset=reset, upcoming=[upcoming])
        assert prediction is not None
        return prediction

    def run(self, frames: Iterable[Frame | np.ndarray]) -> Generator[Prediction, None, None]:
        """Yield the prediction of each frame; closing the generator closes the source."""
        return predict(self, frames)

    def run_async(
        self, frames: Iterable[Frame | np.ndarray] | AsyncIterable[Frame | np.ndarray], *, ahead: int = 1
    ) -> AsyncGenerator[Prediction, None]:
        """Yield the prediction of each frame to asyncio, computed in a thread; see `flow.predict_async`."""
        return predict_async(self, frames, ahead=ahead)
