# SPDX-License-Identifier: Apache-2.0
"""The walk of benchmarks/long_takes.py: frames that lie on the device go through the stream's own steps, nothing else.

`Streams.step` takes pictures from the host and makes a whole prediction of each. Here only poses, rates and tracking
are kept, and on a CUDA device each frame is one captured graph, so that 20 takes of 1,000 frames take seconds.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from torch import Tensor

from longtake.closing import LoopCloser
from longtake.continuity.archive import Archive
from longtake.continuity.joining import join_chunks, split_scale
from longtake.frame import Flags
from longtake.geometry.pose import world_from_cam
from longtake.meter import finish_work
from longtake.registry import Model
from longtake.stream import Stream, Streams
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import make_batch

SEED = 3_141_592_653  # of take 0, below 2**32, which is all that a CPU's generator reads; training starts near 0
WALKS = {"revisit_share": 1.0, "loop_share": 0.0}  # out and back along the path, once or twice
LOOPS = "loops"  # the last part of a run's name: poses are corrected by the places that were seen twice
LOOK = 20  # frames between looks at the clock, each of which waits for the device


class OutOfTime(Exception):
    """The budget is spent; what was under way is dropped."""


@dataclass(frozen=True, slots=True)
class Walks:
    """Held-out takes as the model sees them."""

    pictures: Tensor  # (frames, takes, 3, H, W) uint8, on the device
    world_from_cam: np.ndarray  # (takes, frames, 4, 4) metres


@dataclass(frozen=True, slots=True)
class Walked:
    """What one run said of the takes."""

    world_from_cam: np.ndarray  # (takes, frames, 4, 4)
    rates: list[float]  # one a frame: the mean rate at which it was written
    tracking: np.ndarray  # (takes, frames) codes of `longtake.continuity.tracking`
    frames_per_second: float  # of all takes together, after the first frame
    state_bytes: int  # of one take


def draw_walks(
    model: Model,
    takes: int,
    frames: int,
    size: tuple[int, int],
    deadline: float = float("inf"),
    world: WorldConfig | None = None,
    keep: Path | None = None,
) -> Walks:
    """Draw takes of pictures of `size` (height, width), one after the other, that come back. Raises OutOfTime.

    keep: a folder for them: what was drawn of the same world, length and size is not drawn again.
    """
    device, pictures, poses = model.device, [], []
    fast = device.type == "cuda"
    world = replace(world or WorldConfig(), **WALKS, chunk=256 if fast else 24)  # frames at once: memory
    kind = sha256(repr((SEED, frames, size, world)).encode()).hexdigest()[:12]
    for i in range(takes):
        check(deadline)
        file = None if keep is None else keep / f"{kind}_{i:02}.npz"
        if file is not None and file.is_file():
            with np.load(file, allow_pickle=False) as kept:
                drawn, path = torch.from_numpy(kept["pictures"]).to(device), kept["world_from_cam"]
        else:
            generator = torch.Generator(device=device).manual_seed(SEED + i)
            batch = make_batch(world, 1, frames, *size, device, generator, fast=fast)
            drawn, path = (batch.images[0] * 255).round().byte(), batch.world_from_cam[0].double().cpu().numpy()
            if file is not None:
                file.parent.mkdir(parents=True, exist_ok=True)
                np.savez(file, pictures=drawn.cpu().numpy(), world_from_cam=path)
            print(f"drew take {i + 1} of {takes}", flush=True)
        pictures.append(_as_seen(model, drawn))
        poses.append(path)
    return Walks(torch.stack(pictures, 1), np.stack(poses))


def _as_seen(model: Model, pictures: Tensor) -> Tensor:
    """Resize (T, 3, H, W) uint8 as the model wants it, which on most sizes means nothing."""
    first = pictures[0].permute(1, 2, 0).cpu().numpy()
    seen, _ = model.module.prepare(first)
    if np.array_equal(seen, first):
        return pictures
    made = [model.module.prepare(p.permute(1, 2, 0).cpu().numpy())[0] for p in pictures]
    return torch.from_numpy(np.stack(made)).permute(0, 3, 1, 2).contiguous().to(pictures.device)


class DeviceStreams(Streams):
    """Streams of a recurrent memory that are fed from the device."""

    @torch.no_grad()
    def look(self, pictures: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """A frame (n, 3, H, W) uint8 of each stream -> world_from_cam (n, 4, 4), rates (n,), tracking codes (n,).

        The same as `step` would say: a test holds it.
        """
        n = len(self.frames)
        members, asked = list(range(n)), self.watch.due() or [False] * n
        due = [asked[i] or self._due(i) for i in members]
        images = pictures.to(torch.float32).div_(255).sub_(0.5).div_(0.5)
        plain, resets = Flags.plain(n, self.device), torch.tensor(due, device=self.device)
        chain = self.state.world_from_chunk.clone()
        heads = self.engine.see(images, Flags(plain.active, plain.update, resets), members)
        codes = self.watch.look(images, heads, members, resets, update=True)
        if any(due):
            overlap = Flags(resets, plain.update, torch.zeros_like(resets))
            again = self.engine.again(overlap, members, show=self.join != "exact")
            new = join_chunks(self.join, chain, heads, again, resets)
            self.state = self.state.with_(world_from_chunk=new.to(chain.dtype))
        self.frames, self.written = ([count + 1 for count in each] for each in (self.frames, self.written))
        poses = chain @ world_from_cam(heads.pose)
        if self.join != "exact":
            poses, _ = split_scale(poses)
        assert heads.written is not None
        return poses, heads.written, codes


def options_of(run: str) -> tuple[str, dict[str, Any]]:
    """The rule of a run's name, and how its memories start over and its chunks meet."""
    rule, *more = run.removesuffix(f"@{LOOPS}").split("@")
    options: dict[str, Any] = {"join": more[1]} if len(more) > 1 else {}
    if more:
        options |= {"reset_every": int(more[0])} if more[0].isdecimal() else {"reset_when": more[0]}
    return rule, options


def walk(model: Model, run: str, walks: Walks, deadline: float = float("inf"), *, graphs: bool = False) -> Walked:
    """Step all takes together through one run; graphs: see `longtake.engine`. Raises OutOfTime."""
    rule, options = options_of(run)
    if run.endswith(f"@{LOOPS}"):
        return walk_and_close(model, rule, options, walks, deadline)
    frames, takes = walks.pictures.shape[:2]
    streams = DeviceStreams(model.module, takes, rule=rule, graphs=graphs, **options)
    path = torch.empty(frames, takes, 4, 4, device=model.device)
    rates = torch.empty(frames, takes, device=model.device)
    codes = torch.empty(frames, takes, dtype=torch.int64, device=model.device)
    begin = time.perf_counter()
    for t in range(frames):
        path[t], rates[t], codes[t] = streams.look(walks.pictures[t])
        if t % LOOK == 0:
            finish_work(model.device)
            check(deadline)
        if t == 0:  # the first frame chooses kernels and records the graph
            begin = time.perf_counter()
    finish_work(model.device)
    seconds = max(time.perf_counter() - begin, 1e-9)
    return Walked(
        world_from_cam=path.transpose(0, 1).double().cpu().numpy(),
        rates=rates.mean(1).double().cpu().numpy().round(5).tolist(),
        tracking=codes.T.cpu().numpy(),
        frames_per_second=takes * max(frames - 1, 1) / seconds,
        state_bytes=streams.state_bytes // takes,
    )


def walk_and_close(
    model: Model, rule: str, options: dict[str, Any], walks: Walks, deadline: float = float("inf")
) -> Walked:
    """Step one take after the other as `longtake reconstruct --loop-closure` does. Raises OutOfTime."""
    frames, takes = walks.pictures.shape[:2]
    paths, codes, rates, state_bytes = [], [], np.zeros(frames), 0
    begin = time.perf_counter()
    for i in range(takes):
        with TemporaryDirectory() as folder:
            stream, said = Stream(model.module, rule=rule, **options), []
            closer = LoopCloser(model.module, Archive(Path(folder)))
            for t in range(frames):
                check(deadline)
                seen = stream.step(walks.pictures[t, i].permute(1, 2, 0).cpu().numpy())
                closer.see(stream, seen)
                assert seen.written is not None
                said.append((seen.world_from_cam.double().cpu().numpy(), int(seen.tracking_code or 0), seen.tracking))
                rates[t] += float(seen.written) / takes
            poses, numbers, names = (list(kind) for kind in zip(*said, strict=True))
            corrected = closer.correct(range(frames), np.stack(poses), names)
            paths.append(np.stack(poses) if corrected is None else corrected)
            codes.append(numbers)
            state_bytes = stream.state_bytes
            print(f"take {i + 1} of {takes}: {len(closer.edges)} loops", flush=True)
    return Walked(
        world_from_cam=np.stack(paths),
        rates=rates.round(5).tolist(),
        tracking=np.array(codes),
        frames_per_second=takes * frames / (time.perf_counter() - begin),
        state_bytes=state_bytes,
    )


def check(deadline: float) -> None:
    """Raise OutOfTime after the deadline, on the clock of time.perf_counter."""
    if time.perf_counter() > deadline:
        raise OutOfTime
