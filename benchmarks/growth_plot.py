# SPDX-License-Identifier: Apache-2.0
"""growth.png: three pictures of cost against frames, both scales logarithmic, and who is who beside them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from PIL import Image, ImageDraw, ImageFont

from longtake.outputs.sheet import CARD, INK, LINE, MUTED, PAPER

SIZE = (2000, 1550)
_OVER = 2  # samples per pixel and axis
_PANELS = ((60, 150, 980, 790), (1020, 150, 1940, 790), (60, 850, 980, 1490))  # left, top, right, bottom
_KEY = (1020, 850)
_INSIDE = (104, 74, 48, 70)  # left, top, right, bottom of a panel's scale
# By kind of memory, so that a curve's colour says why it rises; shades tell its models apart.
_COLORS = {
    "recurrent": ("#3b62d6", "#7aa2f2"),
    "first frame": ("#6b6f76",),
    "pointers": ("#2f8f5b",),
    "cache": ("#9b4fc0", "#c592dd"),
    "full": ("#c2331f", "#f0a08a", "#d9861e", "#f0c987"),
}
_KINDS = tuple(_COLORS)
_ENDS = {"frames": "reached the last frame", "time": "time limit", "memory": "out of memory"}

Model = Mapping[str, Any]


def draw_growth(about: Mapping[str, Any], models: Sequence[Model]) -> Image.Image:
    """Draw what `growth.py` wrote. A line ends in a dot where all frames were reached, in a ring where time was over,
    in a cross where memory was.
    """
    canvas = Canvas()
    canvas.text(60, 72, "What a frame costs, against the frames before it", 40, INK)
    facts = f"{about['sizes']}, random weights, {about['precision']}, {about['device']}, PyTorch {about['torch']}"
    canvas.text(60, 112, facts, 24, MUTED)
    last = max((row["t"] for m in models for row in m["rows"]), default=1)
    counted = "of the process" if about["device"] == "cpu" else "on the device, weights included"
    shown = list(zip(models, _colors(models), strict=True))
    for box, name, key, scale, units in (
        (_PANELS[0], "time of frame t", "seconds", 1e3, _milliseconds),
        (_PANELS[1], f"peak memory {counted}", "peak_bytes", 1.0, _bytes),
        (_PANELS[2], "kept between frames", "state_bytes", 1.0, _bytes),
    ):
        lines = [(m, color, [(row["t"], row[key] * scale) for row in m["rows"]]) for m, color in shown]
        _panel(canvas, box, name, lines, last, units)
    _key(canvas, shown)
    return canvas.image.resize(SIZE, Image.Resampling.BOX)


class Canvas:
    """Pillow with smooth edges: everything is in pixels of the finished picture."""

    def __init__(self) -> None:
        self.image = Image.new("RGB", (SIZE[0] * _OVER, SIZE[1] * _OVER), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def text(self, x: float, y: float, words: str, size: int, color: str, anchor: str = "ls") -> None:
        font = ImageFont.load_default(size * _OVER)
        self.draw.text((x * _OVER, y * _OVER), words, color, font, anchor)

    def line(self, spots: Sequence[tuple[float, float]], color: str, width: float) -> None:
        flat = [(x * _OVER, y * _OVER) for x, y in spots]
        self.draw.line(flat, color, max(1, round(width * _OVER)), joint="curve")

    def dashed(self, spots: Sequence[tuple[float, float]], color: str, width: float) -> None:
        """A line of dashes that go on around its corners."""
        for a, b in zip(spots, spots[1:], strict=False):
            length = math.dist(a, b)
            for k in range(max(1, round(length / 18))):
                ends = [min(1.0, (18 * k + part) / max(length, 1e-9)) for part in (0, 11)]
                self.line([(a[0] + (b[0] - a[0]) * e, a[1] + (b[1] - a[1]) * e) for e in ends], color, width)

    def dot(self, x: float, y: float, radius: float, color: str) -> None:
        x, y, r = x * _OVER, y * _OVER, radius * _OVER
        self.draw.ellipse((x - r, y - r, x + r, y + r), color)

    def end(self, x: float, y: float, why: str, color: str, ground: str) -> None:
        """The mark that says why a line ends here."""
        if why == "memory":
            for width, ink in ((11, ground), (5, color)):
                for tilt in (1, -1):
                    self.line([(x - 11, y - 11 * tilt), (x + 11, y + 11 * tilt)], ink, width)
            return
        self.dot(x, y, 12, ground)
        self.dot(x, y, 9, color)
        if why != "frames":
            self.dot(x, y, 5, ground)


def _panel(
    canvas: Canvas,
    box: tuple[int, int, int, int],
    name: str,
    lines: Sequence[tuple[Model, str, list[tuple[float, float]]]],
    last: int,
    units: Any,
) -> None:
    left, top, right, bottom = box
    edges = tuple(edge * _OVER for edge in box)
    canvas.draw.rounded_rectangle(edges, 14 * _OVER, CARD)
    canvas.text(left + 32, top + 46, name, 28, INK)
    values = [y for _, _, points in lines for _, y in points if y > 0] or [1.0]
    low, high = math.log10(min(values)) - 0.12, math.log10(max(values)) + 0.12
    if high - low < 1:
        low, high = (low + high) / 2 - 0.5, (low + high) / 2 + 0.5
    reach = math.log10(max(last, 2)) * 1.02

    def place(t: float, y: float) -> tuple[float, float]:
        across = left + _INSIDE[0] + (right - left - _INSIDE[0] - _INSIDE[2]) * math.log10(t) / reach
        height = bottom - top - _INSIDE[1] - _INSIDE[3]
        return across, bottom - _INSIDE[3] - height * (math.log10(max(y, 1e-30)) - low) / (high - low)

    digits = (1, 2, 5) if high - low < 2.4 else (1,)
    for power in range(math.floor(low), math.ceil(high) + 1):
        for digit in digits:
            at = power + math.log10(digit)
            if low <= at <= high:
                (x, y), end = place(1, 10**at), place(10**reach, 1)[0]
                canvas.line([(x, y), (end, y)], LINE, 1.5)
                canvas.text(x - 14, y, units(10**at), 22, MUTED, "rm")
    for t in (digit * 10**power for power in range(7) for digit in (1, 2, 5)):
        if t <= last:
            x = place(t, 1)[0]
            canvas.line([(x, bottom - _INSIDE[3]), (x, bottom - _INSIDE[3] + 8)], MUTED, 1.5)
            canvas.text(x, bottom - _INSIDE[3] + 18, f"{t:,}", 22, MUTED, "mt")
    canvas.text(right - 32, top + 46, "t, frames so far", 22, MUTED, "rs")
    for model, color, points in lines:
        spots = [place(t, y) for t, y in points if y > 0]
        if ":" in model["label"]:
            canvas.dashed(spots, color, 5)
        elif len(spots) > 1:
            canvas.line(spots, color, 5)
        for x, y in spots[:-1]:
            canvas.dot(x, y, 4.5, color)
    for model, color, points in lines:  # above all lines
        if points and points[-1][1] > 0:
            canvas.end(*place(*points[-1]), model["ended"]["why"], color, CARD)


def _key(canvas: Canvas, shown: Sequence[tuple[Model, str]]) -> None:
    left, y = _KEY
    order = sorted(shown, key=lambda each: (*_KINDS, "").index(each[0].get("memory", "")))
    columns = (left + 76, left + 420, left + 576, left + 712)
    for x, words in zip(columns, ("model", "memory", "parameters", "last frame"), strict=True):
        canvas.text(x, y + 30, words, 22, MUTED)
    y += 44
    step = min(48, 430 / max(len(order), 1))
    for model, color in order:
        y += step
        (canvas.dashed if ":" in model["label"] else canvas.line)([(left + 8, y - 8), (left + 58, y - 8)], color, 5)
        canvas.text(columns[0], y, model["label"].replace(":", ", ").replace("=", " "), 25, INK)
        canvas.text(columns[1], y, model.get("memory", ""), 25, INK)
        canvas.text(columns[2], y, f"{model['parameters'] / 1e6:,.1f} M" if "parameters" in model else "", 25, INK)
        reached, why = model["rows"][-1]["t"] if model["rows"] else 0, model["ended"]["why"]
        more = {"time": ", then time", "memory": f", none at {model['ended']['at']:,}"}.get(why, "")
        canvas.text(columns[3], y, f"{reached:,}{more}" if reached or why != "time" else "not run", 25, INK)
    y, x = SIZE[1] - 74, left + 20
    for why, words in _ENDS.items():
        canvas.end(x, y - 8, why, INK, PAPER)
        canvas.text(x + 26, y, words, 22, MUTED)
        x += 330 if why == "frames" else 210


def _colors(models: Sequence[Model]) -> list[str]:
    """A shade for each model, of its kind of memory."""
    used: dict[str, int] = {}
    found = []
    for model in models:
        kind = model.get("memory", "")  # nothing is known of what was not begun
        shades = _COLORS.get(kind, ("#6b6f76",))
        found.append(shades[used.get(kind, 0) % len(shades)])
        used[kind] = used.get(kind, 0) + 1
    return found


def _milliseconds(value: float) -> str:
    return f"{value:g} ms" if value < 1000 else f"{value / 1000:g} s"


def _bytes(value: float) -> str:
    for unit in ("B", "kB", "MB", "GB"):
        if value < 999.5 or unit == "GB":
            return f"{value:g} {unit}"
        value /= 1000
    raise AssertionError
