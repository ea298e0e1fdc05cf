# SPDX-License-Identifier: Apache-2.0
"""The viewer with a full house: a take of so many points in a real browser. Prints a table and one line of JSON.

    python benchmarks/viewer_points.py [--points 10000 150000 1000000] [--frames 250]

Measured: seconds until the viewer has read the take and until the page that was opened then shows all points (its
picture no longer changes); then, while a hand turns the scene, and while the time slider moves: pictures a second,
milliseconds between them (nine in ten are shorter), points in one of them, and milliseconds of CPU for one of them,
apart for the page itself (its main thread) and for drawing (the browser's GPU process). Headless Chromium draws by
software on the CPU: a graphics card takes over the drawing and nothing else, so the page's own share says what is left
where there is one. The report of the same take is turned too. Needs Chromium and the extra `view`.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from websockets.sync.client import connect

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from browser import Browser  # pyright: ignore[reportMissingImports]
from drawn import COUNT  # pyright: ignore[reportMissingImports]
from take_maker import RUN, prediction  # pyright: ignore[reportMissingImports]

from longtake.meter import resident_bytes
from longtake.outputs import Recorder
from longtake.viewer import Viewer


def write_take(out: Path, frames: int, points: int) -> None:
    """Record frames whose clouds have so many points in all."""
    each = points // frames
    side = int(np.ceil(np.sqrt(each)))
    with Recorder(out, RUN, points_per_frame=each, keep_percentile=100) as recorder:
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


def spent(page: Browser) -> tuple[float, float]:
    """Return the CPU seconds that the page's main thread and the process that draws have taken so far."""
    told = page.ask("Performance.getMetrics")["metrics"]
    main = next(metric["value"] for metric in told if metric["name"] == "TaskDuration")
    port, path = (page.folder / "profile" / "DevToolsActivePort").read_text().split()
    with connect(f"ws://127.0.0.1:{port}{path}") as socket:
        socket.send(json.dumps({"id": 1, "method": "SystemInfo.getProcessInfo"}))
        processes = json.loads(socket.recv(timeout=60))["result"]["processInfo"]
    return main, sum(process["cpuTime"] for process in processes if process["type"] == "GPU")


def busy(page: Browser, act: Callable[[int], None], seconds: float = 15.0) -> dict[str, float]:
    """Do something twenty times a second and return what it cost."""
    for step in range(60):  # the page gets to know how slow it is
        act(step)
        time.sleep(0.05)
    page.run("(window.count(), true)")
    begin, step, (main, drawing) = time.monotonic(), 60, spent(page)
    while time.monotonic() - begin < seconds:
        step += 1
        act(step)
        time.sleep(0.05)
    seen = page.run("window.counted")
    passed, after = time.monotonic() - begin, spent(page)
    pictures = max(seen["pictures"], 1)
    return {
        "fps": seen["pictures"] / passed,
        "gap_ms": float(np.percentile(seen["gaps"] or [1000 * passed], 90)),
        "points": seen["points"] / pictures,
        "page_ms": 1000 * (after[0] - main) / pictures,
        "drawing_ms": 1000 * (after[1] - drawing) / pictures,
    }


def turning(page: Browser, x: float, y: float) -> dict[str, float]:
    """Turn the scene to and fro with the mouse held down."""
    page.ask("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)

    def move(step: int) -> None:
        there = x + 200 * float(np.sin(step / 10))
        page.ask("Input.dispatchMouseEvent", type="mouseMoved", x=there, y=y, button="left", buttons=1)

    told = busy(page, move)
    page.ask("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)
    return told


def sliding(page: Browser) -> dict[str, float]:
    """Move the time slider to and fro."""
    page.run("document.querySelector('[role=slider]').focus()")
    return busy(page, lambda step: page.key("ArrowLeft" if step // 20 % 2 else "ArrowRight"))


def measure(frames: int, points: int) -> list[dict[str, object]]:
    """Return what was done with a take, and its figures."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "take"
        write_take(out, frames, points)
        begin = time.monotonic()
        with Viewer(out, port=0, max_points=1_000_000) as viewer, Browser(Path(folder) / "b", (1000, 640)) as page:
            page.ask("Performance.enable", timeDomain="threadTicks")
            page.ask("Page.addScriptToEvaluateOnNewDocument", source=COUNT)
            while viewer._points.shown < 0.98 * viewer._store.offered or len(viewer._frames) < frames:
                time.sleep(0.02)
            read, begin = time.monotonic() - begin, time.monotonic()
            page.open(viewer.url)
            page.reads(f"{viewer._points.shown:,} of", 300)
            shown = time.monotonic() - begin + steady(page, 120)
            whole = {"read_s": read, "shown_s": shown, "memory_mb": (resident_bytes() or 0) / 1e6}
            rows = [{"what": "viewer turned", **turning(page, 300, 500), **whole}]
            rows.append({"what": "viewer's time", **sliding(page)})
            page.open((out / "report.html").as_uri())
            page.until("!!document.querySelector('#viewer canvas')", "the report has no cloud")
            page.run("(document.querySelector('#viewer').scrollIntoView({block: 'center'}), true)")
            x, y = page.run("(({x, y, width, height}) => [x + width / 2, y + height / 2])"
                            "(document.querySelector('#viewer canvas').getBoundingClientRect())")  # fmt: skip
            rows.append({"what": "report turned", **turning(page, x, y)})
    return [{"offered": points, **row} for row in rows]


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--points", type=int, nargs="+", default=[10_000, 150_000, 1_000_000])
    parser.add_argument("--frames", type=int, default=250)
    words = parser.parse_args()
    rows = [row for points in words.points for row in measure(words.frames, points)]
    names = list(rows[0])
    print("  ".join(f"{name:>13}" for name in names))
    for row in rows:
        values = [row.get(name, "") for name in names]
        print("  ".join(f"{v:13,.1f}" if isinstance(v, float) else f"{v:>13}" for v in values))
    print(json.dumps(rows))


if __name__ == "__main__":
    main()
