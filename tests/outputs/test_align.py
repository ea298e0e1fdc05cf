# SPDX-License-Identifier: Apache-2.0
"""A take brought into a known world: poses, points and depth go together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from take_maker import record

from longtake import cli
from longtake.errors import InputError
from longtake.geometry.similarity import Similarity
from longtake.outputs import Trajectory, read_depth, read_ply, read_tum
from longtake.outputs.align import align_take, match_times
from longtake.outputs.exports import export
from longtake.outputs.take import read_take
from longtake.outputs.trajectory import tum_line

TURN = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
TRUE = Similarity(2.5, TURN, np.array([10.0, -3, 2]))


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("take") / "out", 20, report=False, points_per_frame=60).out


def known(take: Path, delay: float = 0.0) -> Trajectory:
    path = read_tum(take / "trajectory.txt")
    return Trajectory(path.times + delay, TRUE.poses(path.world_from_cam))


@pytest.mark.parametrize("delay", [0.0, 0.01, 1.7e9])
def test_the_true_similarity_is_found(take: Path, delay: float) -> None:
    moved, found = align_take(read_take(take), known(take, delay))
    assert found.matches == 20 and found.error < 1e-5 and moved.is_metric
    assert found.similarity.scale == pytest.approx(2.5, rel=1e-5)
    np.testing.assert_allclose(found.similarity.rotation, TURN, atol=1e-5)
    wanted = known(take).world_from_cam
    np.testing.assert_allclose([frame.world_from_cam for frame in moved.frames], wanted, atol=1e-4)


def test_points_depth_and_poses_go_together(take: Path, tmp_path: Path) -> None:
    cloud = read_ply(export(take, "ply", tmp_path / "c.ply", align=known(take)))
    before = read_ply(take / "cloud.ply")
    np.testing.assert_allclose(cloud.points, TRUE.points(before.points), atol=1e-4)
    np.testing.assert_allclose(
        read_tum(export(take, "tum", tmp_path / "t.txt", align=known(take))).world_from_cam,
        known(take).world_from_cam,
        atol=1e-4,
    )
    out = export(take, "png16", tmp_path / "d", align=known(take))
    depth = read_depth(take / "depth" / "000004.png")
    with Image.open(out / "000004.png") as image:
        np.testing.assert_allclose(np.asarray(image) / 1000, 2.5 * depth, atol=1.1e-3)


def test_the_verb_says_how_well_it_fits(take: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, truth = tmp_path / "truth.txt", known(take)
    path.write_text("".join(tum_line(t, p) for t, p in zip(truth.times, truth.world_from_cam, strict=True)))
    words = ["export", str(take), "--format", "tum", "--align", str(path), "--to", str(tmp_path / "t.txt")]
    assert cli.main(words) == 0
    assert "aligned by 20 frames: scale 2.5" in capsys.readouterr().out


def test_too_few_times_in_common_are_named(take: Path) -> None:
    truth = known(take)
    few = Trajectory(np.array([0.0, 0.1, 77.0]), truth.world_from_cam[:3])
    with pytest.raises(InputError, match="only 2 of 20 frames"):
        align_take(read_take(take), few)


def test_a_scale_beside_a_path_is_refused_and_not_ignored(take: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="scale and align both say how large"):
        export(take, "tum", tmp_path / "t.txt", align=known(take), scale=2.0)


def test_matching_is_to_the_nearest() -> None:
    rng = np.random.default_rng(0)
    times, other = np.sort(rng.uniform(0, 10, 200)), rng.uniform(0, 10, 300)
    ours, theirs = match_times(times, other)
    for i, time in enumerate(times):  # the plain twin
        nearest = int(np.abs(other - time).argmin())
        if abs(other[nearest] - time) <= 0.02:
            assert theirs[list(ours).index(i)] == nearest
        else:
            assert i not in ours
    assert match_times(np.array([1.0]), np.array([1.0]))[0].tolist() == [0]
