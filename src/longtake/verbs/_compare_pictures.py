# SPDX-License-Identifier: Apache-2.0
"""The comparison for eyes: error against length, and the paths from above, in one picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from longtake.errors import InputError, OutputError
from longtake.evaluation.figures import align_similarity
from longtake.verbs._compare_cost import MARKS
from longtake.verbs._compare_run import Entry, TakeLine

PAPER, CARD, INK, MUTED, LINE = "#faf9f6", "#f2f0ea", "#1c1d22", "#7b7a80", "#dedbd2"
# Twelve colours that keep apart for most eyes, strongest first.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9",
          "#7a5195", "#8c564b", "#3d8168", "#b0413e", "#5b6abf", "#9a8700")  # fmt: skip
WIDTH, MARGIN, SHARP = 1600, 64, 2  # everything is drawn twice as large and made smaller
PATHS = 3  # takes whose paths are drawn


def save_comparison(entries: Sequence[Entry], path: Path) -> None:
    """Write the picture as PNG. Raises OutputError where it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draw_comparison(entries).save(path, "PNG")
    except OSError as error:
        raise OutputError(f"{path}: could not be written ({error}); free space or choose another place.") from error


def draw_comparison(entries: Sequence[Entry]) -> Image.Image:
    """Error against length (where there is truth) and, of several models, costs; then paths from above, a legend."""
    shown = range(min(PATHS, len(entries[0].takes)))
    curves = [panel for panel in panels(entries) if any(len(lengths) > 1 for lengths, _ in panel.curves)]
    cells = len(shown) + len(curves)
    columns = 2 if cells > 1 else 1
    wide = (WIDTH - 2 * MARGIN - (columns - 1) * 40) // columns
    tall = round(wide * (0.72 if columns == 2 else 0.5))
    rows = -(-cells // columns)
    legend = 34 * -(-len(entries) // 3)
    page = _Page(WIDTH, 110 + rows * (tall + 70) + legend + 40)
    page.text(MARGIN, 70, "Rules side by side" if len({e.model for e in entries}) == 1 else "Side by side", 34)
    place = iter((MARGIN + (i % columns) * (wide + 40), 110 + (i // columns) * (tall + 70)) for i in range(cells))
    for panel in curves:
        x, y = next(place)
        _draw_curves(page, (x, y, wide, tall), panel)
    for take in shown:
        x, y = next(place)
        _draw_paths(page, (x, y, wide, tall), entries, take)
    top = 110 + rows * (tall + 70) + 20
    for i, entry in enumerate(entries):
        x, y = MARGIN + (i % 3) * ((WIDTH - 2 * MARGIN) // 3), top + 34 * (i // 3)
        page.line([(x, y), (x + 44, y)], _color(i), 5)
        page.text(x + 58, y + 7, entry.rule if len({e.model for e in entries}) == 1 else entry.label, 21)
    return page.finish()


@dataclass(frozen=True, slots=True)
class Panel:
    """Curves over the number of frames, one an entry; an empty one where it has none."""

    words: str
    curves: list[tuple[np.ndarray, np.ndarray]]  # (lengths, values)


def panels(entries: Sequence[Entry]) -> list[Panel]:
    """The error, and where models are compared what they cost: means over the takes that reached a length."""
    error: list[_Values] = [[{n: pair[0] for n, pair in t.by_length.items()} for t in e.takes] for e in entries]
    made = [("Error of the first n frames: ATE over the take's spread, mean over takes", error)]
    if len({entry.model for entry in entries}) > 1:
        for words, name, unit in (
            ("Frames/s around frame n", "frames_per_second", 1.0),
            ("Memory at most until frame n, MB", "peak_bytes", 1e-6),
            ("Kept between frames after frame n, MB", "state_bytes", 1e-6),
        ):
            known = [[{n: getattr(c, name) for n, c in t.costs.items()} for t in e.takes] for e in entries]
            made.append((words, [[{n: unit * v for n, v in t.items() if v is not None} for t in e] for e in known]))
    return [Panel(words, [_mean_over(takes) for takes in values]) for words, values in made]


_Values = list[dict[int, float]]  # a take each: length -> value


def _mean_over(takes: _Values) -> tuple[np.ndarray, np.ndarray]:
    lengths = sorted({n for values in takes for n in values})
    return np.array(lengths, float), np.array([np.mean([v[n] for v in takes if n in v]) for n in lengths])


def _draw_curves(page: _Page, box: tuple[int, int, int, int], panel: Panel) -> None:
    x, y, wide, tall = box
    page.card(box)
    page.text(x, y + tall + 34, panel.words, 20, MUTED)
    curves = panel.curves
    first, last = (f(n for c in curves for n in c[0]) for f in (min, max))
    highest = max(float(c[1].max()) for c in curves if len(c[1]))
    step = _nice(highest / 5)
    roof = step * np.ceil(highest / step + 0.05)
    left, right, base, head = x + 70, x + wide - 26, y + tall - 56, y + 28

    def spot(n: float, error: float) -> tuple[float, float]:
        share = np.log(n / first) / max(np.log(last / first), 1e-9)
        return left + share * (right - left), base - error / roof * (base - head)

    for tick in np.arange(0, roof + step / 2, step):
        at = spot(first, tick)[1]
        page.line([(left, at), (right, at)], LINE, 1)
        page.text(left - 12, at + 7, f"{tick:g}", 19, MUTED, "rs")
    for n in MARKS:
        if first <= n <= last:
            at = spot(n, 0)[0]
            page.line([(at, base), (at, base + 7)], MUTED, 1)
            page.text(at, base + 32, f"{n:,}", 19, MUTED, "ms")
    for i, (lengths, means) in enumerate(curves):
        if len(lengths) == 1:  # a take that ended with its first frame
            page.ring(spot(float(lengths[0]), float(means[0])), 5)
        page.line([spot(n, e) for n, e in zip(lengths, means, strict=True)], _color(i), 3.5)


def _draw_paths(page: _Page, box: tuple[int, int, int, int], entries: Sequence[Entry], take: int) -> None:
    x, y, wide, tall = box
    page.card(box)
    lines = [entry.takes[take] for entry in entries]
    paths, metres = _flatten(lines)
    true = lines[0].true_path is not None
    words = f"Paths of {lines[0].take} from above, "
    words += "aligned to the true one (black)" if true else "aligned to the first of these"
    page.text(x, y + tall + 34, words, 20, MUTED)
    everything = np.concatenate([p for p in paths if len(p)] or [np.zeros((1, 2))])
    low, high = np.percentile(everything, (0.5, 99.5), axis=0)  # one run-away point does not shrink the rest
    middle, span = (low + high) / 2, np.maximum(high - low, 1e-6)
    zoom = 0.82 * min(wide / span[0], tall / span[1])
    centre = np.array([x + wide / 2, y + tall / 2])

    def place(path: np.ndarray) -> list[tuple[float, float]]:
        pixels = (path - middle) * zoom * [1, -1] + centre
        return [tuple(p) for p in np.clip(pixels, (x + 4, y + 4), (x + wide - 4, y + tall - 4))]

    for i in reversed(range(len(entries))):
        if len(paths[i]) > 1:
            page.line(place(paths[i]), _color(i), 3)
    if true:
        page.line(place(paths[-1]), INK, 3.5)
    start = place(paths[-1])[0] if len(paths[-1]) else tuple(centre)
    page.ring(start, 8)
    unit = _nice(span.max() / 5)
    page.line([(x + 24, y + tall - 24), (x + 24 + unit * zoom, y + tall - 24)], MUTED, 3)
    page.text(x + 24, y + tall - 36, f"{unit:g} {metres}", 19, MUTED)


def _flatten(lines: Sequence[TakeLine]) -> tuple[list[np.ndarray], str]:
    """Return the entries' paths, aligned, and the reference last, as (T, 2) seen from above, and the unit's name.

    Above is the direction in which the reference moves least: a walk fills the floor.
    """
    longest = max(len(line.path) for line in lines)
    whole = [len(line.path) == longest and bool(np.isfinite(line.path).all()) for line in lines]
    reference = lines[0].true_path
    if reference is None:
        reference = next((line.path for line, can in zip(lines, whole, strict=True) if can), np.zeros((0, 3)))
    aligned = []
    for line, can in zip(lines, whole, strict=True):
        if can and len(reference):
            scale, rotation, move = align_similarity(line.path, reference)
            aligned.append(scale * line.path @ rotation.T + move)
        else:
            aligned.append(np.zeros((0, 3)))
    middle = reference.mean(0) if len(reference) else np.zeros(3)
    _, _, axes = np.linalg.svd((reference - middle).T @ (reference - middle))
    flat = [(path - middle) @ axes[:2].T for path in (*aligned, reference)]
    return flat, "m" if lines[0].true_path is not None else "units"


def _nice(value: float) -> float:
    power = 10.0 ** np.floor(np.log10(max(value, 1e-9)))
    return float(power * min(n for n in (1, 2, 5, 10) if n >= value / power - 1e-9))


def _color(i: int) -> str:
    return COLORS[i % len(COLORS)]


@cache
def _font(size: int) -> Any:
    return ImageFont.load_default(size * SHARP)


class _Page:
    """A page in plain pixels, drawn sharper."""

    def __init__(self, width: int, height: int) -> None:
        self.image = Image.new("RGB", (width * SHARP, height * SHARP), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def card(self, box: tuple[int, int, int, int]) -> None:
        x, y, wide, tall = (SHARP * v for v in box)
        self.draw.rounded_rectangle((x, y, x + wide, y + tall), 14 * SHARP, CARD)

    def text(self, x: float, y: float, words: str, size: int, color: str = INK, anchor: str = "ls") -> None:
        self.draw.text((x * SHARP, y * SHARP), words, fill=color, font=_font(size), anchor=anchor)

    def line(self, points: Sequence[tuple[float, ...]], color: str, width: float) -> None:
        pixels = [(float(p[0]) * SHARP, float(p[1]) * SHARP) for p in points]
        self.draw.line(pixels, color, round(width * SHARP), joint="curve")

    def ring(self, at: tuple[float, ...], radius: float) -> None:
        x, y, r = at[0] * SHARP, at[1] * SHARP, radius * SHARP
        self.draw.ellipse((x - r, y - r, x + r, y + r), PAPER, INK, 3 * SHARP)

    def finish(self) -> Image.Image:
        return self.image.resize((self.image.width // SHARP, self.image.height // SHARP), Image.Resampling.LANCZOS)


def check_count(count: int) -> None:
    """Refuse more lines than there are colours. Raises InputError."""
    if count > len(COLORS):
        raise InputError(f"{count} combinations of models and rules; at most {len(COLORS)} can be told apart in a plot")
