# SPDX-License-Identifier: Apache-2.0
"""The camera page as a person meets it: a real browser with a made-up camera starts it, sees points and depth."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pytest
from browser import CHROMIUM, Browser
from service_maker import TOKEN, serve
from waiting import PATIENCE, wait_for

from longtake.serve.service import Service

pytestmark = pytest.mark.skipif(not CHROMIUM, reason="no Chromium here: apt-get install chromium")
CAMERA = ("--use-fake-device-for-media-stream", "--use-fake-ui-for-media-stream")
PAPER = np.array([250, 249, 246])


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with serve(2) as made:
        yield made


@pytest.fixture(scope="module")
def page(service: Service, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("camera-page"), (1000, 640), CAMERA) as browser:
        yield browser


def click(page: Browser, name: str) -> None:
    page.run(f"(document.getElementById({name!r}).click(), true)")


def box(page: Browser, name: str) -> np.ndarray:
    """The part of the picture where an element is."""
    script = f"(({{x, y, width, height}}) => [x, y, width, height].map(Math.round))(document.getElementById({name!r})"
    x, y, width, height = page.run(script + ".getBoundingClientRect())")
    return page.picture()[y + 12 : y + height - 12, x + 12 : x + width - 12].astype(int)


def scene(page: Browser) -> np.ndarray:
    """The part of the picture where only the scene is."""
    return page.picture()[140:400].astype(int)


def test_a_wrong_token_is_asked_for_again(page: Browser, service: Service) -> None:
    page.open(f"{service.url}/#token=something-else")
    page.until("document.getElementById('start')?.disabled === false", "there is no button")
    click(page, "start")
    page.reads("token is wrong")
    page.until("!document.getElementById('ask').hidden", "nobody asks for the token")
    page.run(f"(document.getElementById('token').value = {TOKEN!r}, true)")
    click(page, "start")
    page.until("Scene.cameras > 2", "the right token does not help")
    click(page, "stop")
    page.reads("stopped")


def test_the_camera_becomes_points_depth_and_a_path(page: Browser, service: Service) -> None:
    del page.errors[:], page.requests[:]
    page.open("about:blank")
    page.open(service.page)
    page.until("document.getElementById('start')?.disabled === false", "there is no button")
    assert page.run("location.hash") == ""  # nobody reads the token over a shoulder
    blank = scene(page)
    assert np.abs(page.picture()[100:180, 4:60] - PAPER).max() < 40
    click(page, "start")
    page.reads("live")
    page.until("Scene.cameras > 12", "there are no answers")
    wait_for(lambda: (np.abs(scene(page) - blank).max(-1) > 24).mean() > 0.02, "the scene stays blank")
    assert (np.abs(scene(page) - PAPER).max(-1) > 24).mean() > 0.02
    camera, depth = box(page, "camera"), box(page, "depth")
    assert camera[..., 1].mean() > camera[..., 0].mean() + 40  # Chromium's made-up camera is green
    assert depth.reshape(-1, 3).std(0).max() > 8  # of random weights, but a picture
    assert page.run("Scene.points") > 1000
    assert float(page.run("document.getElementById('rate').textContent")) > 0
    codec = page.run("document.getElementById('video').checked ? 'H.264' : 'JPEG'")
    assert page.run("document.getElementById('codec').textContent") == f"kB a frame, {codec}"
    page.until("Number(document.getElementById('bytes').textContent) > 0.1", "nothing was counted")
    assert not page.errors
    own = (service.url, "data:", "blob:", service.url.replace("http", "ws"), "about:")
    assert not [url for url in page.requests if not url.startswith(own)]


def kinds(service: Service, seconds: float = 1.0) -> set[bool]:
    """Which kinds of frames wait or come in a while: True is H.264."""
    seen, begin = set(), time.monotonic()
    while time.monotonic() < begin + (seconds if seen else PATIENCE):
        for visitor in list(service.worker._visitors):
            newest = None if visitor is None else visitor.newest
            if newest is not None:
                seen.add(newest[0].is_h264)
        time.sleep(0.0005)
    return seen


def test_h264_is_offered_where_the_browser_writes_it_and_jpeg_takes_over(page: Browser, service: Service) -> None:
    if page.run("document.getElementById('offer').hidden"):
        assert kinds(service) == {False}
        pytest.skip("this Chromium writes no H.264: JPEG is what it sends")

    def only_h264() -> bool:
        if not page.run("document.getElementById('video').checked"):
            click(page, "video")  # a machine too busy for it made the page give it up
        return kinds(service) == {True}

    wait_for(only_h264, "no H.264 comes")
    small = float(page.run("document.getElementById('bytes').textContent"))
    frames = page.run("Scene.cameras")
    # An encoder that fails in the middle of a take: the take goes on.
    page.run("(VideoEncoder.prototype.encode = () => { throw new Error('no more'); }, true)")
    page.until(f"Scene.cameras > {frames + 35}", "the take does not go on")
    assert kinds(service) == {False} and not page.errors
    assert page.run("document.getElementById('codec').textContent") == "kB a frame, JPEG"
    assert small < float(page.run("document.getElementById('bytes').textContent"))


def test_pictures_that_get_no_answer_do_not_stop_the_take(page: Browser, service: Service) -> None:
    """Those that a newer one replaced, or that were lost on the way: the page waits for neither."""
    script = """(() => { const send = WebSocket.prototype.send; let number = 0;
      WebSocket.prototype.send = function (data) {
        if (typeof data === 'string' || number++ >= %d) send.call(this, data);
      };
      return true; })()"""
    for lost in (1, 2):  # as many as may be on their way
        page.run(script % lost)
        frames = page.run("Scene.cameras")
        page.until(f"Scene.cameras > {frames + 5}", f"{lost} lost pictures end the take")


def test_a_hand_turns_the_scene(page: Browser) -> None:
    turn = "document.getElementById('scene').dispatchEvent(new KeyboardEvent('keydown', {key: 'ArrowLeft'}))"
    before = scene(page)
    for _ in range(8):
        page.run(turn)
    wait_for(lambda: (np.abs(scene(page) - before).max(-1) > 24).mean() > 0.02, "nothing turns")


def test_a_lost_connection_goes_on_with_the_same_take(page: Browser, service: Service) -> None:
    (visitor,) = [each for each in service.worker._visitors if each is not None]
    frames = page.run("Scene.cameras")
    # As when the network breaks off: the service's end of the connection goes away.
    for connection in list(service._server.server_state.connections):
        connection.transport.abort()
    wait_for(lambda: visitor.gone, "the service does not notice")
    page.until(f"Scene.cameras > {frames + 3}", "the page does not come back")
    (again,) = [each for each in service.worker._visitors if each is not None]
    assert again is not visitor and again.take == visitor.take
    click(page, "stop")
    wait_for(lambda: service.metrics.get("longtake_clients") == 0, "the seat is not given back")


def test_the_interface_is_described_without_asking_elsewhere(page: Browser, service: Service) -> None:
    del page.errors[:], page.requests[:]
    page.open(service.url + "/docs")
    page.reads("/v1/states/{take}")
    page.reads("needs Authorization")
    assert not page.errors
    assert all(url.startswith((service.url, "data:")) for url in page.requests)
