# SPDX-License-Identifier: Apache-2.0
"""The report of a benchmark: tables, plots and pictures, and everything that changes a number, as HTML and Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from longtake.errors import OutputError
from longtake.evaluation.benchmark.gather import Row, gather, grids
from longtake.evaluation.benchmark.page import Report, to_page
from longtake.evaluation.benchmark.plot import Line, draw_plot
from longtake.evaluation.benchmark.portraits import Portrait, draw_portraits
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.evaluation.benchmark.results import file_name, read_clouds
from longtake.evaluation.records import write_text
from longtake.evaluation.tables import to_markdown

PLOTS = (  # (figure, title, unit, (what a naive guess scores, its name))
    ("ate_sim3", "Camera path", "ATE after Sim(3), metres", ("spread", "standing camera")),
    ("rpe_rot_deg", "Rotation from frame to frame", "RPE rotation, degrees", None),
    ("absrel_scale", "Video depth", "AbsRel, one exact scale a sequence", ("absrel_constant", "constant depth")),
    ("acc", "Cloud: accuracy", "mean distance to the true cloud, metres", None),
    ("comp", "Cloud: completeness", "mean distance from the true cloud, metres", None),
    ("fps", "Speed", "frames a second", None),
    ("state_mb", "Memory kept between frames", "MB", None),
    ("peak_mb", "Peak memory", "MB", None),
)
TOGETHER = 3  # runs in one picture, beside the truth


def make_report(
    runs: Sequence[Mapping[str, Any]], notes: Mapping[str, Sequence[str]], protocol: Protocol, out: Path
) -> Report:
    """Draw plots and clouds into `out` and gather the report. `notes`: what each sequence says of itself."""
    rows = gather(runs)
    pictures = _plots(rows, out) + _portraits(runs, out)
    title = f"{protocol.dataset}: {', '.join(dict.fromkeys(str(run['sequence']) for run in runs))}"
    return Report(title, _setup(runs), grids(rows), _facts(runs, notes, protocol), remarks(runs), pictures)


def write_report(report: Report, out: Path) -> tuple[Path, Path]:
    """Write report.html and report.md into `out` and return both. Raises OutputError."""
    page, text = out / "report.html", out / "report.md"
    write_text(page, to_page(report))
    write_text(text, _markdown(report))
    return page, text


def remarks(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what was dropped and what has no plain answer, once each."""
    lines: dict[str, None] = {}
    for run in runs:
        name = f"{run['sequence']}, {run['model']} {run['rule']}"
        why: dict[str, list[str]] = {}
        for each in run["frames_dropped"]:
            own = each["reason"].rpartition(f"{each['frame']}: ")[2]  # without the file, which is another for each
            why.setdefault(own, []).append(each["frame"])
        for reason, frames in why.items():
            more = f" and {len(frames) - 1} more" if len(frames) > 1 else ""
            lines[f"{run['sequence']}: frame {frames[0]}{more} dropped: {reason}"] = None
        said: dict[tuple[str, str], list[str]] = {}
        for length, figures in run["by_length"].items():
            if figures["status"] != "ok":
                said.setdefault((figures["status"], figures["reason"]), []).append(length)
            reasons: dict[str, list[str]] = {}
            for figure, reason in figures.get("reasons", {}).items():
                reasons.setdefault(reason, []).append(figure)
            for reason, which in reasons.items():
                said.setdefault((_few(which), reason), []).append(length)
        for (what, reason), lengths in said.items():
            lines[f"{name}, length {', '.join(lengths)}: {what}: {reason}"] = None
    return list(lines)


def _few(names: Sequence[str]) -> str:
    """The JSON has them all."""
    return ", ".join(names) if len(names) < 5 else f"{', '.join(names[:3])} and {len(names) - 3} more"


def _setup(runs: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return what was measured, in a few words a line."""
    nets = {run["model"]: run["settings"] for run in runs}
    lines = [
        f"{name}, {s['parameters'] / 1e6:.1f} M parameters, {s['dtype']} on {s['device']}" for name, s in nets.items()
    ]
    rules = ", ".join(dict.fromkeys(str(run["rule"]) for run in runs))
    frames = sum({run["sequence"]: len(run["frames_used"]) for run in runs}.values())
    count = len({run["sequence"] for run in runs})
    return [*lines, f"{rules} on {count} sequence{'s' * (count != 1)}, {frames} frames"]


def _facts(
    runs: Sequence[Mapping[str, Any]], notes: Mapping[str, Sequence[str]], protocol: Protocol
) -> list[tuple[str, str]]:
    facts = list(protocol.spelled())
    for run in runs[:1]:
        facts.append(("longtake, code", f"{run['settings']['longtake']}, {run['settings']['code_sha256'][:12]}"))
    for run in {run["model"]: run for run in runs}.values():
        s = run["settings"]
        about = f"{s['parameters'] / 1e6:.2f} M parameters, sha256 of the tensors {s['weights_sha256'][:16]}"
        unit = "metric" if run["is_metric"] else "not metric: its metric figures judge the unit too"
        facts.append((run["model"], f"{about}, {s['dtype']} on {s['device']}, torch {s['torch']}; {unit}"))
    shared = set.intersection(*(set(each) for each in notes.values())) if notes else set()
    ordered = [note for each in list(notes.values())[:1] for note in each if note in shared]
    facts += [_noted("Data set", note) for note in ordered]
    for sequence in dict.fromkeys(run["sequence"] for run in runs):
        facts.append((sequence, _frames([run for run in runs if run["sequence"] == sequence])))
        facts += [_noted(sequence, note) for note in notes[sequence] if note not in shared]
    facts.append(("Peak memory", "the largest of any step; of the device on CUDA, else of the whole process"))
    facts.append(
        ("Over sequences", "plain mean; depth weighted by valid pixels; (n): so many sequences have the figure")
    )
    return facts


def _noted(whose: str, note: str) -> tuple[str, str]:
    what, _, said = note.partition(":")
    return f"{whose}: {what}", said.strip()


def _frames(runs: Sequence[Mapping[str, Any]]) -> str:
    """Say which frames of a sequence the runs used (the longest run's), and at which sizes."""
    longest = max(runs, key=lambda run: len(run["frames_used"]))
    used, sizes = longest["frames_used"], longest["sizes"]
    said = f"{len(used)} of {longest['frames_in_sequence']} frames"
    said += f", {used[0]} to {used[-1]}" if used else ""
    said += f", {len(longest['frames_dropped'])} dropped" if longest["frames_dropped"] else ""
    if "original" in sizes:
        seen = dict.fromkeys("{}x{}".format(*run["sizes"]["model"]) for run in runs if "model" in run["sizes"])
        said += f", {sizes['original'][0]}x{sizes['original'][1]} seen at {', '.join(seen)}"
    return said


def _plots(rows: Sequence[Row], out: Path) -> list[tuple[str, str]]:
    """Draw each figure against length, where there is more than one."""
    if len({row.length for row in rows}) < 2:
        return []
    runs: dict[tuple[str, str], list[Row]] = {}
    for row in sorted(rows, key=lambda row: row.length):
        runs.setdefault((row.model, row.rule), []).append(row)
    names = _names(list(runs))
    pictures = []
    for figure, title, unit, naive in PLOTS:
        lines = []
        for key, mine in runs.items():
            lost = next((float(row.length) for row in mine if row.out_of_memory), None)
            lines.append(Line(names[key], _points(mine, figure), lost))
        if any(line.points for line in lines):
            if naive:
                longest = max((_points(mine, naive[0]) for mine in runs.values()), key=len)
                lines.append(Line(naive[1], longest, naive=True))
            name = f"{figure}.png"
            _save(draw_plot(title, unit, lines), out / name)
            pictures.append((name, f"{title} against length: {unit}."))
    return pictures


def _points(rows: Sequence[Row], figure: str) -> tuple[tuple[float, float], ...]:
    return tuple((float(row.length), row.figures[figure]) for row in rows if figure in row.figures)


def _names(runs: Sequence[tuple[str, str]]) -> dict[tuple[str, str], str]:
    """Name each (model, rule) by what tells it from the others."""
    models, rules = {model for model, _ in runs}, {rule for _, rule in runs}
    if len(models) == 1:
        return {run: run[1] if len(rules) > 1 else run[0] for run in runs}
    return {run: run[0] if len(rules) == 1 else " ".join(run) for run in runs}


def _portraits(runs: Sequence[Mapping[str, Any]], out: Path) -> list[tuple[str, str]]:
    pictures = []
    for sequence in dict.fromkeys(run["sequence"] for run in runs):
        shown = [
            Portrait(f"{run['model']} {run['rule']}", _score(run["figures"]), clouds)
            for run in runs
            if run["sequence"] == sequence and (clouds := read_clouds(out, sequence, run["label"])) is not None
        ][:TOGETHER]
        if shown:
            name = f"clouds-{file_name(sequence)}.png"
            _save(draw_portraits(shown), out / name)
            words = f"{sequence}: the true points beside those of {' and '.join(each.words for each in shown)}, "
            words += "aligned, from the same camera: from one side, and from above. Coloured by time: the path of the "
            pictures.append((name, words + "camera; grey: the true one."))
    return pictures


def _score(figures: Mapping[str, Any]) -> str:
    known = [(name, figures.get(key)) for name, key in (("acc", "acc"), ("comp", "comp"), ("ATE", "ate_sim3"))]
    said = [f"{name} {value:.3f} m" for name, value in known if value is not None]
    return ", ".join([*said, f"{figures['frames']} frames"])


def _save(picture: Image.Image, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, "PNG", optimize=True)
    except OSError as error:
        raise OutputError(f"{path}: could not be written ({error}); free space or choose another place.") from error


def _markdown(report: Report) -> str:
    parts = [f"# {report.title}", "  \n".join(report.setup), to_markdown(report.tables)]
    parts += [f"![{words}]({name})" for name, words in report.pictures]
    rows = "\n".join(f"| {name} | {value} |" for name, value in report.facts)
    parts.append(f"## What changes a number\n\n| | |\n| --- | --- |\n{rows}")
    parts.append(
        "## Dropped, or without a plain answer\n\n" + "\n".join(f"- {line}" for line in report.remarks or ["nothing"])
    )
    return "\n\n".join(parts) + "\n"
