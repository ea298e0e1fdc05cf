# SPDX-License-Identifier: Apache-2.0
"""A model along one sequence, frame by frame; figures after each length, and what it cost."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from typing import Protocol as Shape

import numpy as np
import torch
from PIL import Image

from longtake.datasets.sequence import PosedFrame, Sequence
from longtake.errors import InputError
from longtake.evaluation.benchmark.cloud_score import Clouds, score_cloud
from longtake.evaluation.benchmark.depth_score import score_depth
from longtake.evaluation.benchmark.gathered import Gathered
from longtake.evaluation.benchmark.path_score import score_path
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.frame import Frame, PixelMap, Prediction
from longtake.meter import finish_work, is_lack_of_memory, peak_bytes, start_counting
from longtake.tokenize.images import prepare


class Stream(Shape):
    """Anything that takes frames one by one: a stream of any family."""

    def step(self, frames: Frame, /) -> Prediction: ...


@dataclass(slots=True)
class Walk:
    """What one walk gave: plain values, ready for JSON, and the clouds of its end."""

    by_length: dict[int, dict[str, Any]] = field(default_factory=dict)
    used: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(
        default_factory=list
    )  # frames that could not be read, or too late for memory
    poses: list[list[float] | None] = field(default_factory=list)  # 12 numbers a used frame
    latencies_ms: list[float] = field(default_factory=list)
    state_bytes: int | None = None
    peak_bytes: int | None = None
    is_metric: bool = False
    sizes: dict[str, tuple[int, int]] = field(default_factory=dict)  # (width, height): original, model
    out_of_memory_at: int | None = None  # frames done before
    clouds: Clouds | None = None


def walk(
    stream: Stream,
    sequence: Sequence,
    protocol: Protocol,
    *,
    device: torch.device | None = None,
    image_size: Callable[[np.ndarray], tuple[np.ndarray, PixelMap]] | None = None,
    on_frame: Callable[[int], None] | None = None,
) -> Walk:
    """Step `stream` along the frames that the protocol chooses and score each length that is reached.

    Where a model revises earlier frames, its last word at that length counts. Running out of memory ends the walk; what
    was scored before stays, and the lengths beyond are marked. `image_size` is how `fit="resize"` prepares a picture.
    Without lengths, the end of the sequence is the only one.
    """
    positions, device = protocol.positions(len(sequence)), device or torch.device("cpu")
    out = Walk()
    lengths = sorted(n for n in protocol.lengths if n <= len(positions)) if protocol.lengths else [len(positions)]
    for n in sorted(set(protocol.lengths) - set(lengths)):
        out.by_length[n] = {"status": "too short", "reason": f"the sequence gives {_reach(sequence, protocol)} of them"}
    gathered = Gathered(protocol)
    for frame in _frames(sequence, positions, out):
        picture, pixel_map = (frame.image, None) if image_size is None else image_size(frame.image)
        start_counting(device)  # anew for each step: what the figures between two steps take is not the model's
        begin = time.perf_counter()
        try:
            last = stream.step(Frame(image=picture, time=frame.time, index=frame.index, name=frame.name))
            finish_work(device)
        except (MemoryError, RuntimeError) as error:
            if not is_lack_of_memory(error):
                raise
            _stop(sequence, positions, lengths, out, " ".join(str(error).split())[:200])
            break
        out.latencies_ms.append(1000 * (time.perf_counter() - begin))
        _weigh(stream, device, out)
        gathered.add(frame, last, pixel_map)
        height, width = last.image.shape[:2]
        out.sizes = {"original": (frame.image.shape[1], frame.image.shape[0]), "model": (width, height)}
        out.is_metric = last.is_metric
        del last  # the device's memory is the next step's
        out.used.append(frame.name)
        if len(out.used) in lengths:
            out.by_length[len(out.used)] = _score(gathered, out)
        if on_frame is not None:
            on_frame(1)
    _close(lengths, gathered, out, whole=not protocol.lengths)
    out.poses = [_twelve(frame.pose) for frame in gathered.frames()]
    return out


def resizer(model: Any) -> Callable[[np.ndarray], tuple[np.ndarray, PixelMap]]:
    """Return the published depth protocol's picture: squeezed to whole patches, which a stream then takes as it is.

    model: the module behind a stream. VGGT's kind squeezes by itself, but cuts pictures that are higher than wide.
    """
    config = model.config

    def squeeze(image: np.ndarray) -> tuple[np.ndarray, PixelMap]:
        if hasattr(config, "square_ok"):
            own = {"square_ok": config.square_ok, "short_side_crop": config.square_crop}
            return prepare(image, config.image_size, mode="resize", **own)
        width, height = model.prepare(image)[1].size
        scale = (width / image.shape[1], height / image.shape[0])
        picture = Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC)
        return np.array(picture), PixelMap((image.shape[1], image.shape[0]), (width, height), scale, (0.0, 0.0))

    return squeeze


def _weigh(stream: Stream, device: torch.device, out: Walk) -> None:
    """Note what the memory holds after a step, and the largest that any step took so far."""
    kept, peak = getattr(stream, "state_bytes", None), peak_bytes(device)
    out.state_bytes = int(kept) if isinstance(kept, int) else None
    out.peak_bytes = peak if peak is None else max(peak, out.peak_bytes or 0)


def _close(lengths: list[int], gathered: Gathered, out: Walk, *, whole: bool) -> None:
    """Account for the lengths that were not reached, and lose nothing that was walked."""
    done = len(out.used)
    if done and not any(each["status"] == "ok" for each in out.by_length.values()):
        out.by_length[done] = _score(gathered, out)
    for n in (n for n in lengths if n not in out.by_length):  # frames that could not be read came short of it
        if not done:
            out.by_length[n] = {"status": "no frame", "reason": "no frame of the sequence can be used"}
        elif not whole:
            out.by_length[n] = {"status": "too short", "reason": f"only {done} frames could be read"}
            if done not in out.by_length:
                out.by_length[done] = _score(gathered, out)
    if whole:  # the end, however many frames that is: sequences of different lengths belong together
        end = lengths[0] if lengths[0] in out.by_length else done
        out.by_length[end]["whole"] = end


def _stop(sequence: Sequence, positions: range, lengths: list[int], out: Walk, said: str) -> None:
    """Mark what could not be reached any more."""
    done = out.out_of_memory_at = len(out.used)
    why = f"out of memory after {done} frames: {said or 'the system refused'}"
    read = {*out.used, *(name for name, _ in out.skipped)}
    out.skipped += [(name, why) for name in _names(sequence, positions) if name not in read]
    out.by_length |= {n: {"status": "out of memory", "reason": why} for n in lengths if n > done}


def _score(gathered: Gathered, out: Walk) -> dict[str, Any]:
    """Score what is there so far."""
    frames, protocol = gathered.frames(), gathered.protocol
    (clouds, cloud_reasons), out.clouds = score_cloud(frames, protocol)
    parts = [score_path(frames), score_depth(frames, protocol), (clouds, cloud_reasons)]
    later = out.latencies_ms[1:] or out.latencies_ms
    speed = {
        "fps": 1000 * len(later) / sum(later),
        "latency_ms_first": out.latencies_ms[0],
        "latency_ms_p50": float(np.percentile(later, 50)),
        "latency_ms_p95": float(np.percentile(later, 95)),
    }
    memory = {"state_bytes": out.state_bytes, "peak_bytes": out.peak_bytes}
    figures = {name: value for part, _ in parts for name, value in part.items()} | speed | memory
    reasons = {name: why for _, part in parts for name, why in part.items()}
    return {"status": "ok", "frames": len(frames), **figures, "reasons": reasons}


def _frames(sequence: Sequence, positions: range, out: Walk) -> Iterator[PosedFrame]:
    for i in positions:
        try:
            frame = sequence[i]
        except InputError as error:
            out.skipped.append((sequence.frame_names()[i], str(error)))
            continue
        yield frame


def _names(sequence: Sequence, positions: range) -> list[str]:
    names = sequence.frame_names()
    return [names[i] for i in positions]


def _reach(sequence: Sequence, protocol: Protocol) -> int:
    return len(range(protocol.start, len(sequence), protocol.stride)[: protocol.max_frames])


def _twelve(pose: np.ndarray) -> list[float] | None:
    return pose[:3].ravel().tolist() if np.isfinite(pose).all() else None
