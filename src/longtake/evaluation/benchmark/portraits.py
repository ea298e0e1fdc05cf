# SPDX-License-Identifier: Apache-2.0
"""Clouds of several runs on one take, beside the true one, all from the same camera."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from longtake.evaluation.benchmark.cloud_score import Clouds
from longtake.outputs.display import Display, square_to_walls, surface, upright
from longtake.outputs.lines import draw_floor
from longtake.outputs.picture import Eye, draw_cloud, eye_from_above, eye_from_side
from longtake.outputs.sheet import CARD, INK, MUTED, PAPER

CELL = (640, 440)
_GAP, _MARGIN, _WORDS = 28, 40, 56
_GRID = (128, 128, 136, 70)
_REACH = 0.25  # of the true cloud's extent: points farther out are not drawn, or a stray would hide the rest


def draw_portraits(runs: Sequence[tuple[str, Clouds]]) -> Image.Image:
    """Draw (words, clouds) of runs over the same take: the truth first, each from one side and from above.

    The eye is chosen by the true cloud alone, so that pictures of different runs can be laid over each other.
    """
    true = runs[0][1]
    turn = upright(true.true, true.poses)
    turn = square_to_walls(surface(true.true @ turn.T, true.seen_from @ turn.T)[0]) @ turn
    first, outside = _display(true.true, true, turn, None)
    bounds = first.low, first.high
    shown = [("true depth", first, outside)]
    shown += [(words, *_display(c.predicted, c, turn, bounds)) for words, c in runs]
    eyes = (eye_from_side(first, -62, 36, CELL), eye_from_above(first, CELL))
    width = 2 * _MARGIN + len(shown) * CELL[0] + (len(shown) - 1) * _GAP
    page = Image.new("RGB", (width, _MARGIN + _WORDS + 2 * CELL[1] + _GAP + _MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    for column, (words, display, outside) in enumerate(shown):
        x = _MARGIN + column * (CELL[0] + _GAP)
        draw.text((x, _MARGIN + 24), words, fill=INK, font=ImageFont.load_default(30), anchor="ls")
        for row, eye in enumerate(eyes):
            y = _MARGIN + _WORDS + row * (CELL[1] + _GAP)
            page.paste(_picture(display, first, eye), (x, y))
        if outside > 0.005:
            share = f"{outside:.0%} of the points are too far out to be drawn"
            corner = (x + CELL[0] - 14, _MARGIN + _WORDS + 28)
            draw.text(corner, share, MUTED, ImageFont.load_default(18), "rs", stroke_width=3, stroke_fill=CARD)
    return page


def _display(
    points: np.ndarray, clouds: Clouds, turn: np.ndarray, bounds: tuple[np.ndarray, np.ndarray] | None
) -> tuple[Display, float]:
    """Return what is drawn of a cloud, and the share that is not."""
    points, seen_from = points @ turn.T, clouds.seen_from @ turn.T
    poses = clouds.poses.copy()
    poses[:, :3] = turn @ poses[:, :3]
    if bounds is None:
        inner, outer = np.percentile(np.concatenate([points, poses[:, :3, 3]]), (1, 99), axis=0)
        bounds = inner - 0.05 * (outer - inner), outer + 0.05 * (outer - inner)
    low, high = bounds
    spare = _REACH * float(np.linalg.norm(high - low))
    inside = ((points > low - spare) & (points < high + spare)).all(-1)
    normals, spacing = surface(points[inside], seen_from[inside])
    order = np.linspace(0, 1, int(inside.sum()), dtype=np.float32)
    display = Display(
        points[inside].astype(np.float32), clouds.colors[inside], normals, spacing, order, poses, low, high, (0.5, 0.4)
    )
    return display, float((~inside).mean())


def _picture(display: Display, frame: Display, eye: Eye) -> Image.Image:
    picture = Image.new("RGBA", CELL, CARD)
    picture.alpha_composite(draw_floor(frame, eye, _GRID)[0])
    picture.alpha_composite(draw_cloud(display, eye))
    return picture.convert("RGB")
