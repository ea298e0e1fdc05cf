# SPDX-License-Identifier: Apache-2.0
"""Clouds of several runs on one take, beside the true one, all from the same camera."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from longtake.evaluation.benchmark.cloud_score import Clouds
from longtake.outputs.display import Display, square_to_walls, surface, upright
from longtake.outputs.lines import Sheer, draw_floor, draw_path, smooth_path
from longtake.outputs.picture import Eye, draw_cloud, eye_from_above, eye_from_side
from longtake.outputs.sheet import CARD, INK, MUTED, PAPER

CELL = (640, 440)
_GAP, _MARGIN, _WORDS = 28, 40, 84
_GRID = (128, 128, 136, 70)
_TRUTH, _CASING = (90, 92, 100, 210), (250, 249, 246, 200)
_REACH = 0.25  # of the true cloud's extent: points farther out are not drawn, or a stray would hide the rest


@dataclass(frozen=True, slots=True)
class Portrait:
    """One run over a take: its name, its figures in words, its clouds."""

    words: str
    figures: str
    clouds: Clouds


def draw_portraits(runs: Sequence[Portrait]) -> Image.Image:
    """Draw the clouds of runs over the same take: the truth first, each from one side and from above.

    The eye is chosen by the true cloud alone, so that pictures of different runs can be laid over each other.
    """
    true = runs[0].clouds
    turn = upright(true.true, true.poses)
    turn = square_to_walls(surface(true.true @ turn.T, true.seen_from @ turn.T)[0]) @ turn
    first, _ = _display(true.true, true, turn, None)
    bounds = first.low, first.high
    trimmed = replace(first, points=first.points[((first.points > bounds[0]) & (first.points < bounds[1])).all(-1)])
    eyes = (eye_from_side(trimmed, -62, 40, CELL), eye_from_above(trimmed, CELL))
    shown = [("true depth", f"{len(true.poses)} frames", first, 0.0, true.poses[:, :3, 3])]
    shown += [(r.words, r.figures, *_display(r.clouds.predicted, r.clouds, turn, bounds), r.clouds.path) for r in runs]
    width = 2 * _MARGIN + len(shown) * CELL[0] + (len(shown) - 1) * _GAP
    page = Image.new("RGB", (width, _MARGIN + _WORDS + 2 * CELL[1] + _GAP + _MARGIN), PAPER)
    draw = ImageDraw.Draw(page)
    for column, (words, figures, display, outside, path) in enumerate(shown):
        x = _MARGIN + column * (CELL[0] + _GAP)
        draw.text((x, _MARGIN + 24), words, fill=INK, font=ImageFont.load_default(32), anchor="ls")
        draw.text((x, _MARGIN + 60), figures, fill=MUTED, font=ImageFont.load_default(24), anchor="ls")
        for row, eye in enumerate(eyes):
            y = _MARGIN + _WORDS + row * (CELL[1] + _GAP)
            page.paste(_picture(display, first, path @ turn.T, eye), (x, y))
        if outside > 0.005:
            share = f"{outside:.0%} of the points are too far out to be drawn"
            corner = (x + CELL[0] - 14, _MARGIN + _WORDS + 30)
            draw.text(corner, share, MUTED, ImageFont.load_default(20), "rs", stroke_width=3, stroke_fill=CARD)
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


def _picture(display: Display, truth: Display, path: np.ndarray, eye: Eye) -> Image.Image:
    """Draw a cloud over the true one's floor, with the path (t, 3) that belongs to it and, in grey, the true one."""
    picture = Image.new("RGBA", CELL, CARD)
    picture.alpha_composite(draw_floor(truth, eye, _GRID)[0])
    picture.alpha_composite(draw_cloud(display, eye))
    layer = Sheer(eye)
    layer.line(smooth_path(truth, eye)[0], _TRUTH, 2.5)
    picture.alpha_composite(layer.image())
    if np.isfinite(path).all():
        poses = np.tile(np.eye(4), (len(path), 1, 1))
        poses[:, :3, 3] = path
        picture.alpha_composite(draw_path(replace(display, poses=poses), eye, cameras=0, casing=_CASING))
    return picture.convert("RGB")
