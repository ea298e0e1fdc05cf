# SPDX-License-Identifier: Apache-2.0
"""Where drawing is slow, a moving picture has fewer points, and only there; at rest it has all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from browser import CHROMIUM, Browser, wait_for
from drawn import COUNT
from take_maker import RUN, prediction

from longtake.outputs import Recorder
from longtake.viewer import Viewer
from longtake.viewer.thinning import MANY, one_of

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
# Every picture takes the page 150 ms, as if there was much to draw and no graphics card.
DAWDLE = """(() => { window.dawdling = true; (function next() {
  const begin = performance.now();
  while (window.dawdling && performance.now() - begin < 150);
  requestAnimationFrame(next); })(); return true; })()"""


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A take of more points than are drawn without a second thought."""
    out = tmp_path_factory.mktemp("thinned") / "walk"
    with Recorder(out, RUN, points_per_frame=7000) as recorder:
        for i in range(16):
            recorder.add(prediction(i, height=90, width=120))
    return out


@pytest.fixture
def page(tmp_path: Path) -> Iterator[Browser]:
    with Browser(tmp_path / "browser", (500, 360)) as page:
        page.ask("Page.addScriptToEvaluateOnNewDocument", source=COUNT)
        yield page


def drawn(page: Browser) -> int:
    """Points in the newest picture."""
    return page.run("window.counted.last")


def turn(page: Browser, done: Callable[[], bool], what: str, x: float = 90, y: float = 180) -> None:
    """Turn the scene with the mouse until something is so; let go."""
    page.ask("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, button="left", clickCount=1)
    begin = time.monotonic()
    while not done():
        assert time.monotonic() - begin < 60, what
        there = x + 60 * float(np.sin(4 * (time.monotonic() - begin)))
        page.ask("Input.dispatchMouseEvent", type="mouseMoved", x=there, y=y, button="left", buttons=1)
        time.sleep(0.03)
    page.ask("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, button="left", clickCount=1)


@pytest.mark.slow
def test_a_slow_visitor_sees_few_points_in_motion_and_nobody_else_does(
    take: Path, page: Browser, tmp_path: Path
) -> None:
    with Viewer(take, port=0) as viewer, Browser(tmp_path / "other", (400, 240)) as other:
        other.ask("Page.addScriptToEvaluateOnNewDocument", source=COUNT)
        for each in (page, other):
            each.open(viewer.url)
        wait_for(lambda: viewer._points.shown == viewer._store.offered > MANY, "the take is not read")
        total = viewer._points.shown
        for each in (page, other):
            wait_for(lambda each=each: drawn(each) == total, "not all points are drawn")
        every = one_of(total)
        few = sum(-(-len(chunk) // every) for chunk in viewer._store.chunks)
        assert few < 0.3 * total
        page.reads("walk\ncomplete")  # the take's title: its folder, where its source has no name
        page.run(DAWDLE)
        turn(page, lambda: drawn(page) == few, "a slow visitor's picture is never thinned")
        other.run("(window.count(), true)")
        turn(page, lambda: drawn(page) == few and drawn(other) > 0, "the other visitor's picture is never drawn again")
        assert drawn(other) == total
        page.run("(window.dawdling = false, true)")
        wait_for(lambda: drawn(page) == total, "at rest, not all points came back")
        assert not page.errors and not other.errors and not viewer.trouble


def test_a_slow_report_draws_few_points_in_motion(take: Path, page: Browser) -> None:
    page.open((take / "report.html").as_uri())
    page.until("!!document.querySelector('#viewer canvas') && window.counted.last > 0", "there is no interactive cloud")
    total = drawn(page)
    assert total > MANY
    x, y = page.run(
        "(() => { const box = document.querySelector('#viewer canvas'); box.scrollIntoView({block: 'center'});"
        "const { x, y, width, height } = box.getBoundingClientRect(); return [x + width / 2, y + height / 2]; })()"
    )
    page.run(DAWDLE)
    turn(page, lambda: drawn(page) == -(-total // 8), "a slow picture is never thinned", x, y)
    page.run("(window.dawdling = false, true)")
    wait_for(lambda: drawn(page) == total, "at rest, not all points came back")
    assert not page.errors
