# SPDX-License-Identifier: Apache-2.0
"""One trial of engine_trials.py: the model as the trial wants it, and all that is measured of it."""

from __future__ import annotations

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import torch
from engine_trials import OFFICIAL, SIZE, Trial
from speed import busy_share, wait

from longtake.device import pick_device
from longtake.engine import Tuning, choose_engine, narrow, running, tune
from longtake.engine.compiled import compile_parts
from longtake.frame import Flags, Heads, Views
from longtake.registry import find

RULE, COMPARED = "ttt3r", 4  # frames whose numbers are compared


class Bench:
    """Models are made anew only where a trial needs other weights: another precision, or a head that is gone."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.device, self.tiny, self.long = pick_device(options.device), options.tiny, options.frames
        self.until, self.seconds = options.until, 0.3 if options.tiny else 1.0
        width, height = (48, 32) if options.tiny else SIZE
        generator = torch.Generator().manual_seed(1)
        self.pictures = [torch.rand(1, 3, height, width, generator=generator) * 2 - 1 for _ in range(COMPARED)]
        self.made: tuple[str, bool, bool] | None = None
        self.model: Any = None
        self.compiled: tuple[dict[str, Any], str] | None = None
        self.reference: list[tuple[torch.Tensor, torch.Tensor]] = []

    def run(self, trial: Trial) -> dict[str, Any]:
        """All figures of a trial."""
        begun = time.perf_counter()
        self._make(trial)
        n, cuda = trial.streams, self.device.type == "cuda"
        everyone = list(range(n))
        flags = Flags.plain(n, self.device)
        host = [picture.expand(n, -1, -1, -1).contiguous() for picture in self.pictures]
        host = [picture.pin_memory() for picture in host] if cuda else host
        if cuda:
            torch.cuda.reset_peak_memory_stats(self.device)
        engine = choose_engine(self.model, self.model.writer(RULE), n, graphs=cuda)

        def picture(i: int) -> torch.Tensor:
            return host[i % COMPARED].to(self.device, non_blocking=True)

        def frame(i: int) -> Heads:
            return engine.see(picture(i), flags, everyone)

        coming = picture(0)

        def fed(i: int) -> Heads:
            """Frame i of a file, with the one after it; they are asked for in order."""
            nonlocal coming
            now, coming = coming, picture(i + 1)
            return engine.see(now, flags, everyone, coming)

        counted = fed if engine.looks_ahead else frame
        errors = self._errors([counted(i) for i in range(COMPARED)])
        wait(self.device)
        ready = time.perf_counter() - begun
        one = self._clock(lambda: counted(0), 5) / 1e3
        count = max(10, int(self.seconds / one))
        fps = 1e3 * n / self._clock(lambda: counted(1), count)
        latencies = []
        for i in range(count):
            begun = time.perf_counter()
            frame(i).pose.cpu()
            wait(self.device)
            latencies.append(1e3 * (time.perf_counter() - begun))
        latencies.sort()
        found = {
            "streams": n,
            "precision": trial.precision,
            "tuning": self.model._tuning.words(),
            "compiled": trial.compiled,
            "engine": engine.name,
            "device": torch.cuda.get_device_name(self.device) if cuda else "cpu",
            "torch": torch.__version__,
            "rule": RULE,
            "size": list(SIZE),
            "frames": count,
            "ready_after_s": round(ready, 1),
            "fps": round(fps, 2),
            "latency_p50_ms": round(latencies[len(latencies) // 2], 3),
            "latency_p95_ms": round(latencies[int(0.95 * (len(latencies) - 1))], 3),
            "peak_device_bytes": torch.cuda.max_memory_allocated(self.device) if cuda else None,
            "state_bytes": engine.state.nbytes,
            **errors,
        }
        found["parts_ms"] = self._tried(lambda: self._parts(engine, host[0].to(self.device), flags, count))
        if trial.profiled:
            found["busy_share"] = self._tried(lambda: busy_share(counted, 20, self.device))
        if self.long:
            found["long"] = self._tried(lambda: self._walk(counted))
        return found

    def usable(self) -> bool:
        """Whether the device still does what it is told; after some errors it never does again."""
        try:
            if self.device.type == "cuda":
                torch.zeros(1, device=self.device).add_(1).item()
        except RuntimeError:
            return False
        return True

    def _make(self, trial: Trial) -> None:
        tuning = Tuning(**trial.tuning)
        gc.collect()
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        kind = (trial.precision, tuning.color, trial.compiled is None)
        if self.made != kind:
            self.model = None
            self.model = self._build()
            if not self.reference:
                engine = choose_engine(self.model, self.model.writer(RULE), 1)
                flags = Flags.plain(1, self.device)
                self.reference = [_kept(engine.see(p.to(self.device), flags, [0])) for p in self.pictures]
            narrow(self.model, trial.precision)
            self.made = kind
            self.compiled = None
        tune(self.model, tuning)
        compiled = None if trial.compiled is None else (trial.compiled, tuning.attention)
        if compiled is not None and compiled != self.compiled:
            torch._dynamo.reset()  # the kind of attention is in what was compiled, and nothing checks it
            compile_parts(self.model, **trial.compiled or {}, backend="eager" if self.tiny else "inductor")
        self.compiled = compiled

    def _build(self) -> Any:
        entry = find(OFFICIAL)
        torch.manual_seed(0)
        with torch.device(self.device):
            model = type(entry.build())(entry.config.tiny() if self.tiny else entry.config)
        return model.eval().requires_grad_(False)

    def _errors(self, heads: list[Heads]) -> dict[str, float]:
        """Of the norm, the worst frame's; every stream sees the same."""
        worst = [0.0, 0.0]
        for mine, theirs in zip(map(_kept, heads), self.reference, strict=True):
            for k, (a, b) in enumerate(zip(mine, theirs, strict=True)):
                worst[k] = max(worst[k], float((a - b).norm() / b.norm()))
        return {"error_pose": worst[0], "error_points": worst[1]}

    def _clock(self, work: Callable[[], Any], count: int) -> float:
        """Milliseconds of one of `count` calls in a row."""
        work()
        wait(self.device)
        begun = time.perf_counter()
        for _ in range(count):
            work()
        wait(self.device)
        return 1e3 * (time.perf_counter() - begun) / count

    def _parts(self, engine: Any, images: torch.Tensor, flags: Flags, count: int) -> dict[str, float]:
        """Milliseconds of the encoder, of memory and rule, and of the heads, each as a graph of its own on a GPU."""
        model, rule, state = self.model, engine.writer, engine.state
        with running(model):
            tokens = model.tokenize(Views(image=images))
            exchange = model.exchange(state, tokens, rule)
            parts = {
                "encoder": lambda: model.tokenize(Views(image=images)),
                "memory": lambda: model.step(state, tokens, rule, flags, show=False),
                "heads": lambda: model.detokenize(exchange),
            }
            return {name: round(self._clock(self._replayed(part), count), 3) for name, part in parts.items()}

    def _replayed(self, work: Callable[[], Any]) -> Callable[[], Any]:
        if self.device.type != "cuda":
            return work
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(2):
                work()
        torch.cuda.current_stream(self.device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            kept = work()  # its memory stays: the graph writes there

        def replay() -> Any:
            graph.replay()
            return kept

        return replay

    def _walk(self, frame: Callable[[int], Any]) -> dict[str, Any]:
        """Time and memory of the hundred frames around frame 100 and of the last hundred, as far as time allows."""
        windows: list[tuple[int, float, int]] = []
        for first in range(50, max(self.long, 250), 100):
            wait(self.device)
            begun = time.perf_counter()
            for i in range(100):
                frame(i)
            wait(self.device)
            used = torch.cuda.memory_allocated(self.device) if self.device.type == "cuda" else 0
            windows.append((first + 50, 10 * (time.perf_counter() - begun), used))
            if time.time() > self.until - 3:
                break
        (early, a, here), (late, b, there) = windows[0], windows[-1]
        return {
            "early": early, "early_ms": round(a, 4), "bytes_early": here,
            "late": late, "late_ms": round(b, 4), "bytes_late": there, "ratio": round(b / a, 4),
        }  # fmt: skip

    @staticmethod
    def _tried(work: Callable[[], Any]) -> Any:
        """What is beside the main figures must not cost them."""
        try:
            return work()
        except Exception as error:
            return {"failed": f"{type(error).__name__}: {str(error)[:300]}"}


def _kept(heads: Heads) -> tuple[torch.Tensor, torch.Tensor]:
    return heads.pose[:1].float().cpu(), torch.cat((heads.points_self[:1], heads.points_world[:1])).float().cpu()
