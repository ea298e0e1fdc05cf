# SPDX-License-Identifier: Apache-2.0
"""Pairing by time against a plain twin, and stamped files written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from longtake.datasets.stamps import associate, read_stamped, read_stamped_poses
from longtake.errors import InputError

TIMES = st.lists(st.integers(0, 200).map(lambda k: k / 128), max_size=20, unique=True).map(sorted)


def plain_twin(first: list[float], second: list[float], tolerance: float) -> dict[int, int]:
    """The smallest difference among all that are left, again and again."""
    pairs: dict[int, int] = {}
    while True:
        left = [
            (abs(a - b), i, j)
            for i, a in enumerate(first)
            for j, b in enumerate(second)
            if i not in pairs and j not in pairs.values() and abs(a - b) < tolerance
        ]
        if not left:
            return pairs
        _, i, j = min(left)
        pairs[i] = j


@given(TIMES, TIMES, st.sampled_from([1 / 128, 0.02, 0.1]))
def test_association_is_greedy_by_time_difference(first: list[float], second: list[float], tolerance: float) -> None:
    pairs = associate(np.array(first), np.array(second), tolerance)
    assert pairs == plain_twin(first, second, tolerance)
    assert len(set(pairs.values())) == len(pairs)


def test_the_nearest_pose_wins_even_if_it_comes_later() -> None:
    assert associate(np.array([1.0, 1.01]), np.array([1.009, 1.2]), 0.02) == {1: 0}


def test_lists_go_first_and_names_are_times(tmp_path: Path) -> None:
    (tmp_path / "rgb").mkdir()
    for name in ("10.5.png", "9.25.png"):
        (tmp_path / "rgb" / name).touch()
    assert read_stamped(tmp_path, "rgb").times.tolist() == [9.25, 10.5]
    (tmp_path / "rgb.txt").write_text("# comment\n11.0 rgb/10.5.png\n\n8.0 rgb/gone.png\n")
    stamped = read_stamped(tmp_path, "rgb")
    assert stamped.times.tolist() == [8.0, 11.0]
    assert [path.name for path in stamped.files] == ["gone.png", "10.5.png"]
    assert len(read_stamped(tmp_path, "depth").files) == 0
    (tmp_path / "rgb.txt").write_text("now rgb/10.5.png\n")
    with pytest.raises(InputError, match=r"rgb\.txt, line 1: 'now"):
        read_stamped(tmp_path, "rgb")


def test_quaternions_are_read_real_part_last(tmp_path: Path) -> None:
    """A quarter turn about z, not normalised: x goes to y."""
    path = tmp_path / "groundtruth.txt"
    path.write_text("# header\n2.0 1 2 3 0 0 2 2\n1.0 0 0 0 0 0 0 1\n")
    times, poses = read_stamped_poses(path)
    assert times.tolist() == [1.0, 2.0]
    np.testing.assert_allclose(poses[1] @ [1, 0, 0, 1], [1, 3, 3, 1], atol=1e-12)
    for text, said in (("1 2 3\n", "a line of 3 numbers"), ("# nothing\n", "no line"), ("1 2 x\n", "line 1: '1 2 x'")):
        path.write_text(text)
        with pytest.raises(InputError, match=said):
            read_stamped_poses(path)
