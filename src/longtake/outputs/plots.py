# SPDX-License-Identifier: Apache-2.0
"""The plots of report.html as inline SVG that follows the page's colours, and the numbers that its script reads."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from longtake.errors import InputError
from longtake.outputs.colormap import color_depth
from longtake.outputs.depth import read_depth
from longtake.outputs.lines import round_length
from longtake.outputs.series import Series, spans
from longtake.outputs.tracking_strip import STATES

_WIDTH, _HEIGHT = 1000.0, 100.0  # of a plot's own units; the page stretches them
_GAP = 8  # columns: a curve is drawn across fewer that are not known, as where true poses are rarer than frames
_PICTURES = 96  # frames that the page holds for the cursor, beside their depth
_SIDE = 240  # pixels of their longer side
_UNKNOWN = (232, 230, 224)


@dataclass(frozen=True, slots=True)
class Plot:
    """One curve against time."""

    name: str  # in Series.curves
    title: str
    unit: str
    words: str  # what exactly is drawn
    factor: float = 1.0
    from_zero: bool = True


def plots_of(series: Series, length_unit: str, truth_unit: str = "m") -> list[Plot]:
    """Return the plots that there is something to draw for, most telling first."""
    fit = "" if series.error is None else f", root mean square {series.error:.3g} {truth_unit}"
    table = [
        Plot("error", "Error", truth_unit, f"distance to the true path after a similarity fit{fit}"),
        Plot("confidence", "Confidence", "", "median, and 10 to 90 % of the pixels", from_zero=False),
        Plot("depth", "Depth", length_unit, "median, and 10 to 90 % of the pixels"),
        Plot("speed", "Camera speed", f"{length_unit}/s", "of the camera's centre"),
        Plot("turning", "Rotation speed", "°/s", "of the camera's axes"),
        Plot("focal", "Focal length", "px", "in pixels of the original frame", from_zero=False),
        Plot("written", "Rate", "", "how much of the memory a frame rewrote: 1 is all of it"),
        Plot("latency", "Latency", "ms", "of the model", factor=1000.0),
    ]
    timeless = () if series.in_seconds else ("speed", "turning")
    return [plot for plot in table if plot.name in series.curves and plot.name not in timeless]


def draw_plot(plot: Plot, series: Series) -> str:
    """Return one plot as HTML: title, the value under the cursor, and the picture with its scale."""
    curve = series.curves[plot.name] * plot.factor
    low, high, ticks = scale_of(curve, from_zero=plot.from_zero)
    middle = curve[:, 1] if curve.ndim == 2 else curve
    x = _places(series) * _WIDTH

    def y(values: np.ndarray) -> np.ndarray:
        return (_HEIGHT - (values - low) / (high - low) * _HEIGHT).clip(-5, _HEIGHT + 5)

    shapes = [_bar(state, span, _HEIGHT) for state in STATES[1:] for span in spans(series, state)]
    shapes += [f'<path class="grid" d="M0 {h:.2f}H{_WIDTH:g}"/>' for h in y(np.array(ticks)).tolist()]
    if curve.ndim == 2:
        for run in _runs(middle):
            there, back = zip(x[run], y(curve[run, 2]), strict=True), zip(x[run], y(curve[run, 0]), strict=True)
            shapes.append(f'<path class="band" d="{_path([*there, *[*back][::-1]])}Z"/>')
    shapes += [f'<path class="curve" d="{_path(zip(x[run], y(middle[run]), strict=True))}"/>' for run in _runs(middle)]
    labels = "".join(
        f'<span style="top:{100 * float(h) / _HEIGHT:.2f}%">{_number(tick)}</span>'
        for tick, h in zip(ticks, y(np.array(ticks)).tolist(), strict=True)
    )
    unit = f"<small>{escape(plot.unit)}</small>" if plot.unit else ""
    words = f"{plot.title}, {plot.words}: {_number(_least(middle))} to {_number(_most(middle))} {plot.unit}"
    return (
        f'<figure class="plot" data-curve="{plot.name}"><figcaption><strong>{escape(plot.title)}</strong>'
        f'<span class="what">{escape(plot.words)}</span><span class="now"><output></output>{unit}</span></figcaption>'
        f'<div class="area"><svg viewBox="0 0 {_WIDTH:g} {_HEIGHT:g}" preserveAspectRatio="none" role="img">'
        f"<title>{escape(words.strip())}</title>{''.join(shapes)}</svg>"
        f'<div class="ticks" aria-hidden="true">{labels}</div><i class="cursor"></i><i class="dot"></i></div></figure>'
    )


def draw_tracking(series: Series) -> str:
    """Return the tracking along the same axis, and the axis itself."""
    bars = "".join(_bar(state, span, 1) for state in STATES for span in spans(series, state))
    clock, length = series.clock, float(series.clock[-1] - series.clock[0])
    step = round_length(length / 5) if length > 0 else 1.0
    ticks = np.arange(math.ceil(clock[0] / step), math.floor(clock[-1] / step) + 1) * step
    words = [_number(tick) for tick in ticks.tolist()]
    words[-1:] = [word + " s" * series.in_seconds for word in words[-1:]]
    labels = "".join(
        f'<span style="left:{100 * (tick - clock[0]) / max(length, 1e-9):.2f}%">{word}</span>'
        for tick, word in zip(ticks.tolist(), words, strict=True)
    )
    return (
        '<figure class="plot states"><figcaption><strong>Tracking</strong><span class="what">whether frames could be '
        'followed</span><span class="now"><output></output></span></figcaption><div class="area">'
        f'<svg viewBox="0 0 {_WIDTH:g} 1" preserveAspectRatio="none" role="img"><title>Tracking over time</title>'
        f"{bars}</svg>"
        f'<i class="cursor"></i></div><div class="axis" aria-hidden="true">{labels}</div></figure>'
    )


def plot_data(
    series: Series, plots: list[Plot], out: Path, nearest: float, farthest: float, encode: Callable[[Image.Image], str]
) -> dict[str, Any]:
    """Return what the script reads: columns, curves with their scale, and pictures as data URLs with their column.

    nearest, farthest: ends of the depth's colours. encode: from a picture to its data URL.
    """
    curves = {}
    for plot in plots:
        curve = series.curves[plot.name] * plot.factor
        low, high, _ = scale_of(curve, from_zero=plot.from_zero)
        middle = curve[:, 1] if curve.ndim == 2 else curve
        curves[plot.name] = {"low": low, "high": high, "values": [_short(value) for value in middle.tolist()]}
    pictures = []
    for i in np.unique(np.linspace(0, len(series.number) - 1, min(len(series.number), _PICTURES)).round().astype(int)):
        pair = _pair(out, series.files[i], nearest, farthest)
        if pair is not None:
            pictures.append([int(i), *map(encode, pair)])
    return {
        "places": [round(place, 5) for place in _places(series).tolist()],
        "number": series.number.tolist(),
        "index": series.index.tolist(),
        "time": [round(value, 3) for value in series.time.tolist()],
        "tracking": series.tracking.tolist(),
        "states": STATES,
        "curves": curves,
        "pictures": pictures,
    }


def scale_of(curve: np.ndarray, *, from_zero: bool) -> tuple[float, float, list[float]]:
    """Return the ends of a vertical axis and two to five round numbers on it.

    It holds all but rare spikes: at most two and a half times what 98 % of the values keep to.
    """
    known = curve[np.isfinite(curve)]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 1.0)
    high = min(high, max(2.5 * float(np.percentile(known, 98)), low)) if known.size and low >= 0 else high
    low = min(low, 0.0) if from_zero else low
    room = max(high - low, 1e-6, 0.05 * abs(high))  # what hardly moves is drawn flat
    spare = (room - (high - low)) / 2 + 0.06 * room
    high, low = high + spare, low - (0 if from_zero and low == 0 else spare)
    step = round_length((high - low) / 2)
    ticks = (np.arange(math.ceil(low / step), math.floor(high / step) + 1) * step).tolist()
    return low, high, ticks


def _bar(state: str, span: tuple[float, float], height: float) -> str:
    """A rectangle over a part of the axis, never too thin to be seen."""
    width = max(span[1] - span[0], 0.001) * _WIDTH
    return f'<rect class="{state}" x="{span[0] * _WIDTH:.2f}" width="{width:.2f}" height="{height:g}"/>'


def _places(series: Series) -> np.ndarray:
    """(n,) where the columns lie, 0 to 1."""
    clock = series.clock
    return (clock - clock[0]) / max(float(clock[-1] - clock[0]), 1e-9)


def _pair(out: Path, files: Any, nearest: float, farthest: float) -> tuple[Image.Image, Image.Image] | None:
    """A frame and its depth, small; None where the files are gone."""
    try:
        with Image.open(out / files["image"]) as image:
            image.thumbnail((_SIDE, _SIDE))
            picture = image.convert("RGB")
        depth = read_depth(out / files["depth"])
    except (OSError, InputError):
        return None
    rows = np.arange(picture.height) * depth.shape[0] // picture.height
    columns = np.arange(picture.width) * depth.shape[1] // picture.width
    return picture, Image.fromarray(color_depth(depth[rows[:, None], columns], nearest, farthest, _UNKNOWN))


def _runs(values: np.ndarray) -> list[np.ndarray]:
    """Return the places of known values, one array for each curve: it ends where more than a few are missing."""
    known = np.flatnonzero(np.isfinite(values))
    return np.split(known, np.flatnonzero(np.diff(known) > _GAP) + 1) if len(known) else []


def _path(spots: Any) -> str:
    """An SVG path; a stretch of one spot becomes a short dash."""
    told = [f"{x:.1f} {y:.1f}" for x, y in spots]
    return f"M{told[0]}h1" if len(told) == 1 else "M" + "L".join(told)


def _short(value: float) -> float | None:
    return float(f"{value:.4g}") if math.isfinite(value) else None


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _least(values: np.ndarray) -> float:
    return float(np.nanmin(values))


def _most(values: np.ndarray) -> float:
    return float(np.nanmax(values))
