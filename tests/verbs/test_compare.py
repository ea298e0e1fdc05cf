# SPDX-License-Identifier: Apache-2.0
"""`longtake compare` from the outside, and its figures against plain definitions."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from model_files import our_file
from PIL import Image

from longtake import cli
from longtake.errors import InputError
from longtake.verbs._compare_run import curve_lengths, find_takes, path_figures
from longtake.verbs._compare_table import mean_and_spread


def turn(axis: np.ndarray, degrees: float) -> np.ndarray:
    a = np.deg2rad(degrees)
    k = np.array([[0, -axis[2], axis[1]], [axis[2], 0, -axis[0]], [-axis[1], axis[0], 0]])
    return np.eye(3) + np.sin(a) * k + (1 - np.cos(a)) * k @ k


def walk(frames: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (frames, 1, 1))
    for t in range(1, frames):
        axis = rng.normal(size=3)
        poses[t, :3, :3] = poses[t - 1, :3, :3] @ turn(axis / np.linalg.norm(axis), 5)
        poses[t, :3, 3] = poses[t - 1, :3, 3] + 0.1 * rng.normal(size=3)
    return poses


def write_take(path: Path, frames: int, seed: int) -> None:
    """A take of noise with a random walk as its truth."""
    rng = np.random.default_rng(seed)
    for name in ("rgb", "depth"):
        (path / name).mkdir(parents=True)
    for t in range(frames):
        Image.fromarray(rng.integers(0, 256, (48, 64, 3), dtype=np.uint8)).save(path / "rgb" / f"{t:03}.png")
        Image.fromarray(rng.integers(500, 4000, (24, 32), dtype=np.uint16)).save(path / "depth" / f"{t:03}.png")
    lines = [" ".join(f"{v:.9f}" for v in pose.ravel()) for pose in walk(frames, seed)]
    (path / "poses.txt").write_text("\n".join(lines) + "\n")
    (path / "intrinsics.txt").write_text("60 0 31.5\n0 60 23.5\n0 0 1\n")


def test_a_path_in_another_world_and_scale_has_no_error() -> None:
    true = walk(30)
    moved = true.copy()
    moved[:, :3, 3] *= 0.3
    world = np.eye(4)
    world[:3, :3], world[:3, 3] = turn(np.array([0, 0, 1.0]), 70), [1, 2, 3]
    figures = path_figures(world @ moved, true)
    assert figures["rpe_translation"] < 1e-9
    assert figures["rpe_rotation"] < 1e-5
    assert max(error for error, _ in figures["by_length"].values()) < 1e-9


def test_relative_errors_are_their_definition() -> None:
    true, rng = walk(12), np.random.default_rng(5)
    predicted = true.copy()
    predicted[:, :3, 3] += 0.05 * rng.normal(size=(12, 3))
    for t in range(12):
        predicted[t, :3, :3] = predicted[t, :3, :3] @ turn(np.array([0, 1.0, 0]), rng.normal())
    x, y = predicted[:, :3, 3], true[:, :3, 3]
    a, b = x - x.mean(0), y - y.mean(0)
    u, d, vt = np.linalg.svd(b.T @ a)
    scale = (d * [1, 1, np.sign(np.linalg.det(u @ vt))]).sum() / (a**2).sum()
    shifts, angles = [], []
    for t in range(11):
        steps = []
        for poses, s in ((predicted, scale), (true, 1.0)):
            first, second = poses[t].copy(), poses[t + 1].copy()
            first[:3, 3] *= s
            second[:3, 3] *= s
            steps.append(np.linalg.inv(first) @ second)
        error = np.linalg.inv(steps[1]) @ steps[0]
        shifts.append(np.linalg.norm(error[:3, 3]) ** 2)
        angles.append(np.degrees(np.arccos(np.clip((np.trace(error[:3, :3]) - 1) / 2, -1, 1))) ** 2)
    figures = path_figures(predicted, true)
    assert figures["rpe_translation"] == pytest.approx(np.sqrt(np.mean(shifts)), abs=1e-12)
    assert figures["rpe_rotation"] == pytest.approx(np.sqrt(np.mean(angles)), abs=1e-6)


def test_a_pose_that_is_not_finite_is_scored_and_not_dropped() -> None:
    true = walk(20)
    broken = true.copy()
    broken[7] = np.nan
    figures = path_figures(broken, true)
    assert figures["rpe_rotation"] == pytest.approx(np.sqrt(2 * 180**2 / 19), rel=0.01)
    assert figures["by_length"][20][0] == pytest.approx(1)


def test_curves_have_round_lengths() -> None:
    assert {50, 100, 200, 373} <= set(curve_lengths(373))
    assert curve_lengths(2) == (2,)


def test_mean_and_spread_over_takes() -> None:
    assert mean_and_spread([1.0], 2) == "1.00"
    assert mean_and_spread([1.0, 2.0, float("nan")], 2) == "1.50 ± 0.71"
    assert mean_and_spread([float("nan")], 2) == "-"


@pytest.fixture
def model(tmp_path: Path) -> str:
    return f"longtake-small={our_file(tmp_path / 'w.safetensors')}"


def test_takes_with_truth(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    for i, name in enumerate("abc"):
        write_take(tmp_path / "takes" / name, frames=6 + i, seed=i)
    out = tmp_path / "out"
    words = ["compare", str(tmp_path / "takes"), "--models", model, "--device", "cpu", "--batch", "2"]
    assert cli.main([*words, "--rules", "overwrite, ttt3r+memix", "--out", str(out)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["3", "takes,", "21", "frames"]
    assert [tuple(line.split()[:2]) for line in lines[2:4]] == [
        ("longtake-small", "overwrite"),
        ("longtake-small", "ttt3r+memix"),
    ]
    report = json.loads((out / "compare.json").read_text())
    takes = report["entries"][0]["takes"]
    assert [take["frames"] for take in takes] == [6, 7, 8]
    ate = np.mean([take["ate"] for take in takes])
    assert f"{ate:.3f} ±" in lines[2]
    assert f"{ate:.3f} ±" in (out / "compare.md").read_text()
    assert takes[0]["abs_rel"] > 0
    with Image.open(out / "compare.png") as picture:
        assert picture.width == 1600
        assert len(picture.convert("RGB").getcolors(1 << 24) or []) > 50


def test_a_clip_without_truth(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_take(tmp_path / "a", frames=5, seed=1)
    words = ["compare", str(tmp_path / "a" / "rgb"), "--models", model, "--device", "cpu", "--out", str(tmp_path / "o")]
    assert cli.main([*words, "--rules", "filt3r", "--max-frames", "4"]) == 0
    row = capsys.readouterr().out.splitlines()[2].split()
    assert row[:4] == ["longtake-small", "filt3r", "-", "-"]
    assert (tmp_path / "o" / "compare.png").is_file()


def test_mistakes_are_named(tmp_path: Path, model: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_take(tmp_path / "a", frames=3, seed=1)
    with pytest.raises(InputError, match="true poses"):
        find_takes([str(tmp_path / "a"), str(tmp_path / "a" / "rgb")])
    assert cli.main(["compare", str(tmp_path / "nothing"), "--models", model]) == 2
    assert cli.main(["compare", str(tmp_path / "a"), "--models", model, "--rules", "ttt4r"]) == 2
    many = ",".join(f"constant:0.{i}" for i in range(10, 24))
    assert cli.main(["compare", str(tmp_path / "a"), "--models", model, "--rules", many]) == 2
    assert "at most 12" in capsys.readouterr().err
