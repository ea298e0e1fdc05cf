# SPDX-License-Identifier: Apache-2.0
"""The viewer as a person meets it: a real browser opens the page, sees points, moves the controls, saves a file."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from take_maker import RUN, pose, prediction, record
from waiting import PATIENCE, wait_for

from longtake.outputs import Recorder, read_ply
from longtake.outputs.trajectory import Trajectory
from longtake.viewer import Viewer

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
FRAMES, POINTS = 16, 200
PAPER = np.array([251, 250, 247])


@pytest.fixture(scope="module")
def viewer(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Viewer]:
    out = record(tmp_path_factory.mktemp("viewed") / "walk", FRAMES, report=False, points_per_frame=POINTS).out
    with Viewer(out, port=0) as made:
        yield made


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("browser"), (1000, 640)) as browser:
        yield browser


@pytest.fixture
def page(browser: Browser, viewer: Viewer) -> Browser:
    """The page at the end of the take, all of it shown, whatever a test before left (several processes share them)."""
    if not browser.run("location.href").startswith(viewer.url):
        del browser.requests[:], browser.errors[:]
        browser.open(viewer.url)
        browser.reads("points shown")
    for slider, control, most in (("Frame", viewer._panel.time, FRAMES - 1), ("Surest %", viewer._panel.percent, 100)):
        focus(browser, slider)
        browser.key("End")
        # viser's page tells of one control at a time: where two change within 50 ms, it forgets the first.
        wait_for(lambda control=control, most=most: control.value == most, f"{slider} is not at its end")
    settle(browser, FRAMES * POINTS)
    return browser


def points_shown(page: Browser) -> int:
    found = re.search(r"([\d,]+) of [\d,]+ points shown", page.text())
    assert found
    return int(found[1].replace(",", ""))


def settle(page: Browser, wanted: int) -> None:
    wait_for(lambda: points_shown(page) == wanted, f"{wanted} points are not shown")


def drawn(page: Browser) -> float:
    """Share of the scene's part of the picture that is not paper."""
    picture = page.picture()[160:, :660].astype(int)
    return float((np.abs(picture - PAPER).max(-1) > 24).mean())


def focus(page: Browser, label: str) -> None:
    """Give the keyboard to the slider with this label."""
    script = f"""(() => {{
      const label = [...document.querySelectorAll('label')].find((e) => e.innerText.trim() === {label!r});
      let box = label; while (box && !box.querySelector('[role=slider]')) box = box.parentElement;
      box.querySelector('[role=slider]').focus(); return true; }})()"""
    assert page.run(script)


def press(page: Browser, label: str) -> None:
    find = f"[...document.querySelectorAll('button')].find((e) => e.innerText.trim() === {label!r})"
    assert page.run(f"({find}.click(), true)")


def test_the_page_shows_points_and_asks_nobody_else(page: Browser, viewer: Viewer) -> None:
    wait_for(lambda: drawn(page) > 0.05, "the picture stays blank")
    colors = page.picture()[160:, :660].reshape(-1, 3)
    assert colors.std(0).min() > 8, "the points have their colours"
    elsewhere = [url for url in page.requests if not url.startswith((viewer.url, "data:", "blob:"))]
    assert not elsewhere and not page.errors


def test_only_this_machine_can_connect(viewer: Viewer) -> None:
    port = int(viewer.url.rpartition(":")[2])
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[1] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port]
    assert listening == [f"0100007F:{port:04X}"]


def test_the_time_slider_goes_back_to_the_first_frame(page: Browser) -> None:
    before = page.picture()
    focus(page, "Frame")
    page.key("Home")
    settle(page, POINTS)
    wait_for(lambda: (np.abs(page.picture().astype(int) - before).max(-1) > 24).mean() > 0.02, "it looks the same")
    page.key("ArrowRight", 2)
    settle(page, 3 * POINTS)
    assert "frame 6 " in page.text()  # the take used every third frame of its source


def test_play_steps_through_the_take_and_ends(page: Browser) -> None:
    focus(page, "Frame")
    page.key("Home")
    settle(page, POINTS)
    press(page, "+10")
    settle(page, 11 * POINTS)
    press(page, "Play")
    settle(page, FRAMES * POINTS)
    page.until("[...document.querySelectorAll('button')].some((e) => e.innerText.trim() === 'Play')", "it plays on")


def test_the_percentile_leaves_the_surest_points(page: Browser) -> None:
    focus(page, "Surest %")
    page.key("Home")
    page.key("ArrowRight", 24)
    wanted = FRAMES * POINTS * 25 / 100
    wait_for(lambda: abs(points_shown(page) - wanted) < 0.03 * wanted, "a quarter of the points is not shown")


def test_an_export_is_downloaded(page: Browser, viewer: Viewer) -> None:
    page.run("[...document.querySelectorAll('button')].find((e) => e.innerText.trim() === 'Export')?.click()")
    press(page, "Download")
    saved = page.folder / "downloads" / "walk_cloud.ply"
    wait_for(saved.is_file, "nothing was saved")
    cloud, wanted = read_ply(saved), read_ply(viewer.folder / "cloud.ply")
    np.testing.assert_array_equal(cloud.points, wanted.points)


def near(page: Browser, label: str, wanted: str) -> str:
    """JavaScript for the first element of a kind beside the label."""
    return f"""(() => {{
      const label = [...document.querySelectorAll('label')].find((e) => e.innerText.trim() === {label!r});
      let box = label; while (box && !box.querySelector({wanted!r})) box = box.parentElement;
      return box.querySelector({wanted!r}); }})()"""


def choose(page: Browser, label: str, option: str) -> None:
    """Pick an option of a drop-down list."""
    page.run(f"({near(page, label, 'input')}.scrollIntoView({{block: 'center'}}), true)")
    page.run(f"({near(page, label, 'input')}.click(), true)")
    there = f"[...document.querySelectorAll('[role=option]')].find((e) => e.innerText.trim() === {option!r})"
    page.until(f"!!{there}", f"there is no {option}")
    page.run(f"({there}.click(), true)")


def test_rate_memory_and_status_are_told(page: Browser) -> None:
    assert re.search(r"complete · a-model · ttt3r", page.text())
    assert re.search(rf"{FRAMES} frames · [\d.]+ frames/s", page.text())
    assert re.search(r"\d+ MB of memory in this process", page.text())


def test_points_are_coloured_by_what_was_asked_for(page: Browser, viewer: Viewer) -> None:
    press(page, "See everything")
    (client,) = viewer._server.get_clients().values()
    at_rest(client)
    seen = {}
    for kind in ("depth", "confidence", "age", "image"):
        before = page.picture()[160:, :660].astype(int)
        choose(page, "Colour by", kind)
        wait_for(lambda kind=kind: viewer._panel.color == kind, f"{kind} is not chosen")
        wait_for(
            lambda before=before: (np.abs(page.picture()[160:, :660].astype(int) - before).max(-1) > 24).mean() > 0.01,
            f"{kind} looks like the one before",
        )
        seen[kind] = page.picture()[160:, :660].astype(int)
    assert (np.abs(seen["depth"] - seen["age"]).max(-1) > 24).mean() > 0.01


def test_the_frames_pictures_go_with_the_time(page: Browser, viewer: Viewer) -> None:
    def shown() -> list[str]:
        return page.run("[...document.querySelectorAll('img[src^=blob]')].map((image) => image.src)")

    for label in ("What the model saw", "Depth: near is light", "Confidence: sure is light"):
        assert label in page.text()
    last = shown()
    assert len(set(last)) == 3
    focus(page, "Frame")
    page.key("Home")
    settle(page, POINTS)
    # The picture and its depth are others; the made-up confidence is the same in every frame.
    wait_for(lambda: all(a != b for a, b in zip(shown()[:2], last[:2], strict=True)), "the pictures stay")


def test_the_eye_follows_the_camera_until_it_is_told_not_to(page: Browser, viewer: Viewer) -> None:
    (client,) = viewer._server.get_clients().values()
    start = at_rest(client)
    page.run(f"({near(page, 'Follow the camera', 'input[type=checkbox]')}.click(), true)")

    def behind() -> float:
        frame = viewer._frames[int(viewer._panel.time.value)]
        assert frame.world_from_cam is not None
        return float(np.linalg.norm(np.array(client.camera.position) - frame.world_from_cam[:3, 3]))

    wait_for(lambda: behind() < 0.35 * viewer._eyes.reach, "nobody follows")
    there = at_rest(client)
    assert np.linalg.norm(there - start) > 0.05 * viewer._eyes.reach
    focus(page, "Frame")
    page.key("Home")
    settle(page, POINTS)
    wait_for(lambda: np.linalg.norm(np.array(client.camera.position) - there) > 0.02, "it does not follow in time")
    wait_for(lambda: behind() < 0.5 * viewer._eyes.reach, "it stays behind")
    press(page, "See everything")
    page.until(f"!{near(page, 'Follow the camera', 'input[type=checkbox]')}.checked", "it follows on")


def canvas(page: Browser) -> list[int]:
    """Left, top, width and height of the scene on the page."""
    box = "document.querySelector('canvas').getBoundingClientRect()"
    return page.run(f"(({{x, y, width, height}}) => [x, y, width, height].map(Math.round))({box})")


def at_rest(client: Any) -> np.ndarray:
    """Wait until a visitor's eye has stood still for a second; return where."""
    seen = [np.array(client.camera.position)]
    while len(seen) < 11 or np.ptp(seen[-11:], axis=0).max() > 1e-9:
        assert len(seen) < 10 * PATIENCE
        time.sleep(0.1)
        seen.append(np.array(client.camera.position))
    return seen[-1]


def test_a_click_on_a_camera_flies_there_and_goes_back_in_time(page: Browser, viewer: Viewer) -> None:
    press(page, "See everything")
    (client,) = viewer._server.get_clients().values()
    eye = at_rest(client)
    frame = viewer._frames[0]
    assert frame.world_from_cam is not None
    # Where the first camera's pyramid is on the page: through the visitor's own camera.
    import viser.transforms as tf

    node = viewer._cameras._frusta[0]
    tall = np.tan(node.fov / 2)
    ahead = node.scale / np.cbrt(tall * tall * node.aspect / 3)  # where viser puts the picture
    centre = frame.world_from_cam[:3, 3] + ahead * frame.world_from_cam[:3, 2]
    own = tf.SO3(client.camera.wxyz).inverse().apply(centre - eye)
    # The page's own pixels: viser draws with fewer where the machine is slow.
    width, height = canvas(page)[2:]
    scale = height / 2 / np.tan(client.camera.fov / 2)
    page.click(width / 2 + scale * own[0] / own[2], height / 2 + scale * own[1] / own[2])
    wait_for(lambda: np.linalg.norm(np.array(client.camera.position) - eye) > 0.1, "nobody flew")
    wait_for(lambda: points_shown(page) < FRAMES * POINTS, "time did not go back")
    cameras = np.stack([f.world_from_cam[:3, 3] for f in viewer._frames if f.world_from_cam is not None])
    wait_for(
        lambda: np.linalg.norm(client.camera.position - cameras, axis=1).min() < 3 * viewer._eyes.frustum,
        "it flew elsewhere",
    )


def test_the_report_opens_from_disk_and_draws_its_cloud(browser: Browser, tmp_path: Path) -> None:
    record(tmp_path, 12, points_per_frame=400)
    del browser.requests[:], browser.errors[:]
    browser.open((tmp_path / "report.html").as_uri())
    browser.until("!!document.querySelector('#viewer canvas')", "there is no interactive cloud")
    left, top, width, _ = canvas(browser)

    def cloud() -> np.ndarray:
        return browser.picture()[top : top + 250, left : left + width].astype(int)

    wait_for(lambda: cloud().std() > 10, "the cloud is not drawn")
    whole = cloud()
    browser.run(
        "(() => { const t = document.getElementById('time'); t.value = 100; t.dispatchEvent(new Event('input')); })()"
    )
    wait_for(lambda: (np.abs(cloud() - whole).max(-1) > 24).mean() > 0.01, "the time slider does nothing")
    assert not browser.errors and all(url.startswith(("file:", "data:", "blob:")) for url in browser.requests)


def test_one_cursor_moves_the_camera_the_frame_and_the_cloud(browser: Browser, tmp_path: Path) -> None:
    truth = Trajectory(np.arange(12) / 10, np.stack([2 * pose(i).double().numpy() for i in range(12)]))
    record(tmp_path, 12, points_per_frame=400, truth=truth)
    del browser.requests[:], browser.errors[:]
    browser.open((tmp_path / "report.html").as_uri())
    browser.until("!!document.querySelector('.alive') && !!document.getElementById('time')", "the page is not alive")
    titles = browser.run("[...document.querySelectorAll('.plot strong')].map((b) => b.textContent)")
    wanted = ["Tracking", "Error", "Confidence", "Depth", "Camera speed", "Rotation speed", "Focal length", "Latency"]
    assert titles == wanted

    def moment() -> list[Any]:
        return browser.run(
            "((id) => [id('moment').textContent, id('marker').style.left, id('seen').src, Number(id('time').value)])"
            "((name) => document.getElementById(name))"
        )

    def at(*words: str) -> None:
        wait_for(lambda: moment()[0].startswith(words), f"the cursor is not at {' or '.join(words)}")

    at("frame 33 ·")
    end = moment()
    assert end[3] == 1000
    area = "document.querySelector('[data-curve=speed] .area')"
    browser.run(f"({area}.scrollIntoView({{block: 'center'}}), true)")
    x, y, width, height = browser.run(
        f"(({{x, y, width, height}}) => [x, y, width, height])({area}.getBoundingClientRect())"
    )
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x + width * 3 / 11, y=y + height / 2)
    at("frame 9 · 0.30 s")
    there = moment()
    assert all(a != b for a, b in zip(there, end, strict=True))
    assert there[3] == pytest.approx(1000 * 3 / 11, abs=1)
    speed = np.linalg.norm((pose(3) - pose(2))[:3, 3]) / 0.1
    assert float(browser.run("document.querySelector('[data-curve=speed] output').textContent")) == pytest.approx(
        float(speed), rel=0.01
    )
    browser.run("(document.getElementById('plots').focus(), true)")
    browser.key("ArrowRight")
    at("frame 12 ·")
    browser.key("Home")
    at("frame 0 ·")
    # And the other way: the cloud's slider moves the cursor.
    browser.run(
        "(() => { const t = document.getElementById('time'); t.value = 500; t.dispatchEvent(new Event('input')); })()"
    )
    at("frame 15 ·", "frame 18 ·")
    assert not browser.errors and all(url.startswith(("file:", "data:", "blob:")) for url in browser.requests)
    for phone in (390, 1280):
        browser.ask("Emulation.setDeviceMetricsOverride", width=phone, height=800, deviceScaleFactor=1, mobile=False)
        assert browser.run("document.documentElement.scrollWidth") <= phone, "the page is wider than the screen"


def test_a_running_take_grows_before_ones_eyes_and_can_be_paused(tmp_path: Path) -> None:
    out = tmp_path / "live"
    with Viewer(out, port=0, pausable=True) as viewer, Browser(tmp_path / "browser", (900, 600)) as page:
        page.open(viewer.url)
        page.reads("waiting for the first frame")
        with Recorder(out, RUN, report=False, points_per_frame=50) as recorder:
            for i in range(4):
                recorder.add(prediction(i))
            settle(page, 200)
            press(page, "Pause the take")
            wait_for(lambda: viewer._panel.paused, "the button does nothing")
            done = threading.Event()
            waiting = threading.Thread(target=lambda: (viewer.wait_while_paused(), done.set()))
            waiting.start()
            assert not done.wait(0.3)
            press(page, "Resume the take")
            assert done.wait(PATIENCE)
            waiting.join()
            for i in range(4, 7):
                recorder.add(prediction(i))
            settle(page, 350)
        page.reads("complete")
        assert not page.errors and not viewer.trouble
        viewer._eyes.see_all()
        page.ask("Page.reload")  # a visitor leaves in flight
        page.reads("complete")
