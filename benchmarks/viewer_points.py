# SPDX-License-Identifier: Apache-2.0
"""The viewer with a full house: a take of so many points in a real browser. Prints a table and one line of JSON.

    python benchmarks/viewer_points.py [--points 1000000] [--frames 250]

Measured: seconds until the viewer has read the take, until the page that was opened then shows all points (its picture
no longer changes), pictures a second that the browser draws while a hand turns the scene and while the time slider
moves, and bytes sent. Needs Chromium and the extra `view`. Headless Chromium draws by software on the CPU: a GPU draws
a million points without effort, so the pictures a second are a floor, and those with 10,000 points beside them tell how
much is the points' share.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser import Browser  # pyright: ignore[reportMissingImports]
from take_maker import RUN, prediction  # pyright: ignore[reportMissingImports]

from longtake.meter import resident_bytes
from longtake.outputs import Recorder
from longtake.viewer import Viewer

COUNT = "(window.drawn = 0, (function next() { window.drawn++; requestAnimationFrame(next); })(), true)"


def write_take(out: Path, frames: int, points: int) -> None:
    """Record frames whose clouds have so many points in all."""
    each = points // frames
    side = int(np.sqrt(each * 16 / 15))  # a sixteenth of each picture has no depth
    with Recorder(out, RUN, report=False, points_per_frame=each) as recorder:
        for i in range(frames):
            recorder.add(prediction(i, height=side, width=side))


def steady(page: Browser, seconds: float) -> float:
    """Return the seconds until the picture no longer changes."""
    begin, before, changed = time.monotonic(), page.picture(), 0.0
    while time.monotonic() - begin < seconds:
        after = page.picture()
        now = time.monotonic() - begin
        if (after != before).any():
            changed, before = now, after
        elif now - changed > 3:
            break
    return changed


def rate(page: Browser, act: str, seconds: float = 10.0) -> float:
    """Return pictures a second while something is done over and over: drag the scene, or move the slider."""
    page.run("(window.drawn = 0, true)")
    begin, step = time.monotonic(), 0
    if act == "drag":
        page.ask("Input.dispatchMouseEvent", type="mousePressed", x=300, y=500, button="left", clickCount=1)
    while time.monotonic() - begin < seconds:
        step += 1
        if act == "drag":
            x = 300 + 200 * np.sin(step / 10)
            page.ask("Input.dispatchMouseEvent", type="mouseMoved", x=float(x), y=500.0, button="left", buttons=1)
        else:
            page.key("ArrowLeft" if step % 2 else "ArrowRight")
        time.sleep(0.05)
    drawn = page.run("window.drawn") / (time.monotonic() - begin)
    if act == "drag":
        page.ask("Input.dispatchMouseEvent", type="mouseReleased", x=300, y=500, button="left", clickCount=1)
    return drawn


def measure(frames: int, points: int) -> dict[str, float]:
    """Return the figures of one take."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "take"
        write_take(out, frames, points)
        begin = time.monotonic()
        with Viewer(out, port=0, max_points=1_000_000) as viewer, Browser(Path(folder) / "b", (1000, 640)) as page:
            while viewer._points.shown < 0.98 * viewer._store.offered or len(viewer._frames) < frames:
                time.sleep(0.02)
            read = time.monotonic() - begin
            shown, begin = viewer._points.shown, time.monotonic()
            page.open(viewer.url)
            page.reads(f"{shown:,} of", 300)
            told = time.monotonic() - begin
            drawn = told + steady(page, 120)
            page.run(COUNT)
            turning = rate(page, "drag")
            page.run("document.querySelector('[role=slider]').focus()")
            sliding = rate(page, "slide")
            memory = resident_bytes() or 0
        return {
            "points": shown, "nodes": len(viewer._points._nodes), "read_s": read, "shown_s": drawn,
            "turning_fps": turning, "sliding_fps": sliding, "megabytes_sent": 15 * shown / 1e6,
            "memory_mb": memory / 1e6,
        }  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, default=1_000_000)
    parser.add_argument("--frames", type=int, default=250)
    words = parser.parse_args()
    rows = [measure(words.frames, points) for points in (10_000, words.points)]
    print("  ".join(f"{name:>14}" for name in rows[0]))
    for row in rows:
        print("  ".join(f"{value:14,.1f}" if isinstance(value, float) else f"{value:14,}" for value in row.values()))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
