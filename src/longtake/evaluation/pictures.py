# SPDX-License-Identifier: Apache-2.0
"""Prediction beside truth in one picture, for eyes: frames, depth, error, and the path from above."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from longtake.errors import OutputError
from longtake.evaluation.figures import align_similarity
from longtake.evaluation.run import Panel, TakeResult

CELL = 240  # width of one picture in pixels
GAP, LINE = 8, 22
INK, PAPER, UNKNOWN = (30, 30, 30), (255, 255, 255), (70, 70, 70)
TRUE, PREDICTED = (40, 90, 200), (225, 110, 20)
WORST_ERROR = 0.5  # relative depth error drawn as the end of the scale
# Anchors of a dark-blue to yellow scale, near = yellow; straight lines between them.
SCALE = np.array([(68, 1, 84), (59, 82, 139), (33, 145, 140), (94, 201, 98), (253, 231, 37)], np.float64)


def compare_picture(result: TakeResult) -> Image.Image:
    """Draw a take as one picture; `result` must have panels (the `keep` of `evaluate_takes`).

    A row for each panel: the frame, true depth, predicted depth times the take's one scale, relative error. Below: the
    paths from above (x to the right, z up, in the first true camera), the predicted one after Sim(3) alignment.
    """
    if not result.panels:
        raise ValueError("no panels to draw: give evaluate_takes some positions to keep")
    f = result.figures
    rows = [panel_row(panel, f.depth.scale) for panel in result.panels]
    columns = len(rows[0])
    width = columns * CELL + (columns + 1) * GAP
    heights = [row[0].height for row in rows]
    path_height = width // 2
    page = Image.new("RGB", (width, LINE * 3 + sum(heights) + GAP * (len(rows) + 2) + path_height), PAPER)
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(14)
    draw.text((GAP, 3), _caption(result), INK, font)
    for column, name in enumerate(("frame", "true depth", "predicted depth, one scale", "relative error, to 50 %")):
        draw.text((GAP + column * (CELL + GAP), LINE + 3), name, INK, font)
    y = 2 * LINE
    for row in rows:
        for column, picture in enumerate(row):
            page.paste(picture, (GAP + column * (CELL + GAP), y))
        y += row[0].height + GAP
    draw.text((GAP, y + 3), "path from above:", INK, font)
    draw.text((GAP + 120, y + 3), "true", TRUE, font)
    draw.text((GAP + 160, y + 3), "predicted, after Sim(3) alignment", PREDICTED, font)
    _draw_paths(draw, (GAP, y + LINE, width - GAP, page.height - GAP), result, font)
    return page


def save_picture(result: TakeResult, path: Path) -> None:
    """Write `compare_picture` as a PNG. Raises OutputError where it cannot."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        compare_picture(result).save(path, "PNG")
    except OSError as error:
        raise OutputError(f"{path}: could not be written ({error}); free space or choose another place.") from error


def colourize(values: np.ndarray, low: float, high: float) -> np.ndarray:
    """Map (h, w) values to (h, w, 3) uint8 between low and high; what is not finite becomes grey."""
    known = np.isfinite(values)
    x = np.clip((np.where(known, values, low) - low) / max(high - low, 1e-12), 0, 1) * (len(SCALE) - 1)
    colours = np.stack([np.interp(x, np.arange(len(SCALE)), SCALE[:, c]) for c in range(3)], -1)
    return np.where(known[..., None], colours, UNKNOWN).astype(np.uint8)


def panel_row(panel: Panel, scale: float) -> tuple[Image.Image, ...]:
    """Draw one frame: what the model saw, true nearness, predicted nearness with one scale, relative error to 50 %."""
    with np.errstate(divide="ignore", invalid="ignore"):
        true = np.where(panel.true > 0, 1 / panel.true, np.nan)  # nearness: differences are seen where they matter
        predicted = np.where(panel.predicted > 0, 1 / (scale * panel.predicted), np.nan)
        error = np.abs(true / predicted - 1)
    known = true[np.isfinite(true)]
    low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 1.0)
    maps = (colourize(true, low, high), colourize(predicted, low, high), colourize(error, 0, WORST_ERROR))
    height = round(CELL * panel.true.shape[0] / panel.true.shape[1])
    seen = Image.fromarray(panel.image)
    fitted = Image.new("RGB", (CELL, height), UNKNOWN)  # a crop shows less than the truth: keep its aspect
    factor = min(CELL / seen.width, height / seen.height)
    seen = seen.resize((round(seen.width * factor), round(seen.height * factor)))
    fitted.paste(seen, ((CELL - seen.width) // 2, (height - seen.height) // 2))
    return (fitted, *(Image.fromarray(m).resize((CELL, height), Image.Resampling.NEAREST) for m in maps))


def _caption(result: TakeResult) -> str:
    d, p = result.figures.depth, result.figures.pose
    return (
        f"{result.name}, {p.frames} frames, {result.rule}: AbsRel {d.abs_rel:.3f} (constant {d.const:.3f}), rotation "
        f"{p.rotation:.1f} (identity {p.identity:.1f}), direction {p.direction:.0f}, ATE/spread {p.ate_over_spread:.3f}"
    )


def _draw_paths(
    draw: ImageDraw.ImageDraw, box: tuple[int, int, int, int], result: TakeResult, font: ImageFont.ImageFont | object
) -> None:
    true, predicted = result.true_world_from_cam[:, :3, 3], result.world_from_cam[:, :3, 3]
    lines = [(TRUE, true)]
    if np.isfinite(predicted).all():
        scale, rotation, shift = align_similarity(predicted, true)
        lines.append((PREDICTED, scale * predicted @ rotation.T + shift))
    first_from_world = np.linalg.inv(result.true_world_from_cam[0])
    flat = [(colour, (p @ first_from_world[:3, :3].T + first_from_world[:3, 3])[:, [0, 2]]) for colour, p in lines]
    everything = np.concatenate([p for _, p in flat])
    low, high = everything.min(0), everything.max(0)
    left, top, right, bottom = box
    metres = max(float((high - low).max()), 1e-6)
    zoom = 0.92 * min(np.array([right - left, bottom - top]) / np.maximum(high - low, 0.05 * metres))
    middle, centre = (low + high) / 2, np.array([(left + right) / 2, (top + bottom) / 2])
    draw.rectangle(box, outline=(200, 200, 200))
    for colour, points in flat:
        pixels = [tuple(xy) for xy in (points - middle) * zoom * [1, -1] + centre]
        draw.line(pixels, colour, 2)
        for x, y in pixels[:: max(1, len(pixels) // 16)]:
            draw.ellipse((x - 2, y - 2, x + 2, y + 2), fill=colour)
        x, y = pixels[0]
        draw.ellipse((x - 5, y - 5, x + 5, y + 5), outline=colour, width=2)
    unit = 10.0 ** np.floor(np.log10(metres / 2))
    draw.line((left + 10, bottom - 10, left + 10 + unit * zoom, bottom - 10), INK, 2)
    draw.text((left + 12, bottom - 30), f"{unit:g} m", INK, font)  # pyright: ignore[reportArgumentType]
