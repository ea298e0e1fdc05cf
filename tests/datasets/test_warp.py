# SPDX-License-Identifier: Apache-2.0
"""Poses that are the wrong way round and depth of a wrong scale are found in every layout that has both."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from layout_files import FLIP, LAYOUTS, take

from longtake.datasets.reading import LazySequence
from longtake.datasets.table import open_sequence
from longtake.datasets.warp import AS_READ, check_agreement, choose_pairs, warp_errors
from longtake.datasets.write import Take

WITH_BOTH = [case for case in LAYOUTS if case not in ("kitti", "kitti-odometry")]
# Sound takes are proven in each layout; broken ones differ by how depth is stored and placed, not by their files.
SOME = ("tum", "scannet", "sintel")


def _opened(case: str, out: Path, of: Take) -> LazySequence:
    LAYOUTS[case][1](out, of)
    [sequence] = open_sequence(LAYOUTS[case][0], out)
    assert isinstance(sequence, LazySequence)
    return sequence


def _with_poses(change: Callable[[np.ndarray], np.ndarray]) -> Take:
    return replace(take(), world_from_cam=change(take().world_from_cam))


@pytest.mark.parametrize("case", WITH_BOTH)
def test_sound_takes_agree(case: str, tmp_path: Path) -> None:
    found = check_agreement(_opened(case, tmp_path, take()))
    assert found.verdict == "agree", found
    assert found.median_error is not None and found.median_error < 0.01
    assert found.within_5_percent is not None and found.within_5_percent > 0.9


@pytest.mark.parametrize("case", SOME)
def test_poses_written_the_other_way_round_are_found(case: str, tmp_path: Path) -> None:
    found = check_agreement(_opened(case, tmp_path, _with_poses(np.linalg.inv)))
    assert found.verdict == "disagree"
    assert "poses in the other direction (world to camera) fits clearly better" in found.text


@pytest.mark.parametrize("case", SOME)
def test_poses_with_other_axes_are_found(case: str, tmp_path: Path) -> None:
    found = check_agreement(_opened(case, tmp_path, _with_poses(lambda poses: poses @ FLIP)))
    assert found.verdict == "disagree"
    assert "OpenGL axes" in found.text


@pytest.mark.parametrize(("case", "factor"), [*((case, 0.2) for case in SOME), ("tum", 2.0), ("sintel", 1000.0)])
def test_a_wrong_depth_scale_is_found_and_named(case: str, factor: float, tmp_path: Path) -> None:
    depth = take().depth * factor
    if case != "sintel":
        depth[depth > 9] = 0  # some layouts hold no more
    found = check_agreement(_opened(case, tmp_path, replace(take(), depth=depth)))
    assert found.verdict == "disagree"
    said = float(found.text.split("depth times ")[1].split()[0])
    assert said == pytest.approx(1 / factor, rel=0.13)


def test_late_poses_and_a_wrong_focal_length_are_found(tmp_path: Path) -> None:
    late = check_agreement(_opened("tum", tmp_path / "late", _with_poses(lambda poses: np.roll(poses, 2, axis=0))))
    assert late.verdict == "disagree"
    assert "the pose of 2 frames later" in late.text
    camera = np.diag([1.5, 1.5, 1.0]) @ take().intrinsics
    zoomed = check_agreement(_opened("tum", tmp_path / "zoomed", replace(take(), intrinsics=camera)))
    assert zoomed.verdict == "disagree"


def test_poses_of_another_take_are_found(tmp_path: Path) -> None:
    found = check_agreement(_opened("tum", tmp_path, replace(take(), world_from_cam=take(4).world_from_cam)))
    assert found.verdict == "disagree"


def test_a_camera_that_stands_still_proves_nothing(tmp_path: Path) -> None:
    still = Take(*(np.repeat(part[:1], 6, axis=0) for part in (take().images, take().depth, take().world_from_cam)),
                 take().intrinsics)  # fmt: skip
    found = check_agreement(_opened("tum", tmp_path, still))
    assert (found.verdict, found.median_error) == ("undecided", 0)
    assert "hardly moves" in found.text


def test_too_little_is_said_and_not_guessed(tmp_path: Path) -> None:
    assert "with poses" in check_agreement(_opened("kitti", tmp_path / "a", take())).text
    assert "with depth" in check_agreement(_opened("kitti-odometry", tmp_path / "b", take())).text
    sparse = np.zeros_like(take().depth)
    sparse[:, :3, :3] = 1
    found = check_agreement(_opened("tum", tmp_path / "c", replace(take(), depth=sparse)))
    assert found.verdict == "undecided" and "pixels with depth" in found.text


def test_errors_against_a_plain_twin(tmp_path: Path) -> None:
    """One pixel at a time with matrices, from the definition."""
    sequence = _opened("tum", tmp_path, take())
    pairs = choose_pairs(sequence, list(range(len(sequence))))[:2]
    poses = [files.world_from_cam for files in sequence.files]
    expected = []
    for pair in pairs:
        first, second = sequence[pair.first], sequence[pair.second]
        assert first.world_from_cam is not None and second.world_from_cam is not None
        assert second.intrinsics is not None and second.depth is not None
        for point in pair.points.numpy():
            world = first.world_from_cam @ [*point, 1]
            x = np.linalg.solve(second.world_from_cam, world)[:3]
            if x[2] <= 0:
                continue
            u, v = np.rint((second.intrinsics @ x)[:2] / x[2]).astype(int)
            if 0 <= u < second.depth.shape[1] and 0 <= v < second.depth.shape[0]:
                expected.append(abs(x[2] - second.depth[v, u]) / second.depth[v, u])
    np.testing.assert_allclose(warp_errors(pairs, poses, AS_READ), expected, atol=1e-7)
