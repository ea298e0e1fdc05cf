# SPDX-License-Identifier: Apache-2.0
"""The model's estimate of metres: one number a take that a wrong minority hardly moves and nobody applies unasked."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from take_maker import RUN, prediction, record

from longtake import cli
from longtake.continuity.joining import join_chunks
from longtake.errors import InputError
from longtake.frame import Heads, PixelMap
from longtake.geometry.camera import unproject
from longtake.outputs import Recorder, Trajectory, read_cameras, read_depth, read_ply, read_tum
from longtake.outputs.align import metric_take
from longtake.outputs.exports import export
from longtake.outputs.manifest import read_manifest
from longtake.outputs.size import in_metres, metres_in, size_of
from longtake.outputs.take import read_take
from longtake.predictions import Shown, predictions_of
from longtake.scene import Scene
from longtake.verbs._take import account, figures

SAID = (2.0, 2.2, 2.4, 9.0, 2.3, 2.1, 2.5)  # metres a unit, by seven frames of which one is badly wrong
METRES = 2.3
PIXELS = PixelMap((8, 6), (8, 6), (1.0, 1.0), (0.0, 0.0))


def said(out: Path, values: Any = SAID, **options: Any) -> Path:
    """Record a take whose frames say these metres a unit; None says nothing."""
    with Recorder(out, RUN, **({"report": False, "points_per_frame": 60} | options)) as recorder:
        for index, value in enumerate(values):
            recorder.add(prediction(index, metric_scale=None if value is None else torch.tensor(value)), 0.01)
    return out


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return said(tmp_path_factory.mktemp("take") / "out")


@pytest.fixture(scope="module")
def mute(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return said(tmp_path_factory.mktemp("mute") / "out", [None] * len(SAID))


def without_the_key(take: Path, out: Path) -> Path:
    """Copy a take as a version that knew nothing of metres would have written it."""
    record(out, len(SAID), report=False, points_per_frame=60)
    for name in ("manifest.json", "cameras.json"):
        document = json.loads((take / name).read_text())
        for each in (document, *(document["frames"] if name == "cameras.json" else ())):
            for key in ("metres_per_unit", "path_length"):
                each.pop(key, None)
        (out / name).write_text(json.dumps(document))
    return out


# --- one number a take ---


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 400), st.floats(0.05, 50), st.floats(0.01, 100), st.randoms(use_true_random=False))
def test_a_wrong_minority_leaves_it_among_the_right(count: int, true: float, wrong: float, random: Any) -> None:
    right = [true * math.exp(random.uniform(-0.2, 0.2)) for _ in range(count)]
    bad = [wrong * true] * ((count - 1) // 2)
    values = [*right, *bad, None, math.nan, -1.0, 0.0]
    random.shuffle(values)
    found = size_of({"metres_per_unit": value} for value in values).metres_per_unit
    assert found is not None and min(right) <= found <= max(right)
    if not bad:
        assert found == float(np.median(right))


def test_of_a_long_take_an_even_sample_is_kept() -> None:
    rng = np.random.default_rng(0)
    values = np.exp(rng.normal(0.8, 0.3, 100_000))
    found = size_of({"metres_per_unit": value} for value in values.tolist()).metres_per_unit
    assert found == pytest.approx(float(np.median(values)), rel=0.02)
    few = values[:8000].tolist()
    assert size_of({"metres_per_unit": value} for value in few).metres_per_unit == float(np.median(few))


@pytest.mark.parametrize("value", ["2.3", True, [2.3], None, math.inf, math.nan, -2.0, 0])
def test_what_is_no_length_is_no_estimate(value: Any) -> None:
    assert metres_in({"metres_per_unit": value}) is None and metres_in({}) is None


@pytest.mark.parametrize(
    ("metres", "words"),
    [(0.0123, "0.012"), (0.92, "0.92"), (1.04, "1"), (9.96, "10"), (31.2, "31"), (304, "300"), (12345, "12,000")],
)
def test_an_estimate_is_read_in_two_figures(metres: float, words: str) -> None:
    assert in_metres(metres / METRES, METRES) == f"about {words} m"


def _heads(unit: float) -> Heads:
    """What a frame's heads say of one scene in a unit of so many metres."""
    torch.manual_seed(3)
    points = torch.randn(1, 6, 8, 3)
    points[..., 2] = points[..., 2].abs() + 0.5
    sure, turn = 1 + torch.rand(1, 6, 8), torch.tensor([[0.9, 0.1, -0.2, 0.3]])
    pose = torch.cat((torch.tensor([[0.3, 0.1, 0.5]]) / unit, turn / turn.norm()), 1)
    intrinsics = torch.eye(3)[None]
    return Heads(
        points / unit, sure, points / unit, sure, pose, intrinsics=intrinsics, metric_scale=torch.tensor([unit])
    )


@pytest.mark.parametrize("join", ["scale", "sim3"])
@pytest.mark.parametrize("factor", [2.0, 0.5, 1.37])
def test_the_estimate_does_not_jump_where_a_chunk_has_another_unit(join: str, factor: float) -> None:
    """The model's unit is another one in each chunk, and what it says of it goes with it through the join."""
    chain, shown = torch.eye(4)[None], Shown(torch.zeros(6, 8, 3).byte().numpy(), PIXELS, 0, 0.0, "")
    before = predictions_of(_heads(2.0), chain, [shown], False, ["head"], torch.zeros(1).long(), scaled=True)[0]
    chain = join_chunks(join, chain, _heads(2.0), _heads(2.0 * factor), torch.tensor([True]))
    after = predictions_of(_heads(2.0 * factor), chain, [shown], False, ["head"], torch.zeros(1).long(), scaled=True)[0]
    assert before.metric_scale is not None and after.metric_scale is not None
    assert float(after.metric_scale) == pytest.approx(float(before.metric_scale), rel=1e-4)
    torch.testing.assert_close(after.depth, before.depth, rtol=1e-4, atol=1e-4)


def test_a_chunk_that_was_joined_twice_too_large_hardly_moves_it() -> None:
    rng = np.random.default_rng(1)
    values = 2.3 * np.exp(rng.normal(0, 0.1, 64))
    wrong = values.copy()
    wrong[16:32] /= 2  # its points are twice as many units, each of which has half the metres
    right, moved = (size_of({"metres_per_unit": float(v)} for v in each).metres_per_unit for each in (values, wrong))
    assert right is not None and moved is not None and abs(moved / right - 1) < 0.1


# --- in the folder ---


def test_manifest_cameras_and_the_take_hold_it_and_nothing_is_scaled(take: Path, mute: Path) -> None:
    manifest, cameras = read_manifest(take / "manifest.json"), read_cameras(take / "cameras.json")
    assert manifest is not None and manifest["metres_per_unit"] == pytest.approx(METRES)
    assert cameras["metres_per_unit"] == pytest.approx(METRES)
    assert manifest["is_metric"] is cameras["is_metric"] is False and cameras["unit"] == "scene unit"
    assert [frame["metres_per_unit"] for frame in cameras["frames"]] == pytest.approx(SAID)
    read = read_take(take)
    assert read.metres_per_unit == pytest.approx(METRES) and not read.is_metric and read.unit == "scene units"
    assert [frame.metres_per_unit for frame in read.frames] == pytest.approx(SAID)
    for name in ("cloud.ply", "trajectory.txt", "depth/000003.png"):
        assert (take / name).read_bytes() == (mute / name).read_bytes()
    path = read_tum(take / "trajectory.txt").world_from_cam[:, :3, 3]
    steps = np.linalg.norm(np.diff(path, axis=0), axis=1)
    assert manifest["path_length"] == pytest.approx(float(steps.sum()), rel=1e-4)


def test_a_take_that_is_cut_short_has_that_of_its_frames(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), Recorder(tmp_path, RUN, report=False) as recorder:
        for index, value in enumerate(SAID[:3]):
            recorder.add(prediction(index, metric_scale=torch.tensor(value)))
            assert read_take(tmp_path).metres_per_unit == pytest.approx(float(np.median(SAID[: index + 1])))
        raise KeyboardInterrupt
    manifest = read_manifest(tmp_path / "manifest.json")
    assert manifest is not None and manifest["status"] == "interrupted"
    assert manifest["metres_per_unit"] == read_take(tmp_path).metres_per_unit == pytest.approx(2.2)


def test_a_metric_model_needs_no_estimate(tmp_path: Path) -> None:
    with Recorder(tmp_path, RUN, report=False) as recorder:
        recorder.add(prediction(0, metric_scale=torch.tensor(2.0), is_metric=True))
    manifest = read_manifest(tmp_path / "manifest.json")
    assert manifest is not None and manifest["is_metric"] and manifest["metres_per_unit"] is None
    assert read_take(tmp_path).metres_per_unit is None
    with pytest.raises(InputError, match="in metres already"):
        export(tmp_path, "tum", metric=True)


def test_takes_without_it_are_read_and_exported_as_ever(take: Path, mute: Path, tmp_path: Path) -> None:
    old = without_the_key(take, tmp_path / "old")
    for folder in (mute, old):
        read = read_take(folder)
        assert read.metres_per_unit is None and {frame.metres_per_unit for frame in read.frames} == {None}
        assert export(folder, "ply", tmp_path / "c.ply").read_bytes() == export(take, "ply").read_bytes()
        with pytest.raises(InputError, match=r"no estimate of metres.*--scale or --align"):
            export(folder, "ply", metric=True)


# --- exports ---


def test_points_poses_and_depth_are_scaled_alike(take: Path, tmp_path: Path) -> None:
    before, after = read_ply(take / "cloud.ply"), read_ply(export(take, "ply", tmp_path / "c.ply", metric=True))
    np.testing.assert_allclose(after.points, METRES * before.points, rtol=1e-5, atol=1e-6)
    poses, scaled = (read_tum(take / "trajectory.txt"), read_tum(export(take, "tum", tmp_path / "t.txt", metric=True)))
    np.testing.assert_allclose(scaled.world_from_cam[:, :3, 3], METRES * poses.world_from_cam[:, :3, 3], atol=1e-5)
    np.testing.assert_allclose(scaled.world_from_cam[:, :3, :3], poses.world_from_cam[:, :3, :3], atol=1e-6)
    units, metres = export(take, "npz", tmp_path / "u"), export(take, "npz", tmp_path / "m", metric=True)
    for number in (0, 5):
        a, b = (np.load(folder / f"{number:06d}.npz") for folder in (units, metres))
        np.testing.assert_allclose(b["depth"], METRES * a["depth"], rtol=1e-6)
        np.testing.assert_array_equal(b["intrinsics"], a["intrinsics"])
        np.testing.assert_allclose(_seen_by_the_next(b, metres), _seen_by_the_next(a, units), rtol=1e-4, atol=1e-3)


def _seen_by_the_next(frame: Any, folder: Path) -> np.ndarray:
    """Pixels (n, 2) at which frame 2 sees what a frame's depth says."""
    other = np.load(folder / "000002.npz")
    own = unproject(torch.from_numpy(frame["depth"]).double(), torch.from_numpy(frame["intrinsics"])).numpy()
    own = own[frame["depth"] > 0]
    between = np.linalg.inv(other["world_from_cam"]) @ frame["world_from_cam"]
    pixels = (own @ between[:3, :3].T + between[:3, 3]) @ other["intrinsics"].T
    return pixels[:, :2] / pixels[:, 2:]


def test_an_export_says_that_its_metres_are_an_estimate(
    take: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = export(take, "png16", tmp_path / "d", metric=True)
    note = json.loads((out / "depth.json").read_text())
    assert note["unit"].startswith("metres (the model's own estimate, often 15 to 20 % off")
    with Image.open(out / "000004.png") as image:
        depth = read_depth(take / "depth/000004.png")
        np.testing.assert_allclose(np.asarray(image) / 1000, METRES * depth, atol=1.1e-3)
    assert cli.main(["export", str(take), "--format", "tum", "--metric", "--to", str(tmp_path / "t.txt")]) == 0
    assert "scaled: one unit is taken for 2.3 m, the model's own estimate, often 15" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--scale", "2"], "--scale and --metric both"),
        (["--align", "t.txt"], "--metric and --align both"),
        (["--scale", "2", "--align", "t.txt"], "--scale and --metric and --align all"),
    ],
)
def test_it_is_refused_beside_what_says_the_same(
    take: Path, words: list[str], named: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["export", str(take), "--format", "tum", "--metric", *words]) != 0
    assert f"{named} say how large the take is" in capsys.readouterr().err
    known = Trajectory(np.arange(3.0), np.tile(np.eye(4), (3, 1, 1)))
    with pytest.raises(InputError, match="say how large the take is; give one"):
        export(take, "tum", metric=True, scale=None if "--scale" not in words else 2.0, align=known)


def test_a_scaled_take_no_longer_offers_it(take: Path) -> None:
    moved = metric_take(read_take(take))
    assert moved.is_metric and moved.estimated and moved.metres_per_unit is None
    assert moved.scale == pytest.approx(METRES)
    with pytest.raises(InputError, match="in metres already"):
        metric_take(moved)


# --- in words ---


def test_the_report_says_about_how_many_metres_and_what_that_is_worth(tmp_path: Path) -> None:
    page = (said(tmp_path / "with", report=True) / "report.html").read_text("utf-8")
    assert "Metres are the model&#x27;s own estimate, often 15 to 20 % off, at times more" in page
    assert "one unit is about 2.3 m.</p>" in page
    length = json.loads((tmp_path / "with" / "manifest.json").read_text())["path_length"]
    assert f"<dt>path, {in_metres(length, METRES)}</dt><dd>{length:.3g} units</dd>" in page
    assert re.search(r"Grid: [\d.]+ units?, about [\d.]+ m</span>", page) and "the model is not metric" in page
    plain = (said(tmp_path / "without", [None] * 3, report=True) / "report.html").read_text("utf-8")
    assert "<dt>path</dt>" in plain and "about" not in plain.split("<h2>How it was made")[0].split("</style>")[1]
    with Image.open(tmp_path / "with/report.png") as one, Image.open(tmp_path / "without/report.png") as other:
        assert one.height > other.height


def test_the_account_says_so_too_and_only_where_there_is_an_estimate(tmp_path: Path) -> None:
    told = {"model": "a-model", "rule": "ttt3r", "device": "cpu", "precision": "float32", "threads": 1}
    words = []
    for name, values in (("with", SAID), ("without", [None, None])):
        with Recorder(tmp_path / name, RUN, report=False) as recorder:
            for index, value in enumerate(values):
                recorder.add(prediction(index, metric_scale=None if value is None else torch.tensor(value)), 0.01)
            recorder.tell(state_bytes=1, peak_bytes=1)
        scene = Scene(recorder.out, recorder.summary() | told, recorder.notes, temporary=False)
        words.append((account(scene), figures(scene), scene.metres_per_unit))
    (text, numbers, metres), (plain, none, nothing) = words
    assert metres == numbers["metres_per_unit"] == pytest.approx(METRES)
    length = numbers["path_length"]
    assert f"path {length:.3g} units, {in_metres(length, METRES)} (the model's own estimate, often 15" in text
    assert none["metres_per_unit"] is nothing is None and "estimate" not in plain
