# SPDX-License-Identifier: Apache-2.0
"""The engine's settings tried one after the other on a GPU, within a given time; every result is kept at once.

    python benchmarks/engine_trials.py --seconds 150 --out out/trials               # official size, random weights
    python benchmarks/engine_trials.py --only all,all-16 --frames 10000             # frame 100 against frame 10,000
    python benchmarks/engine_trials.py --tiny --device cpu --seconds 60             # that it runs, anywhere

Needs nothing but PyTorch and what the package itself reads. Trials run in a process of their own; one that fails is
said and left out, one that ends its process or takes too long costs that process, and the others go on in a new one.
OUT/trials.json is written anew after every trial. What each setting is and was expected to give: docs/performance.md.
Times as in speed.py; parts are graphs of their own, so where parts overlap in a frame they do not add up to it.
Rate and busy share of the trials `ahead` are of frames that come with the next one, as from a file; p50 and p95 are
always of frames that come alone, as from a camera, and whose pose is waited for.
Errors are of the norm, against the same weights in float32 without settings, over four frames.
"""

from __future__ import annotations

import argparse
import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

OFFICIAL, SIZE = "cut3r-512", (512, 384)
PARTS = {"lanes": True, "joint": True, "tables": True, "channels_last": True, "benchmark": True, "color": False}


@dataclass(frozen=True)
class Trial:
    """One configuration, and about how many seconds it takes where nothing is in the compiler's cache."""

    name: str
    tuning: dict[str, Any] = field(default_factory=dict)
    compiled: dict[str, Any] | None = field(default_factory=dict)  # options of compile_parts; None: nothing is compiled
    streams: int = 1
    precision: str = "bf16"
    seconds: float = 8.0
    profiled: bool = False


def _some(*names: str) -> dict[str, Any]:
    return {name: PARTS[name] for name in names}


# A ladder of settings for one stream, sixteen streams, then what compiles long. Later steps hold what earlier ones do.
TRIALS = (
    Trial("blocks", seconds=40),
    Trial("tables", _some("tables")),
    Trial("convolutions", _some("tables", "channels_last", "benchmark")),
    Trial("lanes", _some("tables", "channels_last", "benchmark", "lanes")),
    Trial("joint", _some("tables", "channels_last", "benchmark", "lanes", "joint"), seconds=16),
    Trial("all", PARTS, {"dense": True}, seconds=25, profiled=True),
    Trial("ahead", PARTS | {"ahead": True}, {"dense": True}, seconds=20, profiled=True),
    Trial("ahead-16", PARTS | {"ahead": True}, {"dense": True}, 16, seconds=45, profiled=True),
    Trial("all-16", PARTS, {"dense": True}, 16, seconds=45, profiled=True),
    Trial("fp8", PARTS, {"dense": True}, precision="fp8", seconds=20),
    Trial("fp8-16", PARTS, {"dense": True}, 16, precision="fp8", seconds=25),
    Trial("cudnn", PARTS | {"attention": "cudnn"}, {"dense": True}, seconds=35),
    Trial("cudnn-16", PARTS | {"attention": "cudnn"}, {"dense": True}, 16, seconds=45),
    Trial("all-4", PARTS, {"dense": True}, 4, seconds=45),
    Trial("uncompiled", PARTS, None),
    Trial("descend", PARTS, {"dense": True, "descend": True}, seconds=90),
    Trial("autotune", PARTS, {"dense": True, "autotune": True}, seconds=240),
    Trial("autotune-16", PARTS, {"dense": True, "autotune": True}, 16, seconds=240),
)


def say(**what: Any) -> None:
    """One line for the process that waits."""
    print(json.dumps(what), flush=True)


def child(options: argparse.Namespace) -> int:
    """Run trials until there is no time; 3 if the device is no longer usable."""
    from engine_trials_run import Bench

    bench = Bench(options)
    wanted = {trial.name: trial for trial in TRIALS}
    for name in options.only.split(","):
        trial, left = wanted[name], options.until - time.time()
        expected = 1.0 if options.tiny else trial.seconds / 4  # the cache may know it all
        if left < expected:
            say(name=name, skipped=f"{left:.0f} s were left")
            continue
        say(begin=name)
        begun = time.perf_counter()
        try:
            found = bench.run(trial)
        except Exception as error:
            say(name=name, failed=f"{type(error).__name__}: {str(error)[:600]}")
            if not bench.usable():
                return 3
        else:
            say(name=name, took_s=round(time.perf_counter() - begun, 1), **found)
    return 0


def parent(options: argparse.Namespace) -> int:
    """Keep a child at work, keep what it says."""
    found: dict[str, dict[str, Any]] = {}
    left = [name for name in (options.only.split(",") if options.only else [t.name for t in TRIALS])]
    if unknown := set(left) - {t.name for t in TRIALS}:
        sys.exit(f"no trials {', '.join(sorted(unknown))}; there are {', '.join(t.name for t in TRIALS)}")
    options.out.mkdir(parents=True, exist_ok=True)
    until = time.time() + options.seconds
    limits = {t.name: max(options.patience * t.seconds, 30.0) for t in TRIALS}
    while left and time.time() < until:
        command = [sys.executable, __file__, "--child", "--only", ",".join(left), "--until", str(until)]
        command += ["--device", options.device, "--frames", str(options.frames), *(["--tiny"] if options.tiny else [])]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
            for said in _lines(process, until, limits):
                if "name" in said:
                    found[said["name"]] = said
                    left.remove(said["name"])
                    print(row(said), flush=True)
                    _write(options.out, found)
        if process.returncode == 0:
            break
        said = {"name": left.pop(0), "failed": f"its process ended with {process.returncode}"} if left else {}
        if said:
            found[said["name"]] = said
            print(row(said), flush=True)
            _write(options.out, found)
    for name in left:
        found[name] = {"name": name, "skipped": "no time was left"}
    _write(options.out, found)
    print(f"\n{HEADER}\n" + "\n".join(row(said) for said in found.values()))
    print(options.out / "trials.json")
    return 0 if any("fps" in said for said in found.values()) else 1


def _lines(process: subprocess.Popen[str], until: float, limits: dict[str, float]) -> Any:
    """What a child says, as long as it is within its times; then it is ended."""
    lines: queue.Queue[str | None] = queue.Queue()

    def read() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    end = until
    while True:
        try:
            line = lines.get(timeout=max(0.1, min(end, until) - time.time()))
        except queue.Empty:
            os.killpg(process.pid, signal.SIGKILL)
            return
        if line is None:
            return
        try:
            said = json.loads(line)
        except json.JSONDecodeError:
            continue  # a library's own words
        end = time.time() + limits[said["begin"]] if "begin" in said else until
        yield said


def _write(out: Path, found: dict[str, dict[str, Any]]) -> None:
    part = out / "trials.json.part"
    part.write_text(json.dumps({"trials": list(found.values())}, indent=1) + "\n", encoding="utf-8")
    part.replace(out / "trials.json")


HEADER = (
    f"{'trial':>13} {'streams':>7} {'frames/s':>9} {'p50 ms':>7} {'p95 ms':>7} {'GiB':>5} {'busy':>5} "
    f"{'encoder':>7} {'memory':>7} {'heads':>7} {'d pose':>8} {'d points':>8} {'ready s':>7}"
)


def row(said: dict[str, Any]) -> str:
    """A line of the table."""
    if "fps" not in said:
        return f"{said['name']:>13} " + " ".join(f"{k}: {v}" for k, v in said.items() if k != "name")
    parts, peak = said["parts_ms"], said["peak_device_bytes"]
    share = said.get("busy_share")
    share = share if isinstance(share, float) else "-"
    line = (
        f"{said['name']:>13} {said['streams']:>7} {said['fps']:>9.1f} {said['latency_p50_ms']:>7.2f} "
        f"{said['latency_p95_ms']:>7.2f} {'-' if peak is None else f'{peak / 2**30:.2f}':>5} {share:>5} "
        + " ".join(f"{parts.get(name, float('nan')):>7.2f}" for name in ("encoder", "memory", "heads"))
        + f" {said['error_pose']:>8.1e} {said['error_points']:>8.1e} {said['ready_after_s']:>7.1f}"
    )
    long = said.get("long")
    if not long:
        return line
    return line + f"\n{'':>13} " + ", ".join(f"{name} {value}" for name, value in long.items())


def main() -> int:
    """Parse; be the one or the other."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=150.0, help="for everything")
    parser.add_argument("--only", default="", help="names of trials, in order")
    parser.add_argument("--frames", type=int, default=0, help="walk on to this frame, for frame 100 against it")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--tiny", action="store_true", help="the smallest model of that kind; nothing is translated")
    parser.add_argument("--patience", type=float, default=2.0, help="how many times its expected time a trial may take")
    parser.add_argument("--out", type=Path, default=Path("out/trials"))
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--until", type=float, default=0.0, help=argparse.SUPPRESS)
    options = parser.parse_args()
    return child(options) if options.child else parent(options)


if __name__ == "__main__":
    sys.exit(main())
