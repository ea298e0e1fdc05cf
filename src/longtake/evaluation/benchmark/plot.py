# SPDX-License-Identifier: Apache-2.0
"""Lines of a figure against length, drawn with Pillow. A line that ended because memory ran out ends in a mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from longtake.outputs.lines import round_length
from longtake.outputs.sheet import INK, LINE, MUTED, PAPER

SIZE = (1240, 720)
_OVER = 3  # samples per pixel and axis
_LEFT, _RIGHT, _TOP, _BOTTOM = 110, 48, 112, 92
COLORS = ("#3b62d6", "#d9641e", "#2f8f5b", "#9b4fc0", "#b8860b", "#1d8fa3", "#c03a6b", "#6b6f76")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: lengths and values in order; `lost_at`: the first length that memory did not suffice for."""

    name: str
    points: tuple[tuple[float, float], ...]
    lost_at: float | None = None


def draw_plot(title: str, unit: str, lines: Sequence[Line]) -> Image.Image:
    """Draw lines over a shared scale that begins at 0, lengths at their true distances."""
    image = Image.new("RGB", (SIZE[0] * _OVER, SIZE[1] * _OVER), PAPER)
    draw = ImageDraw.Draw(image)
    lengths = sorted({x for line in lines for x, _ in line.points} | {line.lost_at for line in lines if line.lost_at})
    values = [y for line in lines for _, y in line.points]
    step = round_length(max(max(values, default=1.0), 1e-9) / 3.2)
    top = step * math.ceil(max(max(values, default=1.0), 1e-9) * 1.02 / step)
    low, high = (0.0, max(lengths)) if lengths else (0.0, 1.0)

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (SIZE[0] - _LEFT - _RIGHT) * (x - low) / max(high - low, 1e-9)
        return across * _OVER, (SIZE[1] - _BOTTOM - (SIZE[1] - _TOP - _BOTTOM) * y / top) * _OVER

    def text(x: float, y: float, words: str, size: int, color: str, anchor: str) -> None:
        draw.text((x, y), words, fill=color, font=ImageFont.load_default(size * _OVER), anchor=anchor)

    for i in range(round(top / step) + 1):
        (left, y), (right, _) = place(low, i * step), place(high, i * step)
        draw.line((left, y, right, y), fill=LINE, width=(2 if i else 4))
        text(left - 16 * _OVER, y, f"{i * step:g}", 22, MUTED, "rm")
    written = -math.inf
    for x in lengths:
        at, y = place(x, 0)
        if at - written >= 56 * _OVER:
            draw.line((at, y, at, y + 8 * _OVER), fill=MUTED, width=3)
            text(at, y + 18 * _OVER, f"{x:g}", 22, MUTED, "mt")
            written = at
    text(place(high, 0)[0], (SIZE[1] - 14) * _OVER, "frames", 22, MUTED, "rb")
    text(40 * _OVER, 52 * _OVER, title, 30, INK, "ls")
    text(40 * _OVER, 84 * _OVER, unit, 22, MUTED, "ls")
    for i, line in enumerate(lines):
        under = 2 * min(len(lines) - 1 - i, 3)  # where lines lie on each other, the lower one still shows
        _draw_line(draw, [place(x, y) for x, y in line.points], COLORS[i % len(COLORS)], under)
    for i, line in enumerate(lines):
        if line.lost_at is not None:
            last = line.points[-1] if line.points else (low, 0.0)
            _mark_lost(draw, [place(*last), place(line.lost_at, last[1])], COLORS[i % len(COLORS)])
    _key(draw, text, lines)
    return image.resize(SIZE, Image.Resampling.BOX)


def _draw_line(draw: ImageDraw.ImageDraw, spots: Sequence[tuple[float, float]], color: str, wider: int) -> None:
    if len(spots) > 1:
        draw.line(list(spots), fill=color, width=(4 + 2 * wider) * _OVER, joint="curve")
    for x, y in spots:
        for r, fill in (((9 + wider) * _OVER, PAPER), ((6 + wider) * _OVER, color)):
            draw.ellipse((x - r, y - r, x + r, y + r), fill=fill)


def _mark_lost(draw: ImageDraw.ImageDraw, spots: Sequence[tuple[float, float]], color: str) -> None:
    """Draw a dotted way from the last point to a cross at the length that memory did not suffice for, and name it."""
    (x0, y0), (x, y) = spots
    r, dot = 10 * _OVER, 2 * _OVER
    for i in range(1, max(2, int((x - x0) / (9 * _OVER)))):
        at = x0 + i * 9 * _OVER
        draw.ellipse((at - dot, y0 - dot, at + dot, y0 + dot), fill=color)
    for width, ink in ((10, PAPER), (4, color)):
        for ends in ((x - r, y - r, x + r, y + r), (x - r, y + r, x + r, y - r)):
            draw.line(ends, fill=ink, width=width * _OVER)
    late = x > (SIZE[0] - 220) * _OVER
    place = (x + (-16 if late else 16) * _OVER, y + 26 * _OVER)
    font = ImageFont.load_default(20 * _OVER)
    draw.text(place, "out of memory", color, font, "rm" if late else "lm", stroke_width=4 * _OVER, stroke_fill=PAPER)


def _key(draw: ImageDraw.ImageDraw, text: object, lines: Sequence[Line]) -> None:
    """Name the lines at the top right, from the right end leftwards."""
    x = (SIZE[0] - _RIGHT) * _OVER
    for i in range(len(lines) - 1, -1, -1):
        text(x, 52 * _OVER, lines[i].name, 22, INK, "rs")  # type: ignore[operator]
        x -= draw.textlength(lines[i].name, ImageFont.load_default(22 * _OVER)) + 12 * _OVER
        draw.line((x - 30 * _OVER, 45 * _OVER, x, 45 * _OVER), fill=COLORS[i % len(COLORS)], width=5 * _OVER)
        x -= 58 * _OVER
