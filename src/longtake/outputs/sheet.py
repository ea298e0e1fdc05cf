# SPDX-License-Identifier: Apache-2.0
"""report.png: one sheet that tells a take at a glance."""

from __future__ import annotations

from functools import cache

import numpy as np
from PIL import Image, ImageColor, ImageDraw, ImageFont

from longtake.outputs.colormap import DEPTH, PATH
from longtake.outputs.facts import Facts
from longtake.outputs.panels import SIZE, Panels, Strip
from longtake.outputs.tracking_strip import COLORS, TrackingStrip

_WIDTH, _MARGIN, _GUTTER = 2000, 88, 48
_HALF = (_WIDTH - 2 * _MARGIN - _GUTTER) // 2
_CARD = (_HALF, round(_HALF * SIZE[1] / SIZE[0]))
_GAP, _BETWEEN, _WORDS = 8, 36, 30  # of the frames: to the depth, to the next column, to the end of the words
PAPER, CARD, INK, MUTED, LINE = "#faf9f6", "#f2f0ea", "#1c1d22", "#7b7a80", "#dedbd2"
_STATUS = {"complete": "#2f8f5b", "complete, with notes": "#c98a1b", "interrupted": "#c98a1b"}


@cache
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


class Sheet:
    """A page to draw on: text, rules and cards, in pixels from the top left."""

    def __init__(self, height: int) -> None:
        self.image = Image.new("RGB", (_WIDTH, height), PAPER)
        self.draw = ImageDraw.Draw(self.image)

    def text(self, x: float, y: float, words: str, size: int, color: str = INK, anchor: str = "ls") -> None:
        """Write one line; the default anchor is the left end of the baseline. The font knows Latin-1 only in part."""
        plain = "".join(c if c.isascii() or c in "·°" else "?" for c in words)
        self.draw.text((x, y), plain, fill=color, font=_font(size), anchor=anchor)

    def rule(self, y: int) -> None:
        """Draw a hairline over the full width."""
        self.draw.line((_MARGIN, y, _WIDTH - _MARGIN, y), fill=LINE, width=2)

    def card(self, x: int, y: int, picture: Image.Image | None, size: tuple[int, int], words: str) -> None:
        """Draw a picture on a rounded ground, with words under it."""
        ground = Image.new("RGBA", size, CARD)
        if picture is not None:
            ground.alpha_composite(picture.resize(size, Image.Resampling.LANCZOS))
        self.image.paste(ground.convert("RGB"), (x, y), _round_mask(size, 14))
        if picture is None:
            self.text(x + size[0] / 2, y + size[1] / 2, "nothing to draw", 24, MUTED, "mm")
        self.text(x, y + size[1] + 40, words, 24, MUTED)


@cache
def _round_mask(size: tuple[int, int], radius: int) -> Image.Image:
    mask = Image.new("L", (size[0] * 3, size[1] * 3), 0)
    ImageDraw.Draw(mask).rounded_rectangle((0, 0, size[0] * 3 - 1, size[1] * 3 - 1), radius * 3, fill=255)
    return mask.resize(size, Image.Resampling.BOX)


def _shorten(words: str, size: int, width: float) -> str:
    """Cut words in the middle until they fit a width in pixels."""
    font, keep = _font(size), len(words)
    short = words
    while font.getlength(short) > width and keep > 8:
        keep -= 1
        short = words[: keep // 2] + "..." + words[len(words) - (keep - keep // 2) :]
    return short


def _ramp(sheet: Sheet, x: int, y: int, width: int, table: np.ndarray, ends: tuple[str, str]) -> None:
    """Draw a colour ramp with words at its ends; x is its right end."""
    left, right = (_font(22).getlength(word) for word in ends)
    start = x - right - 12 - width
    strip = Image.fromarray(np.broadcast_to(table[None], (1, 256, 3)).copy())
    strip = strip.resize((width, 12), Image.Resampling.BILINEAR)
    sheet.image.paste(strip, (round(start), y - 14), _round_mask((width, 12), 6))
    sheet.text(start - 12 - left, y, ends[0], 22, MUTED)
    sheet.text(x, y, ends[1], 22, MUTED, "rs")


def draw_sheet(facts: Facts, panels: Panels | None, strip: Strip, tracking: TrackingStrip | None = None) -> Image.Image:
    """Return the sheet as an RGB picture, 2000 pixels wide."""
    top = 400
    second = top + _CARD[1] + 96
    bottom = second + _CARD[1] + (166 if tracking else 96)
    notes = [*([facts.estimate] if facts.estimate else []), *(f"Note: {note}" for note in facts.notes[:4])]
    sheet = Sheet(bottom + 70 + 36 * len(notes))
    right = _WIDTH - _MARGIN
    status = str(facts.summary["status"])
    sheet.text(_MARGIN, 96, "Longtake", 26, MUTED)
    sheet.text(_MARGIN, 178, _shorten(facts.title, 68, 1180), 68)
    sheet.text(right, 96, _shorten(status, 26, 700), 26, INK, "rs")
    dot = right - _font(26).getlength(_shorten(status, 26, 700)) - 22
    sheet.draw.ellipse((dot - 7, 80, dot + 7, 94), fill=_STATUS.get(status, "#c0392b"))
    sheet.text(right, 176, _shorten(facts.setup, 30, 560), 30, MUTED, "rs")
    sheet.rule(222)
    figures = facts.figures()
    widths = [max(_font(42).getlength(value), _font(22).getlength(label)) for value, label in figures]
    gap = min((_WIDTH - 2 * _MARGIN - sum(widths)) / max(len(figures) - 1, 1), 150)
    x = float(_MARGIN)
    for (value, label), width in zip(figures, widths, strict=True):
        sheet.text(x, 300, value, 42)
        sheet.text(x, 340, label, 22, MUTED)
        x += width + gap
    away = _MARGIN + _HALF + _GUTTER
    sheet.card(_MARGIN, top, panels and panels.sides[0], _CARD, "The cloud from one side")
    sheet.card(away, top, panels and panels.sides[1], _CARD, "and from the other")
    _ramp(sheet, right, top + _CARD[1] + 40, 200, PATH, ("start", "end of the take"))
    sheet.card(_MARGIN, second, panels and panels.above, _CARD, "The path from above")
    if panels:
        _scale_bar(sheet, _MARGIN + _HALF, second + _CARD[1] + 40, panels, facts)
    _draw_pairs(sheet, away, second, strip, facts)
    if tracking:
        _draw_tracking(sheet, second + _CARD[1] + 84, tracking)
    for i, note in enumerate(notes):
        sheet.text(_MARGIN, bottom + 10 + 36 * i, _shorten(note, 24, 1780), 24, MUTED)
    return sheet.image


def _draw_tracking(sheet: Sheet, y: int, tracking: TrackingStrip) -> None:
    """Draw the strip under the frames over the full width, and what its colours count."""
    width = _WIDTH - 2 * _MARGIN
    colors = np.array([ImageColor.getrgb(color) for color in COLORS], np.uint8)
    cells = Image.fromarray(colors[tracking.cells][None].copy()).resize((width, 10), Image.Resampling.NEAREST)
    sheet.image.paste(cells, (_MARGIN, y), _round_mask((width, 10), 5))
    x = _MARGIN
    sheet.text(x, y + 44, "Tracking, start to end", 24, MUTED)
    x += _font(24).getlength("Tracking, start to end") + 44
    for (state, count), color in zip(tracking.counts.items(), COLORS, strict=True):
        sheet.draw.ellipse((x - 20, y + 29, x - 8, y + 41), fill=color)
        sheet.text(x, y + 44, f"{count:,} {state}", 24, MUTED)
        x += _font(24).getlength(f"{count:,} {state}") + 44


def _scale_bar(sheet: Sheet, x: int, y: int, panels: Panels, facts: Facts) -> None:
    length = panels.square * panels.scale * _CARD[0] / SIZE[0]
    words = f"grid {facts.size(panels.square)}"
    start = x - _font(22).getlength(words) - 14
    sheet.text(x, y, words, 22, MUTED, "rs")
    sheet.draw.line((start - length, y - 7, start, y - 7), fill=MUTED, width=3)
    for end in (start - length, start):
        sheet.draw.line((end, y - 14, end, y), fill=MUTED, width=3)


def _cell(count: int, columns: int) -> tuple[float, float]:
    """Return the room (width, height) of each of `count` frames with its depth at its side, without its words."""
    rows = -(-count // columns)
    return (_HALF - _BETWEEN * (columns - 1)) / columns, (_CARD[1] + 3 * _GAP) / rows - 3 * _GAP - _WORDS


def _fit(picture: Image.Image, cell: tuple[float, float]) -> tuple[int, int]:
    """Return the size of a picture that has half a cell's width."""
    scale = min((cell[0] - _GAP) / 2 / picture.width, cell[1] / picture.height)
    return max(1, int(picture.width * scale)), max(1, int(picture.height * scale))


def _draw_pairs(sheet: Sheet, x: int, y: int, strip: Strip, facts: Facts) -> None:
    """Draw up to six frames beside their depth, in as many columns as show them largest."""
    sheet.text(x, y + _CARD[1] + 40, "Frames beside their depth", 24, MUTED)
    if not strip.pairs:
        sheet.card(x, y, None, _CARD, "")
        return
    pictures, count = [image for image, _, _ in strip.pairs], len(strip.pairs)
    columns = max((2, 1, 3), key=lambda n: min(_fit(picture, _cell(count, n)) for picture in pictures))
    cell = _cell(count, columns)
    sizes = [_fit(picture, cell) for picture in pictures]
    spare = _CARD[1] - _WORDS - 2 * _GAP - max(height for _, height in sizes)  # the last words end about with the cards
    pitch = spare / max(-(-count // columns) - 1, 1)
    for i, ((image, depth, thumb), size) in enumerate(zip(strip.pairs, sizes, strict=True)):
        left, up = round(x + (i % columns) * (cell[0] + _BETWEEN)), round(y + (i // columns) * pitch)
        for j, picture in enumerate((image, depth)):
            small = picture.resize(size, Image.Resampling.LANCZOS)
            sheet.image.paste(small, (left + j * (size[0] + _GAP), up), _round_mask(size, 8))
        sheet.text(left, up + size[1] + _WORDS - 4, f"frame {thumb.index} · {thumb.time:.1f} s", 20, MUTED)
    ends = (facts.length(strip.nearest), facts.length(strip.farthest))
    _ramp(sheet, x + _HALF, y + _CARD[1] + 40, 200, DEPTH, ends)
