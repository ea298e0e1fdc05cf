# SPDX-License-Identifier: Apache-2.0
"""`longtake evaluate DATASET FOLDER` from the outside: JSON, report, pictures, going on, and the published table."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from evaluation_oracle import write_take
from model_files import our_file
from PIL import Image

import longtake
from longtake import cli
from longtake.datasets.table import open_sequence
from longtake.evaluation.benchmark.protocol import Protocol
from longtake.evaluation.benchmark.run import run_benchmark

NAMES = {  # what every record names
    *("ate_sim3", "ate_se3", "spread", "ate_over_spread", "rpe_trans", "rpe_rot_deg", "rot_deg", "rot_deg_identity"),
    *("translation_direction_deg", "absrel_metric", "delta1_metric", "absrel_scale", "delta1_scale"),
    *("absrel_scale_shift", "delta1_scale_shift", "absrel_constant", "acc", "comp", "nc", "fps", "state_bytes"),
    "peak_bytes",
}
TOO_SHORT = "too short: the sequence gives 5 of them"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with takes/a, takes/b and the weights of a tiny model."""
    for name in ("a", "b"):
        write_take(tmp_path / "takes" / name, frames=5, seed=ord(name))
    our_file(tmp_path / "w.safetensors")
    return tmp_path


def run(words: list[str], capsys: pytest.CaptureFixture[str]) -> str:
    capsys.readouterr()
    assert cli.main(words) == 0
    return capsys.readouterr().out


def measure(
    folder: Path,
    data: Path | None = None,
    dataset: str = "rgbd",
    rules: str = "overwrite",
    fresh: bool = False,
    **options: Any,
) -> list[dict[str, Any]]:
    """What the command runs, without its pictures."""
    model = longtake.load("longtake-small", folder / "w.safetensors", device="cpu")
    sequences, protocol = (
        open_sequence(dataset, data or folder / "takes"),
        Protocol(dataset, cloud_points=500, **options),
    )
    return run_benchmark(sequences, model, rules.split(","), protocol, folder / "out", fresh=fresh, quiet=True)


def record(folder: Path, name: str = "a") -> dict[str, Any]:
    return json.loads((folder / "out" / f"{name}.json").read_text())


def test_one_json_a_sequence_a_report_and_pictures(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = folder / "out"
    command = ["evaluate", "rgbd", str(folder / "takes"), "--weights", str(folder / "w.safetensors"), "--device", "cpu"]
    command += ["--rule", "overwrite,ttt3r", "--lengths", "3,5,9", "--cloud-points", "500", "--json", str(out)]
    printed = run(command, capsys)
    assert sorted(path.name for path in out.glob("*.json")) == ["a.json", "b.json"]
    runs = list(record(folder)["runs"].values())
    assert [each["rule"] for each in runs] == ["overwrite", "ttt3r"]
    for each in runs:
        assert set(each["figures"]) >= NAMES
        assert all(each["figures"][name] is not None for name in NAMES)
        assert list(each["by_length"]) == ["3", "5", "9"] and each["by_length"]["9"]["status"] == "too short"
        assert each["figures"]["frames"] == 5
        assert each["frames_used"] == [f"{i:06d}.png" for i in range(5)] and each["frames_dropped"] == []
        assert len(each["latencies_ms"]) == len(each["world_from_cam"]) == 5
        assert {"weights_sha256", "dtype", "device", "torch", "protocol", "code_sha256", "rule"} <= set(
            each["settings"]
        )
    ate = np.mean([next(iter(record(folder, name)["runs"].values()))["by_length"]["3"]["ate_sim3"] for name in "ab"])
    assert "Camera path: longtake-small" in printed and "0 of 2" in printed
    (row,) = [line.split() for line in printed.splitlines() if line.split()[:2] == ["overwrite", "3"]][:1]
    assert float(row[3]) == pytest.approx(ate, abs=6e-4)
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    for said in ("What changes a number", TOO_SHORT, "point-to-point ICP", "5 of 5 frames", "PNG / 1000 m"):
        assert said in page and said in text
    assert "<script" not in page and "http" not in page
    assert [run["by_length"][n]["state_bytes"] for run in runs for n in ("3", "5")] == [runs[0]["state_bytes"]] * 4
    assert all(0 < run["by_length"]["3"]["peak_bytes"] <= run["by_length"]["5"]["peak_bytes"] for run in runs)
    plots = ("ate_sim3", "absrel_scale", "acc", "state_mb", "peak_mb")
    for name in (*(f"{plot}.png" for plot in plots), "clouds-a.png", "clouds-b.png"):
        assert name in page and name in text
        with Image.open(out / name) as picture:
            assert picture.width > 1000 and np.asarray(picture).std() > 5


def test_what_is_done_is_not_walked_again(folder: Path) -> None:
    (first, _) = measure(folder)
    path, marked = folder / "out" / "a.json", record(folder)
    (label,) = marked["runs"]
    marked["runs"][label]["by_length"]["5"]["ate_sim3"] = 0.123456  # a mark: it comes from the file
    path.write_text(json.dumps(marked))
    again = measure(folder, rules="overwrite,ttt3r")
    assert [run["by_length"]["5"]["ate_sim3"] == 0.123456 for run in again] == [True, False, False, False]
    assert len(record(folder)["runs"]) == 2 and len(record(folder, "b")["runs"]) == 2
    ate = first["by_length"]["5"]["ate_sim3"]
    assert measure(folder, fresh=True)[0]["by_length"]["5"]["ate_sim3"] == ate
    path.write_text(path.read_text()[:100])  # a file that was cut short is walked again
    assert measure(folder)[0]["by_length"]["5"]["ate_sim3"] == ate
    path.write_text(json.dumps(marked))
    poses = np.loadtxt(folder / "takes" / "a" / "poses.txt")
    poses[:, [3, 7]] = poses[:, [7, 3]]
    np.savetxt(folder / "takes" / "a" / "poses.txt", poses)  # other truth: another run
    assert measure(folder)[0]["by_length"]["5"]["ate_sim3"] != 0.123456


def test_resize_shows_the_whole_picture(folder: Path) -> None:
    for picture in (folder / "takes").glob("*/*/*.png"):
        with Image.open(picture) as image:
            small = image.resize((64, 40))
        small.save(picture)
    cut, whole = (measure(folder, fit=fit)[0] for fit in ("crop", "resize"))
    assert cut["sizes"] == {"original": [64, 40], "model": [64, 32]} == whole["sizes"]
    cut, whole = cut["figures"], whole["figures"]
    assert cut["depth_pixels_cropped"] > 0 == whole["depth_pixels_cropped"]
    assert cut["depth_pixels"] + cut["depth_pixels_cropped"] == whole["depth_pixels"]


def test_published_figures_stand_beside_ours(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ate = np.mean([each["figures"]["ate_sim3"] for each in measure(folder)])
    alone = run(["evaluate", "--table"], capsys)
    assert "ours" not in alone and "published  TTT3R" in alone
    wanted = "0.014 0.020 0.031 0.041 0.045 0.051 0.067 0.074 0.085 0.091 0.102 0.110"
    assert any(line.split()[1:2] + line.split()[3:] == ["TTT3R", *wanted.split()] for line in alone.splitlines())
    both = run(["evaluate", "--table", str(folder / "out"), "--markdown", str(folder / "t.md")], capsys)
    assert any(line.startswith("ours") and f"{ate:.3f}" in line for line in both.splitlines())
    measure(folder, lengths=(3, 5))  # the same in another go is not another sequence
    measure(folder, stride=2, lengths=(3,))  # other settings are another row
    rows = [line for line in run(["evaluate", "--table", str(folder / "out")], capsys).splitlines() if "ours" in line]
    assert all("2 sequences" in row for row in rows)
    assert {"stride 1" in row for row in rows} == {"stride 2" in row for row in rows} == {True, False}
    assert "Mem3R (2604.07279), Table 5" in both and "quoted, not measured here" in (folder / "t.md").read_text()


@pytest.mark.parametrize("layout", ["tum", "bonn", "7scenes", "scannet", "kitti", "kitti-odometry"])
def test_every_layout_runs_from_end_to_end(layout: str, tmp_path: Path) -> None:
    made = ["data", "synthesize", str(tmp_path / "world"), "--layout", layout, "--takes", "1", "--frames", "4"]
    assert cli.main([*made, "--size", "64", "48", "--no-shadows"]) == 0
    our_file(tmp_path / "w.safetensors")
    (only,) = measure(tmp_path, tmp_path / "world", layout, "ttt3r")
    (path,) = (tmp_path / "out").glob("*.json")
    found = json.loads(path.read_text())
    figures, reasons = only["figures"], only["figures"]["reasons"]
    assert found["dataset"] == layout and figures["frames"] == 4 and found["notes"]
    has_depth, has_poses = layout != "kitti-odometry", layout != "kitti"
    assert (figures["absrel_scale"] is not None) is has_depth and ("absrel_scale" in reasons) is not has_depth
    assert (figures["rpe_trans"] is not None) is has_poses and ("ate_sim3" in reasons) is not has_poses
    assert (figures["acc"] is not None) is (has_depth and has_poses)
    assert 0 < figures["absrel_constant"] < 1 if has_depth else figures["absrel_constant"] is None


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (["evaluate", "rgdb", "x"], "there is no data set 'rgdb'. Did you mean 'rgbd'? Known are 7scenes, bonn"),
        (["evaluate", "rgbd", "x"], "x: no such folder; pass the root of a data set"),
        (["evaluate", "rgbd", __file__], "is a file, not a folder; pass the root"),
        (["evaluate"], "got nothing; give FOLDER for the yardstick, or DATASET and FOLDER"),
        (["evaluate", "a", "b", "c"], "got a b c"),
        (["evaluate", "x", "--lengths", "5"], "--lengths: only for a data set"),
        (["evaluate", "rgbd", "x", "--check", "--batch", "2"], "--batch, --check: only for the yardstick"),
        (["evaluate", "rgbd", "x", "--lengths", "5,x"], "give whole numbers separated by commas"),
        (["evaluate", "rgbd", "x", "--lengths", "0"], "lengths"),
        (["evaluate", "rgbd", "x", "--stride", "0"], "stride 0"),
        (["evaluate", "x", "--window", "8"], "--window: only for a data set"),
        (["evaluate", "--table", "x"], "holds no results"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_use_of_data_sets(change: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(change) == 2
    assert said in capsys.readouterr().err
