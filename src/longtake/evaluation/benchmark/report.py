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
from longtake.evaluation.benchmark.portraits import draw_portraits
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.evaluation.benchmark.results import file_name, read_clouds
from longtake.evaluation.records import write_text
from longtake.evaluation.tables import to_markdown

PLOTS = (
    ("ate_sim3", "Camera path", "ATE after Sim(3), metres"),
    ("rpe_rot_deg", "Rotation from frame to frame", "RPE rotation, degrees"),
    ("absrel_scale", "Video depth", "AbsRel, one exact scale a sequence"),
    ("acc", "Cloud: accuracy", "mean distance to the true cloud, metres"),
    ("comp", "Cloud: completeness", "mean distance from the true cloud, metres"),
    ("fps", "Speed", "frames a second"),
)
TOGETHER = 3  # runs in one picture, beside the truth


def make_report(
    runs: Sequence[Mapping[str, Any]], notes: Mapping[str, Sequence[str]], protocol: Protocol, out: Path
) -> Report:
    """Draw plots and clouds into `out` and gather the report. `notes`: what each sequence says of itself."""
    rows = gather(runs)
    pictures = _plots(rows, out) + _portraits(runs, out)
    title = f"{protocol.dataset}: {', '.join(dict.fromkeys(str(run['sequence']) for run in runs))}"
    return Report(title, grids(rows), _facts(runs, notes, protocol), remarks(runs), pictures)


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
            why.setdefault(each["reason"], []).append(each["frame"])
        for reason, frames in why.items():
            more = f" and {len(frames) - 1} more" if len(frames) > 1 else ""
            lines[f"{name}: frame {frames[0]}{more} dropped: {reason}"] = None
        for length, figures in run["by_length"].items():
            if figures["status"] != "ok":
                lines[f"{name}, {length} frames: {figures['status']}: {figures['reason']}"] = None
            reasons: dict[str, list[str]] = {}
            for figure, reason in figures.get("reasons", {}).items():
                reasons.setdefault(reason, []).append(figure)
            for reason, figure in reasons.items():
                lines[f"{name}, {length} frames: {', '.join(figure)}: {reason}"] = None
    return list(lines)


def _facts(
    runs: Sequence[Mapping[str, Any]], notes: Mapping[str, Sequence[str]], protocol: Protocol
) -> list[tuple[str, str]]:
    facts = list(protocol.spelled())
    for run in runs[:1]:
        facts.append(("longtake, code", f"{run['settings']['longtake']}, {run['settings']['code_sha256'][:12]}"))
    nets = {run["model"]: run["settings"] for run in runs}
    for name, s in nets.items():
        about = f"{s['parameters'] / 1e6:.2f} M parameters, sha256 of the tensors {s['weights_sha256'][:16]}"
        facts.append((name, f"{about}, {s['dtype']} on {s['device']}, torch {s['torch']}"))
    for sequence in dict.fromkeys(run["sequence"] for run in runs):
        mine = [run for run in runs if run["sequence"] == sequence]
        used, sizes = mine[0]["frames_used"], mine[0]["sizes"]
        span = f"{used[0]} to {used[-1]}" if used else "none"
        seen = " seen at ".join("{}x{}".format(*sizes[key]) for key in ("original", "model") if key in sizes)
        metric = "metric" if mine[0]["is_metric"] else "not metric: its metric figures judge the unit too"
        facts.append(
            (sequence, f"{len(used)} of {mine[0]['frames_in_sequence']} frames, {span}, {seen}; model {metric}")
        )
        facts += [(f"{sequence}: {note.partition(':')[0]}", note.partition(":")[2].strip()) for note in notes[sequence]]
    facts.append(("Peak memory", "of the device on CUDA, else of the whole process"))
    facts.append(
        ("Over sequences", "plain mean; depth weighted by valid pixels; (n): so many sequences have the figure")
    )
    return facts


def _plots(rows: Sequence[Row], out: Path) -> list[tuple[str, str]]:
    """Draw each figure against length, where there is more than one."""
    if len({row.length for row in rows}) < 2:
        return []
    pictures = []
    for figure, title, unit in PLOTS:
        lines = []
        for model, rule in dict.fromkeys((row.model, row.rule) for row in rows):
            mine = sorted((row for row in rows if (row.model, row.rule) == (model, rule)), key=lambda row: row.length)
            points = tuple((float(row.length), row.figures[figure]) for row in mine if figure in row.figures)
            lost = next((float(row.length) for row in mine if row.out_of_memory), None)
            lines.append(Line(f"{model} {rule}", points, lost))
        if any(line.points for line in lines):
            name = f"{figure}.png"
            _save(draw_plot(title, unit, lines), out / name)
            pictures.append((name, f"{title} against length: {unit}."))
    return pictures


def _portraits(runs: Sequence[Mapping[str, Any]], out: Path) -> list[tuple[str, str]]:
    pictures = []
    for sequence in dict.fromkeys(run["sequence"] for run in runs):
        shown = [
            (f"{run['model']} {run['rule']}", clouds)
            for run in runs
            if run["sequence"] == sequence and (clouds := read_clouds(out, sequence, run["label"])) is not None
        ][:TOGETHER]
        if shown:
            name = f"clouds-{file_name(sequence)}.png"
            _save(draw_portraits(shown), out / name)
            words = ", ".join(words for words, _ in shown)
            pictures.append(
                (name, f"{sequence}: the true points beside {words}, after alignment, from the same camera.")
            )
    return pictures


def _save(picture: Image.Image, path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture.save(path, "PNG", optimize=True)
    except OSError as error:
        raise OutputError(f"{path}: could not be written ({error}); free space or choose another place.") from error


def _markdown(report: Report) -> str:
    parts = [f"# {report.title}", to_markdown(report.tables)]
    parts += [f"![{words}]({name})" for name, words in report.pictures]
    rows = "\n".join(f"| {name} | {value} |" for name, value in report.facts)
    parts.append(f"## What changes a number\n\n| | |\n| --- | --- |\n{rows}")
    parts.append(
        "## Dropped, or without a plain answer\n\n" + "\n".join(f"- {line}" for line in report.remarks or ["nothing"])
    )
    return "\n\n".join(parts) + "\n"
