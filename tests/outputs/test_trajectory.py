# SPDX-License-Identifier: Apache-2.0
"""trajectory.txt: the TUM format to the letter, every rotation, real times."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.errors import InputError
from longtake.outputs import read_tum
from longtake.outputs.trajectory import TUM_HEADER, matrix_from_quat_xyzw, quat_xyzw_from_matrix, tum_line

UNIT = st.floats(-1, 1)


def rotation(axis: tuple[float, float, float], angle: float) -> np.ndarray:
    """Rodrigues, written apart from the library's quaternions."""
    x, y, z = np.array(axis) / np.linalg.norm(axis)
    k = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * k + (1 - np.cos(angle)) * k @ k


@settings(deadline=None)
@given(
    axis=st.tuples(UNIT, UNIT, UNIT).filter(lambda a: np.linalg.norm(a) > 1e-3),
    angle=st.one_of(st.floats(-4, 4), st.sampled_from([0.0, np.pi, np.pi - 1e-9, np.pi / 2])),
    place=st.tuples(*[st.floats(-1e4, 1e4)] * 3),
    time=st.floats(0, 1e6),
)
def test_every_pose_comes_back(
    axis: tuple[float, float, float],
    angle: float,
    place: tuple[float, float, float],
    time: float,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation(axis, angle), place
    path = tmp_path_factory.mktemp("tum") / "trajectory.txt"
    path.write_text(TUM_HEADER + tum_line(time, pose))
    found = read_tum(path)
    assert abs(found.times[0] - time) <= 0.6e-6
    np.testing.assert_allclose(found.world_from_cam[0, :3, :3], pose[:3, :3], atol=1e-8)
    np.testing.assert_allclose(found.world_from_cam[0, :3, 3], place, rtol=1e-8)
    assert np.array_equal(found.world_from_cam[0, 3], (0, 0, 0, 1))
    quat = quat_xyzw_from_matrix(pose[:3, :3])
    assert np.linalg.norm(quat) == pytest.approx(1) and quat[3] >= 0
    np.testing.assert_allclose(matrix_from_quat_xyzw(3 * quat[None])[0], pose[:3, :3], atol=1e-9)


def test_the_line_that_other_programs_read() -> None:
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = rotation((0, 0, 1), np.pi / 2), (1, -2, 0.5)
    assert tum_line(1 / 30, pose) == "0.033333 1 -2 0.5 0 0 0.707106781 0.707106781\n"
    assert TUM_HEADER.startswith("# timestamp tx ty tz qx qy qz qw")


def test_an_empty_path_and_foreign_lines(tmp_path: Path) -> None:
    path = tmp_path / "t.txt"
    path.write_text("# nothing\n\n")
    assert read_tum(path).world_from_cam.shape == (0, 4, 4)
    for line in ("1 2 3", "0 0 0 0 0 0 0 0", "0 0 0 zero 0 0 0 1", "0 0 0 0 0 0 0 1 9"):
        path.write_text(f"# head\n0 0 0 0 0 0 0 1\n{line}\n")
        with pytest.raises(InputError, match=r"t.txt, line 3: wanted `timestamp"):
            read_tum(path)
    with pytest.raises(InputError, match="cannot be read"):
        read_tum(tmp_path / "missing.txt")
