# SPDX-License-Identifier: Apache-2.0
"""How fast frames become cameras and points: frames a second, latency, memory, and where the time goes.

    python benchmarks/speed.py                                        # the embedded model as it is
    python benchmarks/speed.py --model cut3r-512 --random --size 512x384 --precision bf16 --graphs --compile --tuned
    python benchmarks/speed.py --against "python benchmarks/speed.py --precision bf16"
    python benchmarks/speed.py --video examples/office_walk.mp4       # and the pipeline around the model

Measured from pictures in the host's memory to the pose on the host, both point maps and confidences left on the device.
Latencies are of single frames, each waited for; frames/s of frames that are sent one after the other. The busy share is
of the time between the first and the last thing that a GPU did for such frames, as PyTorch's profiler saw them in a run
of its own. --video reconstructs its first frames, files written and no report drawn, in turn with stepping the same
frames from memory, and prints the median of the ratios. --against runs another command that prints the same JSON,
before and after ours, and prints the ratio to their mean.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Any

import torch

import longtake
from longtake.device import pick_device
from longtake.engine import Tuning, choose_engine, narrow, pack, packed, running, tune, tuning_of
from longtake.engine.compiled import compile_parts
from longtake.frame import Flags, Views
from longtake.registry import Model, find


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--model", default="longtake-small")
    parser.add_argument("--weights", type=Path, help="weight file, for models whose weights are not in the package")
    parser.add_argument("--random", action="store_true", help="random weights: for speed they are as good as any")
    parser.add_argument("--rule", default=None)
    parser.add_argument("--size", default="160x112", help="width x height of the picture that the model sees")
    parser.add_argument("--streams", type=int, default=1)
    parser.add_argument("--frames", type=int, default=100)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--precision", default="float32")
    parser.add_argument("--graphs", action="store_true", help="one captured graph a frame, on a CUDA device")
    parser.add_argument("--compile", action="store_true", help="torch.compile the transformer blocks")
    parser.add_argument("--dense", action="store_true", help="with --compile: the dense heads too")
    parser.add_argument("--tuned", action="store_true", help="every setting of engine.Tuning that says the same")
    parser.add_argument("--attention", default="auto", help="with --tuned: the kind of attention preferred")
    parser.add_argument("--video", type=Path, help="also measure reconstruct() on this video against the model alone")
    parser.add_argument("--rounds", type=int, default=3, help="of the video and the model alone, in turn")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--against", help="a command that prints the same JSON as its last line")
    return parser.parse_args()


def make(options: argparse.Namespace) -> Any:
    """The model on its device, in its precision."""
    device = pick_device(options.device)
    if not options.random:
        model = longtake.load(options.model, options.weights, device=device, precision=options.precision).module
    else:
        entry = find(options.model)
        torch.manual_seed(0)
        with torch.device(device):
            model = type(entry.build())(entry.config)
        narrow(model.eval().requires_grad_(False), options.precision)
        model = pack(model) if device.type == "cpu" else model
    if options.tuned:
        tune(model, Tuning(True, True, True, True, True, options.attention))
    return compile_parts(model, dense=options.dense) if options.compile else model


def wait(device: torch.device) -> None:
    """Until the device has done everything."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """All figures of one configuration."""
    began = time.perf_counter()
    model = make(options)
    device = next(model.parameters()).device
    width, height = (int(side) for side in options.size.split("x"))
    engine = choose_engine(model, model.writer(options.rule), options.streams, graphs=options.graphs)
    pictures = [torch.rand(options.streams, 3, height, width) * 2 - 1 for _ in range(4)]
    if device.type == "cuda":
        pictures = [picture.pin_memory() for picture in pictures]
        torch.cuda.reset_peak_memory_stats(device)
    everyone = list(range(options.streams))
    groups = [everyone] if model.capabilities.batch else [[i] for i in everyone]
    flags = Flags.plain(len(groups[0]), device)

    def frame(i: int) -> Any:
        for members in groups:
            heads = engine.see(pictures[i % 4][members].to(device, non_blocking=True), flags, members)
        return heads

    for i in range(3):
        frame(i)
    wait(device)
    ready = time.perf_counter() - began
    began = time.perf_counter()
    for i in range(options.frames):
        heads = frame(i)
    wait(device)
    seconds = time.perf_counter() - began
    latencies = []
    for i in range(options.frames):
        begun = time.perf_counter()
        frame(i).pose.cpu()
        wait(device)
        latencies.append(time.perf_counter() - begun)
    latencies.sort()
    peak = torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None
    return {
        "model": options.model,
        "rule": getattr(engine.writer, "name", ""),
        "size": options.size,
        "streams": options.streams,
        "precision": options.precision,
        "engine": engine.name + ", packed" * packed(model) + ", compiled blocks" * options.compile,
        "tuning": tuning_of(model).words(),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "ready_after_s": round(ready, 2),
        "fps": round(options.streams * options.frames / seconds, 2),
        "latency_p50_ms": round(1e3 * latencies[len(latencies) // 2], 3),
        "latency_p95_ms": round(1e3 * latencies[int(0.95 * (len(latencies) - 1))], 3),
        "busy_share": busy_share(frame, options.frames, device),
        "peak_device_bytes": peak,
        "state_bytes": engine.state.nbytes,
        "finite": bool(heads.pose.isfinite().all()),
        "parts_ms": parts(model, engine, pictures[0][groups[0]].to(device), flags, options.frames),
    } | (pipeline(model, options) if options.video else {})


def busy_share(frame: Callable[[int], Any], frames: int, device: torch.device) -> float | None:
    """The share of the time in which the GPU did anything; None on the CPU."""
    if device.type != "cuda":
        return None
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
        for i in range(min(frames, 30)):
            frame(i)
        wait(device)
    ran = [e.time_range for e in profile.events() or () if e.device_type == torch.autograd.DeviceType.CUDA]
    return round(covered((each.start, each.end) for each in ran), 3) if ran else None


def covered(spans: Iterable[tuple[float, float]]) -> float:
    """The share of the time from the first begin to the last end that lies in any of the spans (begin, end)."""
    ordered = sorted(spans)
    first = reached = ordered[0][0]
    busy = 0.0
    for begin, end in ordered:
        busy += max(0.0, end - max(begin, reached))
        reached = max(reached, end)
    return busy / (reached - first) if reached > first else 1.0


def pipeline(model: Any, options: argparse.Namespace) -> dict[str, Any]:
    """Frames/s of reconstruct() on a video and of its model alone, in turn; the model sees its own size."""
    loaded = Model(options.model, model)
    frames = list(islice(longtake.video(options.video, prefetch=False), options.frames))
    ready = [loaded.stream(options.rule, reset_every=None).prepare(frame) for frame in frames]
    alone, whole = [], []
    for _ in range(options.rounds):
        stream = loaded.stream(options.rule, reset_every=None, graphs=options.graphs)
        begun = time.perf_counter()
        for frame in ready:
            stream.step(frame)
            wait(stream.device)
        alone.append(len(ready) / (time.perf_counter() - begun))
        with tempfile.TemporaryDirectory(prefix="longtake-speed-") as folder:
            scene = longtake.reconstruct(
                options.video, model=loaded, rule=options.rule, max_frames=len(ready), out=folder, report=False
            )
        whole.append(scene.summary["fps"])
    return {
        "video": options.video.name,
        "alone_fps": round(median(alone), 2),
        "pipeline_fps": round(median(whole), 2),
        "pipeline_share": round(median(b / a for a, b in zip(alone, whole, strict=True)), 3),
    }


def parts(model: Any, engine: Any, picture: torch.Tensor, flags: Flags, frames: int) -> dict[str, float]:
    """Milliseconds of the encoder alone and of the rest, called without graphs; a graph's parts have no edges."""
    if engine.name != "plain":
        return {}
    device = picture.device

    def clock(work: Callable[[], Any]) -> float:
        work()
        wait(device)
        began = time.perf_counter()
        for _ in range(max(3, frames // 4)):
            work()
        wait(device)
        return round(1e3 * (time.perf_counter() - began) / max(3, frames // 4), 3)

    with running(model):
        tokens = model.tokenize(Views(image=picture))
        state = engine.state
        both = clock(lambda: model.step(state, tokens, engine.writer, flags, show=True))
        memory = clock(lambda: model.step(state, tokens, engine.writer, flags, show=False))
        encoder = clock(lambda: model.tokenize(Views(image=picture)))
    return {"encoder": encoder, "memory": memory, "heads": round(both - memory, 3)}


def table(found: dict[str, Any]) -> str:
    """The figures for people."""

    def words(value: Any) -> str:
        return (", ".join(f"{k} {v}" for k, v in value.items()) or "-") if isinstance(value, dict) else str(value)

    return "\n".join(f"{name:18s} {words(value)}" for name, value in found.items())


def other(command: str) -> dict[str, Any]:
    """Run another command; its last line is the JSON."""
    said = subprocess.run(shlex.split(command), capture_output=True, text=True, check=True).stdout
    return json.loads(said.strip().splitlines()[-1])


def main() -> None:
    """Measure, print, compare."""
    options = parse()
    before = other(options.against) if options.against else None
    found = measure(options)
    if before is not None:
        after = other(options.against)
        mean = (before["fps"] + after["fps"]) / 2
        found |= {"against_fps": [before["fps"], after["fps"]], "ratio": round(found["fps"] / mean, 3)}
    print(table(found))
    print(json.dumps(found))
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
