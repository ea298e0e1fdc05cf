# SPDX-License-Identifier: Apache-2.0
"""All sequences of a data set under all rules. What is done stays on disk, so a run that was stopped goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

import longtake
from longtake.datasets.sequence import Sequence as Frames
from longtake.errors import InputError
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.evaluation.benchmark.results import digest, find_run, keep_clouds, keep_run
from longtake.evaluation.benchmark.walk import Walk, resizer, walk
from longtake.evaluation.metrics.trees import require_scipy
from longtake.evaluation.nets import Net
from longtake.evaluation.records import code_hash, plain
from longtake.registry import Model
from longtake.stream import Stream


def run_benchmark(
    sequences: Sequence[Frames],
    model: Model,
    rules: Sequence[str],
    protocol: Protocol,
    out: Path,
    *,
    fresh: bool = False,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """Walk every sequence under every rule and return the runs, as they stand in the JSONs in `out`.

    rules: names of update rules, or `append` alone for a family whose memory knows none. fresh: walk again what is
    there already. Progress goes to standard error unless `quiet`. Raises InputError, and CapabilityError for a rule,
    window or budget that the model does not have, MissingExtra without SciPy: all before anything is walked.
    """
    require_scipy()
    for rule in rules:
        _begin(model, rule, protocol)
    names = [sequence.name for sequence in sequences]
    if doubled := {name for name in names if names.count(name) > 1}:
        raise InputError(f"sequences share a name ({', '.join(sorted(doubled))}); evaluate their folders one by one.")
    net = Net(model.name, model.module).settings()
    common = {"protocol": protocol.settings(), "code_sha256": code_hash(), "longtake": longtake.__version__, **net}
    total = sum(len(protocol.positions(len(sequence))) for sequence in sequences) * len(rules)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    runs = []
    with Progress(*columns, console=Console(stderr=True), disable=quiet, transient=True) as progress:
        bar = progress.add_task("", total=total)
        for sequence in sequences:
            for rule in rules:
                progress.update(bar, description=f"{sequence.name} {model.name} {rule}")
                settings = common | {"rule": rule}
                about = [net[name] for name in ("net", "weights_sha256", "dtype", "device")]
                label = digest([*about, rule, protocol.settings()])
                key = digest(settings | _content(sequence, protocol))
                run = None if fresh else find_run(out, sequence.name, label, key)
                if run is not None:
                    progress.advance(bar, len(protocol.positions(len(sequence))))
                else:
                    done = _walk(sequence, model, rule, protocol, lambda n: progress.advance(bar, n))
                    run = plain(_record(sequence, model, settings, protocol, done, key))
                    if done.clouds is not None:
                        keep_clouds(out, sequence.name, label, done.clouds)
                    keep_run(out, protocol.dataset, sequence.name, sequence.notes, label, run)
                runs.append({**run, "label": label, "sequence": sequence.name})
    return runs


def _begin(model: Model, rule: str, protocol: Protocol) -> Stream:
    return model.stream(
        rule,
        reset_every=protocol.reset_every,
        reset_when=protocol.reset_when,
        join=protocol.join,
        window=protocol.window,
        budget=protocol.budget,
    )


def _walk(sequence: Frames, model: Model, rule: str, protocol: Protocol, on_frame: Callable[[int], None]) -> Walk:
    stream = _begin(model, rule, protocol)
    squeeze = resizer(model.module) if protocol.fit == "resize" else None
    return walk(stream, sequence, protocol, device=model.device, image_size=squeeze, on_frame=on_frame)


def _record(
    sequence: Frames, model: Model, settings: Mapping[str, Any], protocol: Protocol, done: Walk, key: str
) -> dict[str, Any]:
    """Return everything about a run; `figures` are those of the longest length that was scored."""
    scored = [n for n, each in done.by_length.items() if each["status"] == "ok"]
    names = ("latencies_ms", "state_bytes", "peak_bytes", "is_metric", "sizes", "out_of_memory_at")
    facts = {name: getattr(done, name) for name in names}
    place = {name: i for i, name in enumerate(sequence.frame_names())}
    dropped = sorted(
        dict.fromkeys([*map(tuple, sequence.dropped), *done.skipped]), key=lambda each: place.get(each[0], -1)
    )
    last = done.by_length[max(scored)] if scored else {}
    return {
        "key": key,
        "model": model.name,
        "rule": settings["rule"],
        "settings": dict(settings),
        "figures": last | {name: facts[name] for name in ("state_bytes", "peak_bytes")},
        "by_length": {str(n): done.by_length[n] for n in sorted(done.by_length)},
        "frames_in_sequence": len(sequence),
        "frames_used": done.used,
        "frames_dropped": [{"frame": name, "reason": why} for name, why in dropped],
        "world_from_cam": done.poses,
        **facts,
    }


def _content(sequence: Frames, protocol: Protocol) -> dict[str, Any]:
    """Tell a sequence's content from another's by all names and by three used frames, truth included."""
    positions, names = protocol.positions(len(sequence)), sequence.frame_names()
    content = hashlib.sha256(repr([names[i] for i in positions]).encode())
    for i in sorted({*positions[:1], *positions[len(positions) // 2 :][:1], *positions[-1:]}):
        try:
            frame = sequence[i]
        except InputError as error:
            content.update(str(error).encode())
            continue
        for part in (frame.image, frame.depth, frame.world_from_cam, frame.intrinsics):
            content.update(b"none" if part is None else np.ascontiguousarray(part).tobytes())
    return {"content": content.hexdigest()}
