# SPDX-License-Identifier: Apache-2.0
"""--reset-when and --join reach the stream from every verb, and tracking reaches the files and the report."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from clips import write_clip
from model_files import our_file
from PIL import Image
from take_maker import prediction

import longtake
from longtake import cli
from longtake.continuity.trigger import ResetTrigger, read_trigger
from longtake.errors import InputError
from longtake.outputs import Recorder, read_cameras
from longtake.outputs.tracking_strip import CELLS, TrackingStrip, read_tracking
from longtake.scene import Progress
from longtake.verbs._live import Pace, describe


@pytest.mark.parametrize(
    ("words", "trigger"),
    [
        ("spent", ResetTrigger(60, 0.7, False)),
        ("spent:30", ResetTrigger(30, 0.7, False)),
        ("spent:30:0.5+cut", ResetTrigger(30, 0.5, True)),
        ("cut", ResetTrigger(float("inf"), 0.7, True)),
        ("spent:inf:0.7", ResetTrigger(float("inf"), 0.7, False)),
        ("spent:0.123456789", ResetTrigger(0.123456789, 0.7, False)),
    ],
)
def test_a_trigger_in_words_and_back(words: str, trigger: ResetTrigger) -> None:
    assert read_trigger(words) == trigger
    assert read_trigger(trigger.name) == trigger


@pytest.mark.parametrize("words", ["", "often", "spent:", "spent:0", "spent:nan", "spent:1:2:3", "cut:3", "spent++cut"])
def test_other_words_are_refused(words: str) -> None:
    with pytest.raises(InputError, match="give spent"):
        read_trigger(words)


def test_the_flags_are_the_stream_s_own_options(tmp_path: Path) -> None:
    weights = our_file(tmp_path / "tiny.safetensors")
    clip = write_clip(tmp_path / "walk.mp4", 12)
    words = ["reconstruct", str(clip), "--weights", str(weights), "--device", "cpu", "--quiet", "--rule", "overwrite"]
    assert cli.main([*words, "--out", str(tmp_path / "a"), "--reset-when", "spent:2:2", "--join", "scale"]) == 0
    assert cli.main([*words, "--out", str(tmp_path / "b")]) == 0
    model = longtake.load("longtake-small", weights, device="cpu")
    for name, options in (
        ("a", {"reset_when": ResetTrigger(2, 2, False), "join": "scale"}),
        ("b", {}),
    ):
        stream = model.stream("overwrite", **options)
        frames = read_cameras(tmp_path / name / "cameras.json")["frames"]
        for said, frame in zip(frames, longtake.video(clip), strict=True):
            p = stream.step(frame)
            np.testing.assert_allclose(said["world_from_cam"], p.world_from_cam, atol=1e-6)
            assert said["tracking"] == p.tracking
    options = json.loads((tmp_path / "a" / "manifest.json").read_text())["options"]
    assert (options["reset_when"], options["join"]) == ("spent:2:2", "scale")
    assert (tmp_path / "a" / "trajectory.txt").read_bytes() != (tmp_path / "b" / "trajectory.txt").read_bytes()
    replay = ["replay", str(tmp_path / "a"), "--weights", str(weights), "--source", str(clip), "--quiet"]
    assert cli.main(replay) == 0
    assert cli.main([*words, "--out", str(tmp_path / "c"), "--reset-when", "often"]) == 2


def test_compare_and_evaluate_take_them(tmp_path: Path) -> None:
    weights = our_file(tmp_path / "tiny.safetensors")
    rng = np.random.default_rng(0)
    take = tmp_path / "take"
    for name in ("rgb", "depth"):
        (take / name).mkdir(parents=True)
    poses = np.tile(np.eye(4), (9, 1, 1))
    poses[:, :3, 3] = rng.normal(size=(9, 3)).cumsum(0)
    for t in range(9):
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(take / "rgb" / f"{t}.png")
        Image.fromarray(rng.integers(500, 4000, (24, 32), dtype=np.uint16)).save(take / "depth" / f"{t}.png")
    np.savetxt(take / "poses.txt", poses.reshape(9, 16))
    np.savetxt(take / "intrinsics.txt", [[60, 0, 31.5], [0, 60, 23.5], [0, 0, 1]])
    common = ["--rules", "overwrite", "--device", "cpu"]
    flags = ["--reset-when", "spent:2:2", "--join", "sim3"]
    said = {}
    for name, more in (("with", flags), ("without", [])):
        models = ["--models", f"longtake-small={weights}", "--out", str(tmp_path / f"compare_{name}")]
        assert cli.main(["compare", str(take), *common, *models, *more]) == 0
        compared = json.loads((tmp_path / f"compare_{name}" / "compare.json").read_text())
        out = ["--weights", str(weights), "--cache", str(tmp_path / "cache"), "--json", str(tmp_path / f"{name}.json")]
        assert cli.main(["evaluate", str(take), *common, *out, "--no-untrained", *more]) == 0
        measured = json.loads((tmp_path / f"{name}.json").read_text())
        out = ["--weights", str(weights), "--json", str(tmp_path / f"bench_{name}")]
        assert cli.main(["evaluate", "rgbd", str(take), *common, *out, *more]) == 0
        (record,) = (tmp_path / f"bench_{name}").glob("take*.json")
        said[name] = (compared["entries"], measured, record.read_text())
        assert ("joined by sim3" in (tmp_path / f"bench_{name}" / "report.html").read_text()) == bool(more)
    assert compared["settings"]["join"] == "exact"
    assert all(a != b for a, b in zip(said["with"], said["without"], strict=True))


def test_the_strip_shows_the_worst_of_each_cell(tmp_path: Path) -> None:
    codes = [0] * 3 + [2] + [1] * 4 + [0] * 2
    recorder = Recorder(tmp_path, report=True)
    with recorder:
        for i, code in enumerate(codes):
            recorder.add(prediction(i, tracking_code=torch.tensor(code)))
        strip = read_tracking(tmp_path)
    assert strip is not None
    assert strip.cells.tolist() == codes
    assert strip.runs() == [(0, 3, 0), (3, 1, 2), (4, 4, 1), (8, 2, 0)]
    assert strip.words == "5 ok · 4 weak · 1 lost"
    assert recorder.summary()["tracking"] == {"ok": 5, "weak": 4, "lost": 1}
    page = (tmp_path / "report.html").read_text("utf-8")
    assert page.count('<rect class="lost"') == 1, "one frame in ten, wherever the page shows it"
    picture = np.asarray(Image.open(tmp_path / "report.png").convert("RGB")).astype(int)
    red = (abs(picture - [0xC0, 0x39, 0x2B]).sum(-1) < 12).sum(1)
    widest = red.max()
    assert widest == pytest.approx((2000 - 2 * 88) / 10, abs=3), "a tenth of the strip is red"
    (tmp_path / "long").mkdir()
    lines = ['{"tracking": "ok"}'] * 10_000
    lines[7777] = '{"tracking": "lost"}'
    (tmp_path / "long" / "cameras.jsonl.part").write_text("\n".join(lines) + "\n")
    long = read_tracking(tmp_path / "long")
    assert isinstance(long, TrackingStrip)
    assert len(long.cells) == CELLS
    assert long.runs() == [(0, 466, 0), (466, 1, 2), (467, 133, 0)]


def test_the_line_of_progress_tells() -> None:
    assert "  tracking lost  " in describe(Progress(5, 10, 1.0, 7, 100, "lost"), Pace())
