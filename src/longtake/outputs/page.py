# SPDX-License-Identifier: Apache-2.0
"""report.html: one file that opens from disk, asks no server for anything, and lets one walk around in the cloud."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from PIL import Image, features

from longtake.outputs.colormap import DEPTH, PATH, look_up
from longtake.outputs.display import Display
from longtake.outputs.facts import Facts
from longtake.outputs.manifest import portable, versions
from longtake.outputs.panels import SIZE, Panels, Strip
from longtake.outputs.picture import eye_from_above
from longtake.outputs.plots import draw_plot, draw_tracking, plot_data, plots_of
from longtake.outputs.series import Series

_POINTS = 150_000
_POSES = 600
_STEPS = 256  # of the time slider
_VERTEX = np.dtype([("position", "<u2", 3), ("normal", "i1", 3), ("color", "u1", 3)])  # 12 bytes


def _data_url(picture: Image.Image, quality: int = 88) -> str:
    buffer = io.BytesIO()
    kind = "webp" if features.check("webp") else "png"
    picture.save(buffer, kind.upper(), **({"quality": quality, "method": 4} if kind == "webp" else {}))
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"


def _gradient(table: np.ndarray) -> str:
    stops = ", ".join("#" + bytes(table[i].tolist()).hex() for i in np.linspace(0, 255, 9).astype(int))
    return f"linear-gradient(90deg, {stops})"


def _kept(display: Display) -> np.ndarray:
    """Places of the poses that the page holds."""
    return np.linspace(0, len(display.poses) - 1, min(len(display.poses), _POSES)).astype(np.int64)


def viewer_data(display: Display) -> dict[str, Any]:
    """Return the cloud and the path for the page: 16-bit positions within the bounds, 8-bit normals and colours.

    Points keep the order of the take, so that showing the first so many shows the cloud as it stood at a time.
    """
    chosen = np.linspace(0, len(display.points) - 1, min(len(display.points), _POINTS)).astype(np.int64)
    span = np.maximum(display.high - display.low, 1e-9)
    vertices = np.empty(len(chosen), _VERTEX)
    vertices["position"] = np.rint((display.points[chosen] - display.low) / span * 65535).clip(0, 65535)
    vertices["normal"] = np.rint(display.normals[chosen] * 127)
    vertices["color"] = display.colors[chosen]
    poses = display.poses[_kept(display)]
    numbers = np.arange(len(display.poses)) if display.numbers is None else display.numbers
    shown = np.searchsorted(display.order[chosen], np.linspace(0, 1, _STEPS + 1), side="right")
    thinning = np.sqrt(len(display.points) / max(len(chosen), 1))
    return {
        "points": base64.b64encode(vertices.tobytes()).decode(),
        "low": display.low.round(5).tolist(),
        "span": span.round(5).tolist(),
        "radius": float(np.median(display.spacing) * thinning) if len(chosen) else 0.01,
        "shown": shown.tolist(),
        "poses": poses[:, :3, :].round(5).reshape(len(poses), 12).tolist(),
        "colors": look_up(PATH, np.linspace(0, 1, len(poses))).tolist(),
        "numbers": numbers[_kept(display)].tolist(),  # of the poses' frames in the take
        "field": list(display.field),
    }


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":")).replace("<", "\\u003c")  # nothing may close the script element


def _viewer(fallback: str) -> str:
    return f"""<div id="viewer"><img alt="The point cloud with the camera path" src="{fallback}"></div>
<p class="hint">Drag to turn, shift-drag or two fingers to move, pinch or click and wheel to zoom, double-click to start
over. The points are thinned; all are in <code>cloud.ply</code>.</p>"""


def _details(facts: Facts) -> str:
    run, made = facts.run, versions()
    command = portable(list(run.command))
    rows = {
        "Source": facts.title,
        "Model": run.model,
        "Update rule": run.rule,
        "Device": run.device,
        "Weights, SHA-256": run.weights_sha256,
        "Seed": "" if run.seed is None else str(run.seed),
        "Command": " ".join(command),
        "Units": "metres" if facts.is_metric else "the scene's own: the model is not metric",
        "Metres": facts.estimate.removeprefix("Metres are ").removesuffix("."),
        "Longtake": made["longtake"],
        "torch, numpy, Python": f"{made['torch']}, {made['numpy']}, {made['python']}",
        "System": made["platform"],
    }
    rows |= {f"Option {key}": str(value) for key, value in portable(run.options).items() if value is not None}
    code = {"Command", "Weights, SHA-256"}
    lines = []
    for name, value in rows.items():
        if value:
            shown = f"<code>{escape(value)}</code>" if name in code else escape(value)
            lines.append(f"<tr><td>{escape(name)}</td><td>{shown}</td></tr>")
    return "\n".join(lines)


def _pairs(strip: Strip) -> str:
    blocks = []
    for image, depth, thumb in strip.pairs:
        caption = f"frame {thumb.index}</span><span>{thumb.time:.2f} s"
        blocks.append(
            f'<figure><div class="pair"><img alt="Frame {thumb.index}" src="{_data_url(image)}">'
            f'<img alt="Its depth" src="{_data_url(depth)}"></div>'
            f"<figcaption><span>{caption}</span></figcaption></figure>"
        )
    return "\n".join(blocks) or "<p>No frame was reconstructed.</p>"


def _script(name: str, identity: str, data: dict[str, Any]) -> str:
    code = resources.files("longtake.outputs").joinpath(name).read_text("utf-8")
    return f'<script type="application/json" id="{identity}">{_json(data)}</script>\n<script>\n{code}</script>'


def _above(facts: Facts, panels: Panels | None) -> str:
    if panels is None:
        return ""
    return f"""<figure class="above"><div class="map"><img alt="The camera path over a floor plan of the scene"
src="{_data_url(panels.above)}"><svg id="marker" viewBox="-12 -12 24 24" hidden aria-hidden="true"><path
d="M0 -10L7 8L0 4L-7 8Z"/></svg></div>
<figcaption><span>From above. Grid: {facts.size(panels.square)}</span><span class="ramp">start
<i style="background:{_gradient(PATH)}"></i> end</span></figcaption></figure>"""


def _map(display: Display, series: Series) -> list[list[float] | None]:
    """Where the camera is on the picture from above, in percent, and its heading in degrees, for each column."""
    numbers = np.arange(len(display.poses)) if display.numbers is None else display.numbers
    spots, _ = eye_from_above(display, SIZE).project(display.poses[:, :3, 3])
    places = 100 * (spots + 0.5) / SIZE
    headings = np.degrees(np.arctan2(display.poses[:, 0, 2], display.poses[:, 1, 2]))
    ends = np.append(series.number[1:], 2**62)
    found: list[list[float] | None] = []
    for first, end in zip(series.number.tolist(), ends.tolist(), strict=True):
        k = int(np.searchsorted(numbers, first))
        known = k < len(numbers) and numbers[k] < end
        found.append([*places[k].round(2).tolist(), round(float(headings[k]), 1)] if known else None)
    return found


def _notes(notes: Sequence[str]) -> str:
    return f'<div class="notes">{"".join(f"<p>{escape(note)}</p>" for note in notes)}</div>' if notes else ""


def write_page(
    facts: Facts,
    panels: Panels | None,
    strip: Strip,
    display: Display | None,
    series: Series | None = None,
    out: Path = Path(),
) -> str:
    """Return the page as one HTML text. series: the take against time; its frames' files lie in `out`."""
    files = resources.files("longtake.outputs")
    empty = Image.new("RGBA", (16, 11))
    sides = [_data_url(picture) for picture in (panels.sides if panels else (empty,) * 2)]
    script, drawn = [], ""
    if display is not None:
        script.append(_script("viewer.js", "take", viewer_data(display)))
    if series is not None:
        plots = plots_of(series, "m" if facts.is_metric else "units")
        drawn = draw_tracking(series) + "".join(draw_plot(plot, series) for plot in plots)
        data = plot_data(series, plots, out, strip.nearest, strip.farthest, lambda picture: _data_url(picture, 72))
        data |= {"map": _map(display, series)} if display is not None else {}
        script.insert(0, _script("plots.js", "series", data))  # it listens before the cloud speaks
    status = str(facts.summary["status"])
    notes = [
        *facts.notes,
        *([f"no error against the true path: {series.trouble}"] if series and series.trouble else []),
    ]
    return Template(files.joinpath("page.html").read_text("utf-8")).substitute(
        title=escape(facts.title),
        css=files.joinpath("page.css").read_text("utf-8"),
        status=escape(status),
        status_class="complete" if status == "complete" else "failed" if status.startswith("failed") else "",
        setup=escape(facts.setup),
        figures="".join(f"<div><dt>{escape(b)}</dt><dd>{escape(a)}</dd></div>" for a, b in facts.figures()),
        estimate=f'<p class="hint">{escape(facts.estimate)}</p>' if facts.estimate else "",
        notes=_notes(notes),
        viewer=_viewer(sides[0]) if display is not None else "",
        side_a=sides[0],
        side_b=sides[1],
        above=_above(facts, panels),
        plots=drawn,
        depth_ramp=_gradient(DEPTH),
        nearest=facts.size(strip.nearest),
        farthest=facts.size(strip.farthest),
        pairs=_pairs(strip),
        details=_details(facts),
        script="\n".join(script),
    )
