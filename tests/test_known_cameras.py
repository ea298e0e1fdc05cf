# SPDX-License-Identifier: Apache-2.0
"""What the user knows, from the command line to the files: lens, times, the true path or scale."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import numpy as np
import pycolmap
import pytest
from PIL import ExifTags, Image
from take_maker import record

import longtake
from longtake import cli
from longtake.geometry.camera import camera_matrix
from longtake.geometry.lens import Lens, Undistortion
from longtake.geometry.similarity import Similarity
from longtake.outputs import read_ply, read_tum
from longtake.outputs.pictures import encode_picture
from longtake.outputs.trajectory import tum_line
from longtake.sources import read_lens

VIDEO = Path(__file__).resolve().parents[1] / "examples" / "office_walk.mp4"
SIZE = (100, 60)
K = camera_matrix(88.0, 90.0, 51.0, 28.5)
BENT = (-0.15, 0.02, 0.001, -0.001, 0.0)
TIMES = (1_700_000_000.25, 1_700_000_000.5, 1_700_000_001.0)


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three photos that say 28 mm."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 255, (8, 13, 3), np.uint8))
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.FocalLengthIn35mmFilm] = 28
    for i in range(3):
        coarse.resize((120, 60), Image.Resampling.BICUBIC).crop((4 * i, 0, 4 * i + 100, 60)).save(
            folder / f"{i}.jpg", quality=95, exif=exif
        )
    return folder


def run(photos: Path, *words: str) -> dict[str, Any]:
    """Reconstruct the photos with some flags; return cameras.json."""
    out = photos.parent / "out"
    assert cli.main(["reconstruct", str(photos), "--out", str(out), "--quiet", "--size", "64", *words]) == 0
    return json.loads((out / "cameras.json").read_text())


def matrices(document: dict[str, Any]) -> np.ndarray:
    return np.array([frame["intrinsics_original"] for frame in document["frames"]])


def test_a_lens_file_reaches_every_camera(photos: Path, tmp_path: Path) -> None:
    half = {"fx": 44, "fy": 45, "cx": 25.25, "cy": 14, "width": 50, "height": 30}
    (tmp_path / "half.json").write_text(json.dumps(half))
    document = run(photos, "--lens", str(tmp_path / "half.json"))
    np.testing.assert_allclose(matrices(document), np.tile(K, (3, 1, 1)), atol=1e-3)
    assert document["lens"]["distortion"] == []
    lens = read_lens(tmp_path / "out" / "cameras.json")  # a take's cameras are a lens file too
    np.testing.assert_allclose(lens.intrinsics, K, atol=1e-3)


def test_exif_reaches_every_camera_and_the_solve(photos: Path) -> None:
    focal = 28 * np.hypot(*SIZE) / np.hypot(36, 24)
    wanted = np.tile(camera_matrix(focal, focal, 49.5, 29.5), (3, 1, 1))
    document = run(photos, "--lens", "exif", "--camera", "solve")
    np.testing.assert_allclose(matrices(document), wanted, atol=1e-3)
    assert document["lens"] == "exif"


def test_a_saved_state_knows_the_lens_of_its_take(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Later frames have it, larger photos have it scaled, and those of another aspect are another camera's."""
    (tmp_path / "k.json").write_text(json.dumps({"fx": 44, "fy": 45, "cx": 25.25, "cy": 14, "width": 50, "height": 30}))
    state = tmp_path / "state.safetensors"
    run(photos, "--lens", str(tmp_path / "k.json"), "--state", str(state))
    model = longtake.load("longtake-small", device="cpu", size=64)
    for stream in (model.resume(state), model.stream(intrinsics=K)):
        assert isinstance(stream, longtake.stream.Stream)  # pyright: ignore[reportAttributeAccessIssue]
        seen = stream.step(np.asarray(Image.open(photos / "0.jpg")))
        np.testing.assert_allclose(seen.intrinsics_original, K, atol=1e-3)
    for name, size in (("large", (200, 120)), ("square", (80, 80))):
        Image.open(photos / "1.jpg").resize(size).save(tmp_path / f"{name}.jpg")
    places = [str(photos / "1.jpg"), str(tmp_path / "large.jpg"), str(tmp_path / "square.jpg")]
    capsys.readouterr()
    assert cli.main(["localize", str(state), *places, "--device", "cpu", "--json"]) == 0
    same, large, square = (np.array(each["intrinsics"]) for each in json.loads(capsys.readouterr().out))
    np.testing.assert_allclose(same, K, atol=1e-3)
    np.testing.assert_allclose(large, camera_matrix(176, 180, 102.5, 57.5), atol=1e-3)
    assert abs(square[0, 0] - square[1, 1]) < 1e-3, "what the model says: a camera with one focal length"
    words = ["localize", str(state), places[2], "--device", "cpu", "--json", "--lens"]
    (tmp_path / "mine.json").write_text(json.dumps({"fx": 70, "fy": 71, "cx": 40, "cy": 41}))
    assert cli.main([*words, str(tmp_path / "mine.json")]) == 0
    told = json.loads(capsys.readouterr().out)[0]["intrinsics"]
    np.testing.assert_allclose(told, camera_matrix(70, 71, 40, 41), atol=1e-3)


def test_a_state_knows_the_pinhole_of_a_bent_lens(photos: Path, tmp_path: Path) -> None:
    words = ["--intrinsics", "88", "90", "51", "28.5", "--distortion", *map(str, BENT)]
    document = run(photos, *words, "--state", str(tmp_path / "state.safetensors"))
    stream = longtake.load("longtake-small", device="cpu", size=64).resume(tmp_path / "state.safetensors")
    np.testing.assert_allclose(stream.describe()["intrinsics"], matrices(document)[0], atol=1e-3)
    assert stream.describe()["intrinsics_size"] == SIZE


def test_distortion_is_taken_out_and_said_and_exported_and_replayed(photos: Path, tmp_path: Path) -> None:
    words = ["--intrinsics", "88", "90", "51", "28.5", "--distortion", *map(str, BENT)]
    document = run(photos, *words)
    undistort = Undistortion(Lens(K, BENT), SIZE)
    np.testing.assert_allclose(matrices(document), np.tile(undistort.intrinsics, (3, 1, 1)), atol=1e-3)
    assert document["lens"]["distortion"] == list(BENT) and "undistorted" in document["conventions"]["lens"]
    lens = read_lens(tmp_path / "out" / "cameras.json")  # of what the source's frames were taken with
    np.testing.assert_array_equal(lens.intrinsics, K)
    assert lens.distortion == BENT
    photo = np.asarray(Image.open(photos / "0.jpg"))
    prepare = longtake.load("longtake-small", device="cpu", size=64).module.prepare
    seen, raw = (encode_picture(prepare(image)[0]) for image in (undistort(photo), photo))
    kept = (tmp_path / "out" / document["frames"][0]["image"]).read_bytes()
    assert kept == seen != raw, "the model saw the undistorted picture"
    # The exported originals are undistorted too, and COLMAP's camera is theirs.
    model = tmp_path / "model"
    words = ["export", str(tmp_path / "out"), "--format", "colmap", "--to", str(model), "--source", str(photos)]
    assert cli.main([*words, "--quiet"]) == 0
    wanted = undistort(np.asarray(Image.open(photos / "1.jpg"))).astype(int)
    exported = np.asarray(Image.open(model / "images" / "frame_000001.jpg")).astype(int)
    assert np.abs(exported - wanted).mean() < 3
    for camera in pycolmap.Reconstruction(model / "sparse" / "0").cameras.values():
        k = undistort.intrinsics
        np.testing.assert_allclose(camera.params, [k[0, 0], k[1, 1], k[0, 2] + 0.5, k[1, 2] + 0.5], atol=1e-3)
    assert cli.main(["replay", str(tmp_path / "out"), "--source", str(photos), "--quiet"]) == 0


def test_times_from_a_file_reach_every_trajectory(photos: Path, tmp_path: Path) -> None:
    lines = [f"{time:.6f} {i}.jpg" for i, time in enumerate(TIMES)]
    (tmp_path / "times.txt").write_text("\n".join(["# timestamp filename", *lines]) + "\n")
    document = run(photos, "--timestamps", str(tmp_path / "times.txt"), "--end", "0.5")
    out = tmp_path / "out"
    assert [frame["time"] for frame in document["frames"]] == list(TIMES[:2])
    assert "file" in document["conventions"]["time"]
    np.testing.assert_allclose(read_tum(out / "trajectory.txt").times, TIMES[:2], atol=1e-6)
    assert cli.main(["export", str(out), "--format", "tum,euroc,png16", "--quiet"]) == 0
    np.testing.assert_allclose(read_tum(out / "exports" / "tum.txt").times, TIMES[:2], atol=1e-6)
    nanoseconds = [int(line.split(",")[0]) for line in (out / "exports" / "euroc.csv").read_text().splitlines()[1:]]
    np.testing.assert_allclose(nanoseconds, np.array(TIMES[:2]) * 1e9, atol=1e3)
    listed = (out / "exports" / "depth_png16" / "depth.txt").read_text().splitlines()[1:]
    np.testing.assert_allclose([float(line.split()[0]) for line in listed], TIMES[:2], atol=1e-6)
    assert cli.main(["replay", str(out), "--source", str(photos), "--quiet"]) == 0


def test_a_known_scale_moves_everything(tmp_path: Path) -> None:
    out, moved = record(tmp_path / "out", 4, report=False).out, tmp_path / "moved"
    words = ["export", str(out), "--format", "ply,tum,png16", "--scale", "2.5", "--to", str(moved), "--quiet"]
    assert cli.main(words) == 0
    np.testing.assert_allclose(
        read_ply(moved / "cloud.ply").points, 2.5 * read_ply(out / "cloud.ply").points, rtol=1e-5, atol=1e-6
    )
    before, after = read_tum(out / "trajectory.txt").world_from_cam, read_tum(moved / "tum.txt").world_from_cam
    np.testing.assert_allclose(after[:, :3, 3], 2.5 * before[:, :3, 3], atol=1e-6)
    np.testing.assert_allclose(after[:, :3, :3], before[:, :3, :3], atol=1e-6)
    assert json.loads((moved / "depth_png16" / "depth.json").read_text())["unit"] == "metres"


def test_the_true_path_puts_the_error_on_the_report(tmp_path: Path) -> None:
    """From --truth to report.html: a path that is only moved has none; one that jitters has its jitter, in metres."""
    out, page = tmp_path / "out", tmp_path / "out" / "report.html"
    words = ["reconstruct", str(VIDEO), "--out", str(out), "--quiet", "--size", "64", "--max-frames", "10"]
    assert cli.main(words) == 0
    assert "the true path" not in page.read_text()
    mine = read_tum(out / "trajectory.txt")
    move = Similarity(7.0, np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]]), np.array([1.0, -2, 5]))
    for jitter in (0.0, 0.4):
        poses = move.poses(mine.world_from_cam)
        poses[:, :3, 3] += jitter * np.random.default_rng(0).standard_normal((10, 3))
        # What the fit leaves, by the closed form of Umeyama 1991: the twin of what the page says.
        x, y = (p[:, :3, 3] - p[:, :3, 3].mean(0) for p in (mine.world_from_cam, poses))
        u, d, vt = np.linalg.svd(y.T @ x)
        flip = np.array([1, 1, np.sign(np.linalg.det(u @ vt))])
        left = y - (d * flip).sum() / np.square(x).sum() * x @ (u * flip @ vt).T
        wanted = np.sqrt(np.square(left).sum(1).mean())
        lines = [tum_line(time, each) for time, each in zip(mine.times, poses, strict=True)]
        (tmp_path / "truth.txt").write_text("".join(lines))
        assert cli.main([*words, "--truth", str(tmp_path / "truth.txt")]) == 0
        told = re.search(r"true path after a similarity fit, root mean square ([\d.e-]+) m", page.read_text())
        assert told and float(told[1]) == pytest.approx(wanted, rel=0.01, abs=1e-4)
        assert jitter == 0 or 0.1 < wanted < 1
    # A path that cannot be read ends the verb before anything is overwritten.
    (tmp_path / "truth.txt").write_text("not a path\n")
    before = page.read_bytes()
    assert cli.main([*words, "--truth", str(tmp_path / "truth.txt")]) == 2
    assert page.read_bytes() == before


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--distortion", "0.1", "0", "0", "0", "0"], "goes with --intrinsics"),
        (["--lens", "none.json"], "no camera can be read"),
        (["--lens", "exif", "--intrinsics", "1", "1", "1", "1"], "both say what the camera is"),
        (["--intrinsics", "88", "90", "51", "28", "--distortion", "-9", "0", "0", "0", "0"], "folds pictures"),
        (["--timestamps", "none.txt"], "times cannot be read"),
    ],
    ids=["distortion alone", "no file", "two cameras", "folded", "no times"],
)
def test_what_cannot_be_is_named(photos: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    out = photos.parent / "out"
    assert cli.main(["reconstruct", str(photos), "--out", str(out), "--quiet", *words]) == 2
    assert said in capsys.readouterr().err
    assert not out.exists()


def test_scale_and_path_are_not_both_given(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = record(tmp_path / "out", 2, report=False).out
    for words, said in ((["--scale", "0"], "above 0"), (["--scale", "2", "--align", "t.txt"], "give one")):
        assert cli.main(["export", str(out), "--format", "tum", *words]) == 2
        assert said in capsys.readouterr().err
