# SPDX-License-Identifier: Apache-2.0
"""Lines of a figure against length, drawn with Pillow. A line that ended because memory ran out ends in a mark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from PIL import Image, ImageDraw, ImageFont

from longtake.outputs.lines import round_length
from longtake.outputs.sheet import INK, LINE, MUTED, PAPER

SIZE = (1240, 760)
_OVER = 3  # samples per pixel and axis
_LEFT, _RIGHT, _TOP, _BOTTOM = 118, 54, 158, 104
_TITLE, _TEXT, _ROW = 38, 29, 44  # sizes of letters, and a line of the key
COLORS = ("#3b62d6", "#d9641e", "#2f8f5b", "#9b4fc0", "#b8860b", "#1d8fa3", "#c03a6b", "#6b6f76")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: lengths and values in order; `lost_at`: the first length that memory did not suffice for.

    A naive guess is drawn as a thin grey line without points.
    """

    name: str
    points: tuple[tuple[float, float], ...]
    lost_at: float | None = None
    naive: bool = False


def draw_plot(title: str, unit: str, lines: Sequence[Line], across: str = "frames") -> Image.Image:
    """Draw lines over a shared scale that begins at 0, lengths (`across` names them) at their true distances."""
    image = Image.new("RGB", (SIZE[0] * _OVER, SIZE[1] * _OVER), PAPER)
    draw = ImageDraw.Draw(image)
    lengths = sorted({x for line in lines for x, _ in line.points} | {line.lost_at for line in lines if line.lost_at})
    values = [y for line in lines for _, y in line.points]
    step = round_length(max(max(values, default=1.0), 1e-9) / 3.2)
    top = step * math.ceil(max(max(values, default=1.0), 1e-9) * 1.02 / step)
    low, high = (0.0, max(lengths)) if lengths else (0.0, 1.0)

    key = _arranged(draw, lines)
    ceiling = _TOP + _ROW * (key[-1][1] if key else 0)

    def place(x: float, y: float) -> tuple[float, float]:
        across = _LEFT + (SIZE[0] - _LEFT - _RIGHT) * (x - low) / max(high - low, 1e-9)
        return across * _OVER, (SIZE[1] - _BOTTOM - (SIZE[1] - ceiling - _BOTTOM) * y / top) * _OVER

    def text(x: float, y: float, words: str, size: int, color: str, anchor: str) -> None:
        draw.text((x, y), words, fill=color, font=ImageFont.load_default(size * _OVER), anchor=anchor)

    for i in range(round(top / step) + 1):
        (left, y), (right, _) = place(low, i * step), place(high, i * step)
        draw.line((left, y, right, y), fill=LINE, width=(3 if i else 6))
        text(left - 18 * _OVER, y, f"{i * step:g}", _TEXT, MUTED, "rm")
    written = -math.inf
    for x in lengths:
        at, y = place(x, 0)
        if at - written >= 78 * _OVER:
            draw.line((at, y, at, y + 9 * _OVER), fill=MUTED, width=4)
            text(at, y + 18 * _OVER, f"{x:g}", _TEXT, MUTED, "mt")
            written = at
    text(place(high, 0)[0], (SIZE[1] - 16) * _OVER, across, _TEXT, MUTED, "rb")
    text(40 * _OVER, 58 * _OVER, title, _TITLE, INK, "ls")
    beside = 40 * _OVER + draw.textlength(title, ImageFont.load_default(_TITLE * _OVER)) + 20 * _OVER
    text(beside, 58 * _OVER, unit, _TEXT, MUTED, "ls")
    colors = _colors(lines)
    for i, (line, color) in enumerate(zip(lines, colors, strict=True)):
        under = 2 * min(len(lines) - 1 - i, 3)  # where lines lie on each other, the lower one still shows
        spots = [place(x, y) for x, y in line.points]
        if line.naive:
            draw.line(spots, fill=color, width=3 * _OVER, joint="curve")
        else:
            _draw_line(draw, spots, color, under)
    for line, color in zip(lines, colors, strict=True):
        if line.lost_at is not None:
            last = line.points[-1] if line.points else (low, 0.0)
            _mark_lost(draw, [place(*last), place(line.lost_at, last[1])], color)
    for (x, row), line, color in zip(key, lines, colors, strict=True):
        y = 112 + row * _ROW
        width = 3 if line.naive else 6
        draw.line((x * _OVER, (y - 9) * _OVER, (x + 34) * _OVER, (y - 9) * _OVER), fill=color, width=width * _OVER)
        text((x + 46) * _OVER, y * _OVER, line.name, _TEXT, INK, "ls")
    return image.resize(SIZE, Image.Resampling.BOX)


def _colors(lines: Sequence[Line]) -> list[str]:
    own = iter(COLORS * (1 + len(lines) // len(COLORS)))
    return [MUTED if line.naive else next(own) for line in lines]


def _arranged(draw: ImageDraw.ImageDraw, lines: Sequence[Line]) -> list[tuple[float, int]]:
    """Return (x in pixels, row) of each line's name in the key, from left to right and row by row."""
    x, row, places = 40.0, 0, []
    for line in lines:
        width = 46 + draw.textlength(line.name, ImageFont.load_default(_TEXT * _OVER)) / _OVER
        if x > 40 and x + width > SIZE[0] - 40:
            x, row = 40.0, row + 1
        places.append((x, row))
        x += width + 40
    return places


def _draw_line(draw: ImageDraw.ImageDraw, spots: Sequence[tuple[float, float]], color: str, wider: int) -> None:
    if len(spots) > 1:
        draw.line(list(spots), fill=color, width=(5 + 2 * wider) * _OVER, joint="curve")
    for x, y in spots:
        for r, fill in (((11 + wider) * _OVER, PAPER), ((8 + wider) * _OVER, color)):
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
    late = x > (SIZE[0] - 260) * _OVER
    place = (x + (-18 if late else 18) * _OVER, y + 32 * _OVER)
    font = ImageFont.load_default(_TEXT * _OVER)
    draw.text(place, "out of memory", color, font, "rm" if late else "lm", stroke_width=4 * _OVER, stroke_fill=PAPER)
