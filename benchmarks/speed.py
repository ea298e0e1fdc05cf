# SPDX-License-Identifier: Apache-2.0
"""How fast frames become cameras and points: frames a second, latency, memory, and where the time goes.

    python benchmarks/speed.py                                        # the embedded model as it is
    python benchmarks/speed.py --model cut3r-512 --random --size 512x384 --precision bf16 --graphs --compile
    python benchmarks/speed.py --against "python benchmarks/speed.py --precision bf16"

Measured from pictures in the host's memory to the pose on the host, both point maps and confidences left on the device.
Latencies are of single frames, each waited for; frames/s of frames that are sent one after the other. --against runs
another command that prints the same JSON, before and after ours, and prints the ratio to their mean.
"""

from __future__ import annotations

import argparse
import json
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import longtake
from longtake.device import pick_device
from longtake.engine import choose_engine, narrow, running
from longtake.engine.compiled import compile_parts
from longtake.frame import Flags, Views
from longtake.registry import find


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
    return compile_parts(model) if options.compile else model


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
    flags, members = Flags.plain(options.streams, device), list(range(options.streams))

    def frame(i: int) -> Any:
        return engine.see(pictures[i % 4].to(device, non_blocking=True), flags, members)

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
        "engine": engine.name + (", compiled blocks" if options.compile else ""),
        "device": torch.cuda.get_device_name(device)
        if device.type == "cuda"
        else f"cpu, {torch.get_num_threads()} threads",
        "torch": torch.__version__,
        "ready_after_s": round(ready, 2),
        "fps": round(options.streams * options.frames / seconds, 2),
        "latency_p50_ms": round(1e3 * latencies[len(latencies) // 2], 3),
        "latency_p95_ms": round(1e3 * latencies[int(0.95 * (len(latencies) - 1))], 3),
        "peak_device_bytes": peak,
        "state_bytes": engine.state.nbytes,
        "finite": bool(heads.pose.isfinite().all()),
        "parts_ms": parts(model, engine, pictures[0].to(device), flags, options.frames),
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
