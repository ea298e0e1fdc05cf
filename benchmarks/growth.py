# SPDX-License-Identifier: Apache-2.0
"""What a frame costs, against the frames before it: time, peak memory and bytes kept, for every family.

    python benchmarks/growth.py --precision bf16 --frames 1000 --seconds 90 --out out/growth   # on a GPU
    python benchmarks/growth.py --precision bf16 --budget 150 --out out/growth                 # in so many seconds
    python benchmarks/growth.py --draw out/growth/growth.json                                  # anywhere, later
    python benchmarks/growth.py --tiny --device cpu --frames 50                                # anywhere

Models have their official sizes and random weights: no file is needed, and only numbers that do not depend on what
weights say are measured. (Point3R's pointers do depend: where random points fall decides how many merge.) A model is
NAME or NAME:option=value, such as vggt:window=16. Each runs in a process of its own, until --frames, until --seconds
are over, or until memory runs out; which of them it was is said, drawn and written.

OUT gets growth.json, written anew after every model, and growth.png; the table is printed as it comes. With --budget
each model has its share of the time that is left, starting included; what it leaves goes to those after it. A model
that OUT/growth.json has to its end, at this precision, is not run again. Memories of fixed shapes run as captured
graphs on a CUDA device. Times are medians of up to three looks at frame t, the stream having seen t - 1.

Between the measured frames a stream is fed as ever, where what it keeps depends on what it reads. Elsewhere it is
filled: unbounded full attention keeps the encoder's features, which are made without reading (that would take hours),
an unbounded cache keeps what the second frame left once more for each frame, and pairs keep the first frame.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch

from longtake.checkpoints.convert import TRANSLATIONS
from longtake.device import pick_device
from longtake.engine import PRECISIONS, CapturedEngine, narrow, precision_of, running
from longtake.frame import Frame, Views
from longtake.meter import finish_work, peak_bytes, start_counting
from longtake.predictions import Shown
from longtake.registry import Model, find
from longtake.stream import Stream
from longtake.tokenize.images import to_tensor

ALL = (  # the cheapest first
    "longtake-small,cut3r-512,dust3r,point3r,streamvggt:budget=16,vggt:window=16,fast3r:window=16,streamvggt,fast3r,"
    "vggt"
)
LEAST = 8.0  # seconds in which a process starts and a model is built; with less left none is begun
SLACK = 10.0  # seconds over its share after which a process is ended
LOOKS, ENOUGH = 3, 2.0  # looks at a frame, fewer where they take more than so many seconds
FRAMES, TIME, MEMORY = "frames", "time", "memory"  # what ended a run


@dataclass(frozen=True, slots=True)
class Row:
    """What frame t cost."""

    t: int  # counted from 1
    seconds: float  # of the frame, from a picture in memory to its prediction
    peak_bytes: int  # on a CUDA device: allocated at most, weights included; else resident at most, of the process
    state_bytes: int  # kept for the next frame


@dataclass(frozen=True, slots=True)
class Ended:
    """Why there are no more rows."""

    why: str  # FRAMES, TIME or MEMORY
    at: int  # the first frame that was not measured; of FRAMES: the last that was


def checkpoints(frames: int) -> list[int]:
    """1, 2, 5, 10, 20, 50 and so on up to `frames`, which is the last."""
    steps = [digit * 10**power for power in range(9) for digit in (1, 2, 5)]
    return [t for t in steps if t < frames] + [frames]


def parse(label: str) -> tuple[str, dict[str, int]]:
    """NAME:option=value:option=value -> name and options."""
    name, *options = label.split(":")
    pairs = [option.split("=") for option in options]
    return name, {key: int(value) for key, value in pairs}


@cache
def noise() -> np.ndarray:
    """A random picture, (480, 640, 3)."""
    return np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)


def picture(t: int) -> np.ndarray:
    """Frame t: the same random picture, shifted by t, (480, 640, 3)."""
    return np.roll(noise(), 4 * t, 1)


def build(name: str, *, tiny: bool, device: torch.device, precision: str) -> Model:
    """A model with random weights, drawn where it runs."""
    entry = find(name)
    config = entry.config.tiny() if tiny else entry.config
    torch.manual_seed(0)
    with device:
        module: Any = TRANSLATIONS[entry.family]().build(config.to_dict())
    return Model(name, narrow(module.to(device).eval().requires_grad_(False), precision))


def look(stream: Stream, frame: Frame) -> tuple[float, int]:
    """Seconds and peak bytes of a frame, without writing it."""
    start_counting(stream.device)
    times: list[float] = []
    while len(times) < LOOKS and sum(times) < ENOUGH:
        begin = time.perf_counter()
        stream.step(frame, update=False)
        finish_work(stream.device)
        times.append(time.perf_counter() - begin)
    return float(np.median(times)), peak_bytes(stream.device) or 0


def must_read(model: Model, options: dict[str, int], seen: int) -> bool:
    """Whether what is kept after `seen` frames depends on reading the next one."""
    if model.capabilities.memory == "full":
        return not seen or "window" in options
    if model.capabilities.memory == "cache":
        return seen < 2 or "budget" in options  # the second frame's: the first one begins the cache
    return model.capabilities.memory != "first frame" or not seen


def write(stream: Stream, index: int, *, reading: bool) -> None:
    """Show a stream a frame; without reading, only what memories without a bound keep of it."""
    frame = Frame(picture(index), float(index), index)
    if reading:
        stream.step(frame)
        return
    model = stream.model
    image, pixel_map = model.prepare(frame.image)
    if model.capabilities.memory in ("first frame", "cache"):
        (memory,) = stream.state.memories
        grown = {name: kept for name, kept in memory.items() if ".keys." in name or ".values." in name}
        # One at a time into the stream's own dictionary, so that no second cache is there.
        stream.state = stream.state.with_(memories=(memory := dict(memory),))
        for name in list(grown):
            kept = grown.pop(name)
            memory[name] = torch.cat((kept, kept[..., -(kept.shape[-2] // index) :, :]), -2)
        return
    dtype = stream.dtype if precision_of(model) == "float32" else torch.float32
    with running(model):
        tokens = model.tokenize(Views(image=to_tensor(image)[None].to(stream.device, dtype)))
        (memory,) = stream.state.memories
        memory = dict(memory) | {"features": torch.cat((memory["features"], tokens.features[:, None]), 1)}
        if "numbers" in memory:  # what Fast3R tells its frames apart by; any will do
            memory |= {"numbers": torch.cat((memory["numbers"], memory["taken"][None]), 1)}
            memory |= {"taken": memory["taken"] + 1}
    stream.state = stream.state.with_(memories=(memory,))
    stream.shown[0].append(Shown(image, pixel_map, frame.index, frame.time, frame.name))


def measure(
    model: Model,
    options: dict[str, int],
    frames: int,
    seconds: float,
    clock: Callable[[], float] = time.perf_counter,
) -> Iterator[Row | Ended]:
    """Walk a stream to `frames`, yielding a row at each checkpoint and why it ended."""
    limits: dict[str, Any] = dict(options)
    grows = model.capabilities.memory == "full" and "window" not in options  # as the square of the frames
    stream = ready(model, limits)
    begin, seen, row = clock(), 0, None
    try:
        for t in checkpoints(frames):
            while seen < t - 1:
                write(stream, seen, reading=must_read(model, options, seen))
                seen += 1
                if clock() - begin > seconds:
                    yield Ended(TIME, t)
                    return
            if row and grows and clock() - begin + row.seconds * (t / row.t) ** 2 > seconds:
                yield Ended(TIME, t)
                return
            spent, peak = look(stream, Frame(picture(seen), float(seen), seen))
            write(stream, seen, reading=must_read(model, options, seen))
            seen += 1
            row = Row(t, spent, peak, stream.state_bytes)
            yield row
        yield Ended(FRAMES, frames)
    except (torch.OutOfMemoryError, MemoryError):
        yield Ended(MEMORY, seen + 1)
    except RuntimeError as error:  # what PyTorch says where a CPU's memory is over
        if "not enough memory" not in str(error):
            raise
        yield Ended(MEMORY, seen + 1)


def ready(model: Model, limits: dict[str, Any]) -> Stream:
    """A stream that has seen nothing, of a model that has: kernels are chosen, a graph is captured where one can be."""
    if not CapturedEngine.refusal(model.module):
        stream = model.stream(**limits, graphs=True)
        start = stream.state.map(torch.clone)
        stream.step(picture(0))
        stream.state = start
        return stream
    model.stream(**limits).step(picture(0))
    return model.stream(**limits)


def run_one(label: str, options: argparse.Namespace) -> None:
    """In a process of its own: measure one model, one JSON line for each thing that is known."""
    name, chosen = parse(label)
    device = pick_device(options.device)
    try:
        model = build(name, tiny=options.tiny, device=device, precision=options.precision)
    except torch.OutOfMemoryError:
        print(json.dumps({"ended": asdict(Ended(MEMORY, 1))}), flush=True)
        return
    height, width = model.module.prepare(picture(0))[0].shape[:2]
    weights = list(model.module.parameters())
    about = {
        "device": torch.cuda.get_device_name() if device.type == "cuda" else device.type,
        "memory": model.capabilities.memory,
        "parameters": sum(p.numel() for p in weights),
        "weight_bytes": sum(p.numel() * p.element_size() for p in weights),
        "image": [width, height],
    }
    print(json.dumps({"about": about}), flush=True)
    seconds = min(options.seconds, options.until - time.time())
    for said in measure(model, chosen, options.frames, seconds):
        print(json.dumps({"row" if isinstance(said, Row) else "ended": asdict(said)}), flush=True)


def run_all(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Measure every model, printing as it goes."""
    passed = ["--device", options.device, "--precision", options.precision, "--frames", str(options.frames)]
    passed += ["--seconds", str(options.seconds), *(["--tiny"] if options.tiny else [])]
    found, until, before = [], time.time() + options.budget, finished(options)
    labels = options.models.split(",")
    print(f"{'model':>22} {'frame':>6} {'ms':>10} {'peak MB':>9} {'kept kB':>11}", flush=True)
    for number, label in enumerate(labels):
        if label in before:
            found.append(before[label])
            continue
        left = until - time.time()
        share = left / (len(labels) - number)
        result: dict[str, Any] = {"label": label, "rows": [], "ended": asdict(Ended(MEMORY, 1))}
        if left < LEAST:
            result["ended"] = asdict(Ended(TIME, 1))
            found.append(result)
            write_json(options, found)
            continue
        command = [sys.executable, __file__, "--one", label, "--until", str(time.time() + share), *passed]
        # Threads that wait must not spin: see the command line's own setting.
        environment = {"GOMP_SPINCOUNT": "1000"} | dict(os.environ)
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
            assert child.stdout is not None
            over = threading.Timer(min(share + SLACK, 1e6), child.kill)
            over.daemon = True
            over.start()
            for line in child.stdout:
                said = json.loads(line)
                result |= said.get("about", {})
                if "row" in said:
                    row = said["row"]
                    result["rows"].append(row)
                    result["ended"] = {"why": MEMORY, "at": row["t"] + 1}  # unless the process lives to say otherwise
                    amounts = f"{row['peak_bytes'] / 1e6:9.0f} {row['state_bytes'] / 1e3:11,.1f}"
                    print(f"{label:>22} {row['t']:>6} {row['seconds'] * 1000:10.1f} {amounts}", flush=True)
                result["ended"] = said.get("ended", result["ended"])
            over.cancel()
        if time.time() - until + left > share + SLACK:  # it was ended, and not by a lack of memory
            result["ended"] = {"why": TIME, "at": result["ended"]["at"]}
        elif child.returncode not in (0, -9):  # -9: the system ends a process that takes too much
            result["ended"] = {"why": f"error {child.returncode}", "at": result["ended"]["at"]}
        ended = result["ended"]
        words = {TIME: "time is over before", MEMORY: "memory is over at", FRAMES: "done at"}
        print(f"{label:>22} {words.get(ended['why'], ended['why'] + ' at')} frame {ended['at']}", flush=True)
        found.append(result)
        write_json(options, found)
    return found


def finished(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """Models that an earlier call measured to the last frame, or until memory was over, by their labels."""
    file = options.out / "growth.json"
    about = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"models": []}
    if (about.get("precision"), about.get("sizes")) != (options.precision, "tiny" if options.tiny else "official size"):
        return {}
    ends = {MEMORY: 0, FRAMES: options.frames}
    return {m["label"]: m for m in about["models"] if m["ended"]["at"] >= ends.get(m["ended"]["why"], math.inf)}


def write_json(options: argparse.Namespace, models: list[dict[str, Any]]) -> dict[str, Any]:
    """Write what is known so far; return what is said of all models together."""
    options.out.mkdir(parents=True, exist_ok=True)
    kind = "tiny" if options.tiny else "official size"
    about = {"torch": torch.__version__, "precision": options.precision, "sizes": kind, "weights": "random"}
    about |= {"device": next((m["device"] for m in models if "device" in m), options.device)}
    part = options.out / "growth.json.part"
    part.write_text(json.dumps(about | {"models": models}, indent=1) + "\n", encoding="utf-8")
    part.replace(options.out / "growth.json")
    return about


def draw(file: Path) -> Path:
    """Draw a growth.json, from whatever machine it came; the picture lies beside it."""
    from growth_plot import draw_growth

    about = json.loads(file.read_text(encoding="utf-8"))
    draw_growth(about, about["models"]).save(file.with_suffix(".png"))
    return file.with_suffix(".png")


def main() -> int:
    """Parse, measure, write, draw."""
    text = __doc__ or ""
    parser = argparse.ArgumentParser(description=text, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", default=ALL)
    parser.add_argument("--frames", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=90.0, help="for each model, after it is built")
    parser.add_argument("--precision", choices=PRECISIONS, default="float32")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true", help="the smallest model of each kind, to see that all works")
    parser.add_argument("--out", type=Path, default=Path("out/growth"))
    parser.add_argument("--budget", type=float, default=math.inf, help="seconds for all models together")
    parser.add_argument("--draw", type=Path, help="only draw this growth.json")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=math.inf, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        run_one(options.one, options)
        return 0
    if options.draw:
        print(draw(options.draw))
        return 0
    for label in options.models.split(","):
        find(parse(label)[0])
    models = run_all(options)
    file = options.out / "growth.json"
    try:
        print(f"{file}, {draw(file)}")
    except (ImportError, OSError) as error:  # a bare machine: the numbers are what it was for
        print(f"{file}; no picture here ({error}): draw it elsewhere with --draw")
    return int(any(m["ended"]["why"] not in (FRAMES, TIME, MEMORY) for m in models))


if __name__ == "__main__":
    sys.exit(main())
