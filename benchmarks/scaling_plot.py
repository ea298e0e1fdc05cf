# SPDX-License-Identifier: Apache-2.0
"""scaling.png: three pictures of what a step costs, and who is who beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from growth_plot import Canvas
from PIL import Image

from longtake.outputs.sheet import CARD, INK, LINE, MUTED

SIZE = (2000, 1550)
_PANELS = ((60, 150, 980, 790), (1020, 150, 1940, 790), (60, 850, 980, 1490))  # left, top, right, bottom
_KEY = (1020, 850)
_INSIDE = (112, 82, 76, 62)  # left, top, right, bottom of a panel's scale
_HUES = ("#3b62d6", "#d9861e", "#2f8f5b", "#9b4fc0", "#c2331f", "#1f9aa8", "#6b6f76", "#b0892f", "#d4609c", "#5c4a3a")

Curve = Mapping[str, Any]


def draw_scaling(about: Mapping[str, Any], curves: Sequence[Curve]) -> Image.Image:
    """Draw what `scaling.py` wrote. Both scales of each picture are logarithmic; a curve keeps its colour."""
    canvas = Canvas()
    canvas.text(60, 72, "What a step costs, as a take, its pictures and its company grow", 40, INK)
    threads = f", {about['threads']} thread{'s' * (about['threads'] > 1)}" if about["threads"] else ""
    captured = ", captured graphs" if about["graphs"] else ""
    facts = f"{about['sizes']}, random weights, {about['precision']}, {about['device']}{threads}{captured}"
    canvas.text(60, 112, f"{facts}, PyTorch {about['torch']}", 24, MUTED)
    shown = [(curve, _HUES[i % len(_HUES)], i >= len(_HUES)) for i, curve in enumerate(curves)]
    for box, axis, name, words, value in (
        (_PANELS[0], "frames", "time of a frame", "frames so far", lambda row: 1e3 * row["seconds"]),
        (_PANELS[1], "patches", "time of a frame", "patches of its picture", lambda row: 1e3 * row["seconds"]),
        (_PANELS[2], "streams", "frames a second, all together", "streams", lambda row: row["x"] / row["seconds"]),
    ):
        lines = [
            ([(row["x"], value(row)) for row in curve["rows"] if row["axis"] == axis], color, dashed)
            for curve, color, dashed in shown
        ]
        _panel(canvas, box, name, words, "" if axis == "streams" else " ms", lines)
    _key(canvas, shown)
    return canvas.image.resize(SIZE, Image.Resampling.BOX)


def _panel(
    canvas: Canvas,
    box: tuple[int, int, int, int],
    name: str,
    words: str,
    unit: str,
    lines: Sequence[tuple[list[tuple[float, float]], str, bool]],
) -> None:
    left, top, right, bottom = box
    canvas.draw.rounded_rectangle(tuple(2 * edge for edge in box), 28, CARD)
    canvas.text(left + 32, top + 46, name, 28, INK)
    canvas.text(right - 32, top + 46, words, 22, MUTED, "rs")
    points = [point for spots, *_ in lines for point in spots] or [(1.0, 1.0)]
    xs = sorted({x for x, _ in points})
    low, high = (math.log10(f(y for _, y in points)) for f in (min, max))
    pad = max(0.08, (0.5 - (high - low)) / 2)  # a flat curve is drawn flat, not as the noise that it has
    low, high = low - pad, high + pad
    first, reach = math.log10(xs[0]), max(math.log10(xs[-1] / xs[0]), 1e-9)

    def place(x: float, y: float) -> tuple[float, float]:
        across = left + _INSIDE[0] + (right - left - _INSIDE[0] - _INSIDE[2]) * (math.log10(x) - first) / reach
        height = bottom - top - _INSIDE[1] - _INSIDE[3]
        return across, bottom - _INSIDE[3] - height * (math.log10(y) - low) / (high - low)

    ends = place(xs[0], 1)[0], place(xs[-1], 1)[0]
    for tick in _ticks(low, high):
        y = place(1, tick)[1]
        canvas.line([(ends[0], y), (ends[1], y)], LINE, 1.5)
        canvas.text(ends[0] - 16, y, f"{tick:g}{unit}", 22, MUTED, "rm")
    free = -math.inf
    for x in xs:
        spot = place(x, 1)[0]
        canvas.line([(spot, bottom - _INSIDE[3]), (spot, bottom - _INSIDE[3] + 8)], MUTED, 1.5)
        if spot > free:
            canvas.text(spot, bottom - _INSIDE[3] + 16, f"{x:,}", 22, MUTED, "mt")
            free = spot + 46
    for spots, color, dashed in lines:
        placed = [place(x, y) for x, y in spots]
        if len(placed) > 1:
            (canvas.dashed if dashed else canvas.line)(placed, color, 4)
        for x, y in placed:
            canvas.dot(x, y, 8, CARD)
            canvas.dot(x, y, 6, color)


def _ticks(low: float, high: float) -> list[float]:
    """Round numbers between two logarithms, at least two of them where that can be, and at most nine."""
    powers = range(math.floor(low), math.ceil(high) + 1)
    for digits in ((1,), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 6, 8), tuple(k / 10 for k in range(10, 100, 5))):
        found = [digit * 10**power for power in powers for digit in digits if low <= math.log10(digit) + power <= high]
        if len(found) >= 3:
            return found if len(found) <= 9 else found[:: math.ceil(len(found) / 9)]
    return found


def _key(canvas: Canvas, shown: Sequence[tuple[Curve, str, bool]]) -> None:
    left, y = _KEY
    columns = (left + 76, left + 470, left + 640)
    for x, words in zip(columns, ("model", "memory", "first frame to last"), strict=True):
        canvas.text(x, y + 30, words, 22, MUTED)
    y += 44
    step = min(48, 580 / max(len(shown), 1))
    for curve, color, dashed in shown:
        y += step
        (canvas.dashed if dashed else canvas.line)([(left + 8, y - 8), (left + 58, y - 8)], color, 5)
        words = curve["label"].replace(":rule=", ", ").replace(":", ", ").replace("=", " ")
        canvas.text(columns[0], y, words, 24, INK)
        canvas.text(columns[1], y, curve["memory"], 24, INK)
        times = [1e3 * row["seconds"] for row in curve["rows"] if row["axis"] == "frames"]
        if times:
            canvas.text(columns[2], y, f"{times[0]:.3g} ms to {times[-1]:.3g} ms", 24, INK)
