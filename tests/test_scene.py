# SPDX-License-Identifier: Apache-2.0
"""The whole-take call: it does what a loop by hand does, keeps what is done, and cleans up after itself."""

from __future__ import annotations

import gc
import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clips import FPS, picture, write_clip
from model_files import our_file
from PIL import Image

import longtake
from longtake import cli
from longtake.errors import InputError, OutputError
from longtake.outputs import read_cameras, read_depth, read_tum
from longtake.outputs.manifest import read_manifest, sha256_of
from longtake.registry import Model
from longtake.scene import Interrupted, Progress, reconstruct

TIMES = [3, 4, 5, 9, 10, 11, 12, 20]  # a first frame after zero, and pauses


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return our_file(tmp_path_factory.mktemp("model") / "tiny.safetensors")


@pytest.fixture(scope="module")
def model(weights: Path) -> Model:
    return longtake.load("longtake-small", weights, device="cpu")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip") / "walk.mp4", len(TIMES), width=100, height=60, times=TIMES)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The system's temporary folder, for this test alone."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    "option", [{"size": 64}, {"device": "cpu"}, {"weights": "a.safetensors"}, {"precision": "bf16"}]
)
def test_what_a_loaded_model_would_ignore_is_refused(option: dict[str, Any], model: Model, clip: Path) -> None:
    with pytest.raises(InputError, match=f"{next(iter(option))}.*longtake.load"):
        reconstruct(clip, model=model, **option)


@pytest.mark.parametrize(("rule", "reset_every"), [("ttt3r", None), ("overwrite", 3)])
def test_it_is_the_loop_by_hand(rule: str, reset_every: int | None, model: Model, clip: Path, tmp_path: Path) -> None:
    scene = reconstruct(clip, model=model, rule=rule, reset_every=reset_every, out=tmp_path, report=False)
    stream = model.stream(rule, reset_every=reset_every)
    cameras = read_cameras(tmp_path / "cameras.json")["frames"]
    cloud = scene.cloud()
    assert scene.frames == len(cameras) == len(TIMES)
    for i, frame in enumerate(longtake.video(clip)):
        p = stream.step(frame)
        np.testing.assert_allclose(scene.world_from_cam[i], p.world_from_cam, atol=1e-6)
        np.testing.assert_allclose(cameras[i]["intrinsics_original"], p.intrinsics_original, rtol=1e-6)
        depth = p.depth.numpy()
        np.testing.assert_allclose(read_depth(tmp_path / cameras[i]["depth"]), depth * (depth < 65.5355), atol=0.6e-3)
        first, count = cameras[i]["cloud"]
        everything = {tuple(point) for point in p.points.reshape(-1, 3).tolist()}
        assert count > 0 and {tuple(point) for point in cloud.points[first : first + count].tolist()} <= everything
        assert (cameras[i]["index"], cameras[i]["time"]) == (frame.index, pytest.approx(frame.time, abs=1e-6))
    assert first + count == len(cloud.points) == scene.summary["points"]
    assert scene.summary["state_bytes"] == stream.state_bytes


def test_times_are_those_of_the_file(model: Model, clip: Path, tmp_path: Path) -> None:
    reconstruct(clip, model=model, out=tmp_path, report=False)
    wanted = (np.array(TIMES) - TIMES[0]) / FPS
    np.testing.assert_allclose(read_tum(tmp_path / "trajectory.txt").times, wanted, atol=1e-6)


def test_intrinsics_are_mapped_to_the_original_pixels(model: Model, clip: Path, tmp_path: Path) -> None:
    """By hand: 100x60 becomes 64x38, of which 3 rows are cut off at the top, so that 64x32 are left."""
    reconstruct(clip, model=model, out=tmp_path, max_frames=1, report=False)
    (camera,) = read_cameras(tmp_path / "cameras.json")["frames"]
    assert camera["size"] == [64, 32] and camera["original_size"] == [100, 60]
    (f, _, u), (_, g, v), _ = camera["intrinsics"]
    sx, sy = 64 / 100, 38 / 60
    wanted = [[f / sx, 0, (u + 0.5) / sx - 0.5], [0, g / sy, (v + 3 + 0.5) / sy - 0.5], [0, 0, 1]]
    np.testing.assert_allclose(camera["intrinsics_original"], wanted, rtol=1e-6)
    # The ray through the middle of the original's top left pixel is the ray through its place in the model's image.
    k, original = np.array(camera["intrinsics"]), np.array(camera["intrinsics_original"])
    place = ((0 + 0.5) * sx - 0.5, (0 + 0.5) * sy - 0.5 - 3, 1)
    np.testing.assert_allclose(np.linalg.solve(original, (0, 0, 1)), np.linalg.solve(k, place), rtol=1e-5)


def test_the_same_take_twice_is_the_same_bytes(model: Model, clip: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        reconstruct(clip, model=model, out=tmp_path / name, report=False)
    for name in ("cloud.ply", "trajectory.txt", "cameras.json", "depth/000003.png"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_the_manifest_tells_the_run(weights: Path, clip: Path, tmp_path: Path) -> None:
    reconstruct(clip, weights=weights, rule="overwrite", seed=5, out=tmp_path, stride=2, device="cpu", report=False)
    told = read_manifest(tmp_path / "manifest.json")
    assert told is not None
    assert (told["model"], told["rule"], told["seed"], told["device"]) == ("longtake-small", "overwrite", 5, "cpu")
    assert told["weights"] == {"name": "tiny.safetensors", "sha256": sha256_of(weights)}
    assert told["spec"]["state_size"] == 6 and told["options"]["stride"] == 2 and told["status"] == "complete"
    assert told["source"] == {"name": "walk.mp4", "bytes": clip.stat().st_size, "sha256": sha256_of(clip)}
    assert told["frames"] == 4 and told["is_metric"] is False
    assert str(tmp_path) not in (tmp_path / "manifest.json").read_text()


@pytest.mark.parametrize(
    ("options", "indices"),
    [
        ({"stride": 3}, [0, 3, 6]),
        ({"start": 0.3, "end": 0.6}, [3, 4, 5]),
        ({"fps": 4}, [0, 3, 5, 7]),
        ({"max_frames": 2, "start": 0.1}, [2, 3]),
    ],
)
def test_options_choose_the_frames(
    options: dict[str, Any], indices: list[int], model: Model, clip: Path, tmp_path: Path
) -> None:
    reconstruct(clip, model=model, out=tmp_path, **options, report=False)
    assert [frame["index"] for frame in read_cameras(tmp_path / "cameras.json")["frames"]] == indices


def test_any_source_will_do(model: Model, tmp_path: Path) -> None:
    pictures = np.stack([picture(i) for i in range(3)])
    (tmp_path / "walk").mkdir()
    for i, image in enumerate(pictures):
        Image.fromarray(image).save(tmp_path / "walk" / f"{i}.png")
    sources = [
        pictures,
        (image for image in pictures),
        tmp_path / "walk",
        str(tmp_path / "walk" / "*.png"),
        sorted((tmp_path / "walk").iterdir()),
    ]
    poses = [reconstruct(source, model=model, report=False).world_from_cam for source in sources]
    for other in poses[1:]:
        np.testing.assert_array_equal(other, poses[0])
    assert poses[0].shape == (3, 4, 4)


def test_progress_counts_and_the_state_stays_the_same_size(model: Model, clip: Path, tmp_path: Path) -> None:
    seen: list[Progress] = []
    scene = reconstruct(clip, model=model, out=tmp_path, on_frame=seen.append, report=False)
    assert [progress.frames for progress in seen] == list(range(1, 9))
    assert {progress.expected for progress in seen} == {8}
    assert len({progress.state_bytes for progress in seen}) == 1
    assert seen[-1].points == scene.summary["points"] > seen[0].points > 0
    assert all(a.seconds < b.seconds for a, b in zip(seen, seen[1:], strict=False))
    summary = scene.summary
    assert summary["fps"] == pytest.approx(8 / summary["seconds"], rel=0.05)
    assert 0 < summary["latency_p50"] <= summary["latency_p95"] and summary["peak_bytes"] > 50e6


def test_a_scene_lives_as_long_as_its_folder(model: Model, clip: Path, temporary: Path) -> None:
    scene = reconstruct(clip, model=model, max_frames=2)
    folder = scene.folder
    assert folder.parent == temporary and "2 frames" in repr(scene)
    kept = scene.save(temporary / "kept")
    del scene
    gc.collect()
    assert not folder.exists() and (kept / "report.html").is_file()
    assert len(read_tum(kept / "trajectory.txt").times) == 2


def test_save_replaces_an_earlier_take_and_nothing_else(model: Model, clip: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    reconstruct(clip, model=model, out=out, report=False)
    (out / "notes.txt").write_text("mine")
    scene = reconstruct(clip, model=model, max_frames=3, report=False)
    scene.save(out)
    assert sorted(path.name for path in (out / "depth").iterdir()) == [
        *(f"00000{i}.png" for i in range(3)),
        "depth.json",
    ]
    assert (out / "notes.txt").read_text() == "mine"
    assert scene.save(scene.folder) == scene.folder  # onto itself: nothing to do
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match=r"cannot be saved here .*the files are in"):
        scene.save(tmp_path / "file")


def test_an_interrupted_take_keeps_what_is_done(model: Model, clip: Path, temporary: Path) -> None:
    def stop(progress: Progress) -> None:
        if progress.frames == 3:
            raise KeyboardInterrupt

    with pytest.raises(Interrupted, match="stopped after 3 frames") as caught:
        reconstruct(clip, model=model, on_frame=stop)
    scene = caught.value.scene
    assert isinstance(caught.value, KeyboardInterrupt)
    assert scene.frames == 3 == len(scene.world_from_cam) and scene.summary["status"] == "interrupted"
    assert len(scene.cloud().points) == scene.summary["points"] and (scene.folder / "report.png").is_file()


def test_what_fails_before_or_within_the_take_leaves_no_temporary_folder(model: Model, temporary: Path) -> None:
    def wrong() -> Iterator[np.ndarray]:
        yield picture(0)
        yield picture(1)[..., :2]

    with pytest.raises(InputError, match="frame 1"):
        reconstruct(wrong(), model=model)
    with pytest.raises(InputError, match="no frames at all"):
        reconstruct(iter([]), model=model)
    with pytest.raises(ZeroDivisionError):
        reconstruct([picture(0)], model=model, on_frame=lambda progress: 1 / 0, report=False)
    assert list(temporary.iterdir()) == []


def test_what_fails_within_the_take_keeps_the_frames_before_it(model: Model, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"frame 1: got a ndarray of shape \(64, 96, 2\)"):
        reconstruct([picture(0), picture(1)[..., :2]], model=model, out=tmp_path, report=False)
    assert len(read_cameras(tmp_path / "cameras.json")["frames"]) == 1
    told = read_manifest(tmp_path / "manifest.json")
    assert told is not None and told["status"].startswith("failed: frame 1: got a ndarray")


JSON_FIELDS = {
    "tracking": dict,
    "loop_closures": type(None),  # not asked for
    "path_length": float, "metres_per_unit": type(None),  # these weights do not say metres
    "frames": int, "seconds": float, "fps": float, "latency_p50_ms": float, "latency_p95_ms": float, "points": int,
    "state_bytes": int, "peak_bytes": int, "model": str, "rule": str, "device": str, "precision": str, "threads": int,
    "status": str, "notes": list, "outputs": list,
}  # fmt: skip


def _run(words: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str, str]:
    code = cli.main(["reconstruct", *words])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_json_is_one_object_and_nothing_else(
    weights: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = [str(clip), "--weights", str(weights), "--out", str(tmp_path / "out"), "--device", "cpu", "--json"]
    code, out, err = _run(words, capsys)
    told = json.loads(out)
    assert code == 0 and len(out.splitlines()) == 1
    assert {key: type(value) for key, value in told.items()} == JSON_FIELDS
    assert (told["frames"], told["model"], told["rule"], told["device"]) == (8, "longtake-small", "ttt3r", "cpu")
    assert told["status"] == "complete" and told["notes"] == []
    assert {Path(name).name for name in told["outputs"]} == {
        "cloud.ply", "trajectory.txt", "cameras.json", "depth", "confidence", "images", "report.png", "report.html",
        "manifest.json",
    }  # fmt: skip
    assert all(Path(name).exists() for name in told["outputs"])
    assert "1/8 frames" in err
    code, out, err = _run([*words, "--quiet"], capsys)
    assert code == 0 and json.loads(out)["frames"] == 8 and err == ""


def test_people_get_figures_and_files_with_their_sizes(
    weights: Path, clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, _ = _run([str(clip), "--weights", str(weights), "--stride", "4"], capsys)
    assert code == 0
    assert out.startswith("2 frames in ") and "longtake-small, ttt3r" in out and "kept between frames" in out
    for name in ("cloud.ply", "trajectory.txt", "cameras.json", "depth/", "report.png", "report.html", "manifest.json"):
        assert any(
            line.split()[0] == name and line.split()[2] in ("B", "kB", "MB") for line in out.splitlines()[2:] if line
        )
    assert (tmp_path / "out" / "walk" / "cloud.ply").is_file()  # the default folder
    assert _run([str(clip), "--weights", str(weights), "--quiet"], capsys) == (0, "", "")
