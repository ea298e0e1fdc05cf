# SPDX-License-Identifier: Apache-2.0
"""`longtake data check` and `longtake data synthesize --layout`, from the command line."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layout_files import FRAMES, LAYOUTS, SIZE, take

from longtake import cli
from longtake.datasets.survey import survey
from longtake.datasets.table import open_sequence
from longtake.datasets.write import WRITERS

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"


@pytest.mark.parametrize("layout", WRITERS)
def test_synthesized_layouts_pass_their_own_check(
    layout: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    drawn = ["--takes", "1", "--frames", "4", "--size", "64", "48", "--seed", "5", "--world", "first"]
    small = [*drawn, "--layout", layout]
    assert cli.main(["data", "synthesize", str(tmp_path), *small]) == 0
    [folder] = capsys.readouterr().out.split()
    assert (Path(folder) / "sheet.png").is_file()
    assert cli.main(["data", "check", folder]) == 0
    said = capsys.readouterr().out
    assert f": {layout}\n" in said and "4 frames, 64x48" in said and "sound: 1 sequence(s)" in said
    assert ("agreement yes" in said) is not layout.startswith("kitti")
    assert ("agreement cannot be told" in said) is layout.startswith("kitti")
    assert cli.main(["data", "synthesize", str(tmp_path), *small]) == 2
    assert "is there already" in capsys.readouterr().err


def test_layouts_hold_the_same_walk_as_the_plain_folder(tmp_path: Path) -> None:
    small = ["--takes", "1", "--frames", "2", "--size", "32", "24", "--no-shadows"]
    for layout in ("rgbd", "tum"):
        assert cli.main(["data", "synthesize", str(tmp_path / layout), *small, "--layout", layout]) == 0
    plain, tum = (open_sequence(layout, tmp_path / layout)[0][1] for layout in ("rgbd", "tum"))
    np.testing.assert_allclose(plain.world_from_cam, tum.world_from_cam, atol=1e-6)  # type: ignore[arg-type]
    np.testing.assert_allclose(plain.depth, tum.depth, atol=7e-4)  # type: ignore[arg-type]


def test_an_unknown_layout_is_refused_before_anything_is_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["data", "synthesize", str(tmp_path / "out"), "--layout", "TUM"]) == 2
    assert "no such layout; there are rgbd, tum, bonn" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_check_says_what_is_wrong_and_ends_with_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LAYOUTS["tum"][1](tmp_path, replace(take(), world_from_cam=np.linalg.inv(take().world_from_cam)))
    sorted(tmp_path.rglob("rgb/*.png"))[2].write_bytes(b"")
    sorted(tmp_path.rglob("rgb/*.png"))[5].unlink()
    assert cli.main(["data", "check", str(tmp_path)]) == 1
    said = capsys.readouterr().out
    assert "PROBLEM   poses, depth and camera do not agree: poses in the other direction" in said
    assert f"PROBLEM   1 of {FRAMES - 1} frames looked at cannot be read" in said
    assert "the file is empty (0 bytes)" in said and "rgb.txt lists it, but the file is missing" in said
    assert "agreement NO" in said and "1 of 1 sequences have problems" in said


def test_check_as_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    LAYOUTS["scannet"][1](tmp_path, take())
    assert cli.main(["data", "check", str(tmp_path), "--json", "--frames", "3"]) == 0
    document = json.loads(capsys.readouterr().out)
    [sequence] = document["sequences"]
    assert (document["dataset"], sequence["frames"], sequence["looked_at"]) == ("scannet", FRAMES, 3)
    assert sequence["size"] == list(SIZE) and sequence["depth_known"] == pytest.approx(0.25)
    assert sequence["agreement"]["verdict"] == "agree"
    path = take().world_from_cam[:, :3, 3]
    assert sequence["path_length"] == pytest.approx(np.linalg.norm(np.diff(path, axis=0), axis=1).sum(), rel=1e-6)
    np.testing.assert_allclose(sequence["extent"], np.ptp(path, axis=0), rtol=1e-6)
    near, middle, far = sequence["depth_range"]
    assert near < middle < far and middle == pytest.approx(np.median(take().depth), rel=0.1)


def test_check_refuses_what_it_does_not_know(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for words, said in (
        ([str(tmp_path)], "no known layout; it holds nothing"),
        ([str(tmp_path / "x")], "no such folder"),
        ([str(tmp_path), "--dataset", "7-scenes"], "Did you mean '7scenes'? Known are 7scenes"),
        ([str(tmp_path), "--frames", "0"], "at least one frame"),
    ):
        assert cli.main(["data", "check", *words]) == 2
        assert said in capsys.readouterr().err


def test_jumps_and_cameras_of_another_size_are_noticed(tmp_path: Path) -> None:
    poses = take().world_from_cam.copy()
    poses[6:, 0, 3] += 5
    camera = take().intrinsics * 2
    camera[2, 2] = 1
    LAYOUTS["tum"][1](tmp_path, replace(take(), world_from_cam=poses, intrinsics=camera))
    [sequence] = open_sequence("tum", tmp_path)
    found = survey(sequence)  # type: ignore[arg-type]
    assert any(line.startswith("the camera jumps 1 times, first by") for line in found.warnings)
    assert any("belongs to another size" in line for line in found.problems)


@pytest.mark.parametrize("name", ["office_walk", "heldout_v1/long_00", "heldout_v1/short_17"])
def test_the_shared_takes_agree(name: str) -> None:
    if not (SHARED / name).is_dir():
        pytest.skip(f"the shared data are not here: {name}")
    [sequence] = open_sequence("rgbd", SHARED / name)
    found = survey(sequence, most=8)  # type: ignore[arg-type]
    assert not found.problems and found.agreement is not None
    assert found.agreement.verdict == "agree"
    assert found.agreement.median_error is not None and found.agreement.median_error < 0.003
