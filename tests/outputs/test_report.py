# SPDX-License-Identifier: Apache-2.0
"""report.html asks nobody for anything and shows what the files hold; report.png shows the same; neither ever fails."""

from __future__ import annotations

import base64
import io
import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from take_maker import RUN, prediction, record

from longtake.frame import Prediction
from longtake.outputs import Recorder, read_ply
from longtake.outputs.facts import Facts


class Page(HTMLParser):
    """What a page holds: its elements, the addresses it names, its texts and the pictures inside it."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.texts: dict[str, str] = {}
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            if name in ("src", "href", "srcset", "poster", "action", "data"):
                self.addresses.append(value or "")
            if name.startswith("on"):
                self.handlers.append(name)

    def handle_data(self, data: str) -> None:
        element = self.elements[-1] if self.elements else ""
        self.texts[element] = self.texts.get(element, "") + data


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("take")
    record(out, 12, replace(RUN, source="a walk.mp4", command=("longtake", "reconstruct", "a walk.mp4")))
    return out


@pytest.fixture(scope="module")
def page(take: Path) -> Page:
    return Page((take / "report.html").read_text("utf-8"))


def test_the_page_reaches_for_nothing_outside_itself(take: Path, page: Page) -> None:
    assert page.addresses and all(address.startswith("data:") for address in page.addresses)
    assert not {"link", "iframe", "object", "embed", "form", "a"} & (set(page.elements) - {"link"})
    text = (take / "report.html").read_text("utf-8")
    code = re.sub(r"base64,[A-Za-z0-9+/=]+", "", text)
    for word in (
        "http:",
        "https:",
        "//cdn",
        "@import",
        "url(",
        "fetch(",
        "XMLHttpRequest",
        "WebSocket",
        "import(",
        "eval(",
    ):
        assert word not in code, word
    assert not page.handlers


def test_the_page_tells_the_take(page: Page) -> None:
    text = " ".join(page.texts.values())
    for words in ("a walk.mp4", "a-model · ttt3r · cpu", "complete", "longtake reconstruct a walk.mp4", "ab" * 32):
        assert words in text, words
    assert (
        page.elements.count("img") == 1 + 2 + 1 + 2 + 2 * 6
    )  # viewer, sides, above, under the cursor, six beside depth
    for address in page.addresses:
        if address.startswith("data:image"):
            with Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))) as image:
                image.load()


def test_the_page_holds_the_cloud_and_the_path(take: Path) -> None:
    text = (take / "report.html").read_text("utf-8")
    found = re.search(r'<script type="application/json" id="take">(.*?)</script>', text, re.S)
    assert found
    data = json.loads(found[1])
    vertices = np.frombuffer(
        base64.b64decode(data["points"]), [("place", "<u2", 3), ("normal", "i1", 3), ("color", "u1", 3)]
    )
    total = len(read_ply(take / "cloud.ply").points)
    assert 0.8 * total <= len(vertices) <= total  # the outermost few percent are not shown
    shown = data["shown"]
    assert shown == sorted(shown) and shown[-1] == len(vertices) and 0 < shown[0] < 0.2 * len(vertices)
    assert len(data["poses"]) == len(data["colors"]) == 12 and all(len(pose) == 12 for pose in data["poses"])
    # Lengths survive the turn into the display frame: the path is as long as the take's.
    poses = np.array(data["poses"]).reshape(-1, 3, 4)
    steps = np.linalg.norm(np.diff(poses[:, :, 3], axis=0), axis=-1)
    wanted = np.stack([prediction(i).world_from_cam[:3, 3].numpy() for i in range(12)])
    np.testing.assert_allclose(steps, np.linalg.norm(np.diff(wanted, axis=0), axis=-1), atol=3e-5)
    # A point in the middle of the first frame lies two units and a bit ahead of the first camera, in both frames.
    places = np.array(data["low"]) + vertices["place"][: shown[0]] / 65535 * np.array(data["span"])
    ahead = (places - poses[0, :, 3]) @ poses[0, :, 2]
    assert ahead.min() > 1.4 and ahead.max() < 2.9


def test_names_from_outside_stay_text(tmp_path: Path) -> None:
    evil = "</script><img src=x onerror=alert(1)>.mp4"
    record(tmp_path, 2, replace(RUN, source=evil, model="<b>", rule="$title", options={"a<": "</table>"}))
    page = Page((tmp_path / "report.html").read_text("utf-8"))
    assert not page.handlers and all(address.startswith("data:") for address in page.addresses)
    assert page.elements.count("script") == 4 and "b" not in page.elements
    assert "$title" in "".join(page.texts.values())


def test_the_sheet_shows_pictures_where_they_belong(take: Path) -> None:
    with Image.open(take / "report.png") as image:
        sheet = np.asarray(image.convert("RGB")).astype(float)
    assert sheet.shape[1] == 2000 and 1500 < sheet.shape[0] < 2200

    def busy(rows: slice, columns: slice) -> float:
        return float(sheet[rows, columns].std((0, 1)).max())

    assert busy(slice(420, 980), slice(100, 950)) > 20 and busy(slice(420, 980), slice(1060, 1900)) > 5  # two sides
    assert busy(slice(1120, 1650), slice(100, 950)) > 5  # from above
    assert busy(slice(1120, 1650), slice(1060, 1900)) > 20  # frames beside depth
    assert busy(slice(0, 1800), slice(0, 80)) == 0 and busy(slice(0, 1800), slice(1920, 2000)) == 0  # the margins
    assert busy(slice(1070, 1100), slice(88, 1912)) == 0  # between the rows nothing overlaps


def test_the_same_take_gives_the_same_pictures(take: Path, page: Page, tmp_path: Path) -> None:
    record(tmp_path, 12)
    again = Page((tmp_path / "report.html").read_text("utf-8"))
    assert again.addresses == page.addresses
    assert len(set(page.addresses)) == len(page.addresses) - 1  # all different; the first side is the viewer's too


def _odd(index: int, kind: str) -> Prediction:
    nan = torch.nan
    shape: dict[str, Any] = {"portrait": {"height": 64, "width": 16}, "one pixel": {"height": 1, "width": 1}}.get(
        kind, {}
    )
    frame = prediction(index, **shape)
    match kind:
        case "no points":
            return replace(frame, points=torch.full_like(frame.points, nan), depth=torch.zeros_like(frame.depth))
        case "no pose":
            return replace(frame, world_from_cam=torch.full((4, 4), nan))
        case "standing still":
            return replace(frame, world_from_cam=torch.eye(4))
        case "one spot":
            return replace(frame, points=torch.ones_like(frame.points), world_from_cam=torch.eye(4))
        case "far away":
            return replace(frame, points=frame.points * 1e7, world_from_cam=frame.world_from_cam * 1e7)
        case "looking down":
            down = torch.tensor([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
            return replace(frame, world_from_cam=down)
        case "no focal length":
            return replace(frame, intrinsics=torch.zeros(3, 3))
    return frame


@pytest.mark.parametrize(
    ("kind", "count"),
    [
        ("nothing", 0), ("plain", 1), ("plain", 2), ("no points", 3), ("no pose", 3), ("standing still", 3),
        ("one spot", 3), ("far away", 3), ("looking down", 3), ("no focal length", 2), ("portrait", 3),
        ("one pixel", 3),
    ],
)  # fmt: skip
def test_odd_takes_are_drawn_too(kind: str, count: int, tmp_path: Path) -> None:
    with Recorder(tmp_path, RUN) as recorder:
        for index in range(count):
            recorder.add(_odd(index, kind))
    assert not [note for note in recorder.notes if "report" in note]
    with Image.open(tmp_path / "report.png") as sheet:
        sheet.load()
    assert Page((tmp_path / "report.html").read_text("utf-8")).elements.count("h1") == 1


@pytest.mark.parametrize(
    ("median", "high", "words"),
    [(0.0571, 0.0607, "57 / 61 ms"), (0.0004, 0.0121, "0.4 / 12 ms"), (0.9, 1.76, "0.9 / 1.8 s"), (None, None, "-")],
)
def test_latencies_are_short(median: float | None, high: float | None, words: str) -> None:
    summary = {"frames": 1, "fps": 1.0, "latency_p50": median, "latency_p95": high, "points": 1234567}
    figures = dict((label, value) for value, label in Facts(RUN, summary, is_metric=True, path_length=1).figures())
    assert figures["latency, median / 95 %"] == words
    assert figures["points"] == "1.23 M" and figures["path"] == "1 m" and figures["frame"] == "1"
