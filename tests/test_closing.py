# SPDX-License-Identifier: Apache-2.0
"""A take that comes back to where it began, with drift laid over it: the loop is seen, and path and cloud follow."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from take_maker import prediction, record

import longtake
from longtake import cli
from longtake.closing import GAP, LoopCloser
from longtake.continuity.archive import Archive
from longtake.continuity.pose_graph import exp_rotation
from longtake.frame import Frame
from longtake.geometry.camera import unproject
from longtake.outputs import Recorder, read_cameras, read_ply, read_tum
from longtake.outputs.correct import correct_take
from longtake.outputs.manifest import read_manifest
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import make_batch

HALF = 20  # frames out; as many back


def drifted(true: np.ndarray) -> np.ndarray:
    """The true steps with a constant small error: a slow turn and a slow shift."""
    poses, error = [true[0]], np.eye(4)
    error[:3, :3], error[:3, 3] = exp_rotation(np.array([[0.0, 0.006, 0.0]]))[0], [0.01, 0, 0.005]
    for step in np.linalg.inv(true[:-1]) @ true[1:]:
        poses.append(poses[-1] @ step @ error)
    return np.stack(poses)


def rms(a: np.ndarray, b: np.ndarray) -> float:
    return float(np.sqrt(np.square(a[:, :3, 3] - b[:, :3, 3]).sum(1).mean()))


def test_a_walk_out_and_back_is_straightened(tmp_path: Path) -> None:
    config = WorldConfig(revisit_share=0, loop_share=0, effects=False, speed=(0.8, 0.9))
    batch = make_batch(config, 1, HALF, 128, 160, "cpu", torch.Generator().manual_seed(5))
    order = [*range(HALF), *range(HALF - 1, -1, -1)]
    true = batch.world_from_cam[0].double().numpy()[order]
    walked = drifted(true)
    model = longtake.load("longtake-small", device="cpu")
    stream, closer = model.stream("filt3r"), LoopCloser(model.module, Archive(tmp_path / "keys"))
    recorder = Recorder(tmp_path / "take", points_per_frame=300)
    recorder.correction = closer.correct
    with recorder:
        for t, k in enumerate(order):
            image = (batch.images[0, k] * 255).round().byte().permute(1, 2, 0).numpy()
            said = stream.step(Frame(image, time=float(t), index=t))
            own = unproject(batch.depth[0, k], batch.intrinsics[0])
            pose = torch.from_numpy(walked[t]).float()
            points = own @ pose[:3, :3].T + pose[:3, 3]
            said = replace(said, world_from_cam=pose, depth=batch.depth[0, k], points_self=own, points=points)
            recorder.add(said)
            closer.see(stream, said)
    assert closer.edges
    for edge in closer.edges:
        assert edge.second - edge.first >= GAP
        away = np.linalg.inv(true[edge.first]) @ true[edge.second]
        assert np.linalg.norm((edge.first_from_second - away)[:3, 3]) < 0.15, "metres"
        assert np.linalg.norm((edge.first_from_second - away)[:3, :3]) < 0.12
    np.testing.assert_allclose(
        read_tum(tmp_path / "take" / "trajectory_uncorrected.txt").world_from_cam, walked, atol=1e-5
    )
    after = read_tum(tmp_path / "take" / "trajectory.txt").world_from_cam
    assert rms(after, true) < 0.5 * rms(walked, true)
    frames = read_cameras(tmp_path / "take" / "cameras.json")["frames"]
    np.testing.assert_allclose([frame["world_from_cam"] for frame in frames], after, atol=1e-6)
    cloud = read_ply(tmp_path / "take" / "cloud.ply")
    for t in (0, 7, 2 * HALF - 1):
        first, count = frames[t]["cloud"]
        back = (cloud.points[first : first + count] - after[t, :3, 3]) @ after[t, :3, :3]
        own = unproject(batch.depth[0, order[t]], batch.intrinsics[0]).reshape(-1, 3).numpy()
        nearest = np.linalg.norm(back[:20, None] - own[None], axis=-1).min(1)
        assert nearest.max() < 1e-4, "a frame's points moved with its camera"
    manifest = read_manifest(tmp_path / "take" / "manifest.json")
    assert manifest is not None
    assert {"trajectory_uncorrected.txt", "trajectory.txt", "cloud.ply"} <= set(manifest["files"])
    assert manifest["corrected"] is True


def test_without_a_loop_every_file_stays(tmp_path: Path) -> None:
    record(tmp_path / "a", 8, report=False)
    recorder = Recorder(tmp_path / "b", report=False)
    recorder.correction = lambda numbers, poses, tracking: None
    with recorder:
        for i in range(8):
            recorder.add(prediction(i))
    for name in ("trajectory.txt", "cloud.ply", "cameras.json"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()
    assert not (tmp_path / "b" / "trajectory_uncorrected.txt").exists()


def test_frames_without_a_pose_keep_their_points_and_a_failure_moves_nothing(tmp_path: Path) -> None:
    recorder, seen = Recorder(tmp_path, report=False), []

    def correction(numbers: list[int], poses: np.ndarray, tracking: list[str]) -> np.ndarray:
        seen.append((numbers, tracking))
        moved = poses.copy()
        moved[:, :3, 3] += [1, 2, 3]
        return moved

    recorder.correction = correction
    with recorder:
        for i in range(5):
            lost = {"world_from_cam": torch.full((4, 4), float("nan"))} if i == 2 else {}
            recorder.add(prediction(i, **lost))
        assert correct_take(tmp_path, lambda *_: np.full((4, 4, 4), np.nan)) is False
    assert seen == [([0, 1, 3, 4], ["ok"] * 4)]
    frames = read_cameras(tmp_path / "cameras.json")["frames"]
    assert frames[2]["world_from_cam"] is None
    cloud = read_ply(tmp_path / "cloud.ply").points
    for i, frame in enumerate(frames):
        first, count = frame["cloud"]
        known = prediction(i).points.reshape(-1, 3).numpy() + (0 if i == 2 else np.array([1, 2, 3]))
        assert np.linalg.norm(cloud[first : first + 5, None] - known[None], axis=-1).min(1).max() < 1e-5
    path = read_tum(tmp_path / "trajectory.txt").world_from_cam
    assert path[:, :3, 3][0] == pytest.approx([1, 2, 3])
    record(tmp_path, 3, report=False)
    assert not (tmp_path / "trajectory_uncorrected.txt").exists(), "of the take before"


def test_the_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from clips import write_clip
    from model_files import our_file

    clip, weights = write_clip(tmp_path / "walk.mp4", 5), our_file(tmp_path / "tiny.safetensors")
    words = ["reconstruct", str(clip), "--weights", str(weights), "--device", "cpu", "--out", str(tmp_path / "out")]
    assert cli.main([*words, "--loop-closure"]) == 0
    assert "0 loop closures, poses as they were" in capsys.readouterr().out
    manifest = read_manifest(tmp_path / "out" / "manifest.json")
    assert manifest is not None
    assert (manifest["options"]["loop_closure"], manifest["loop_closures"]) == (True, 0)
