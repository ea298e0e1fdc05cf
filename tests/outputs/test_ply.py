# SPDX-License-Identifier: Apache-2.0
"""cloud.ply: whole after every append, read back by our reader and by a library that knows nothing of us."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import trimesh
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.errors import InputError
from longtake.outputs import Cloud, PlyWriter, read_ply

HEADER = (
    "ply\nformat binary_little_endian 1.0\ncomment of somebody else\nelement vertex 2\nproperty double x\n"
    "property double y\nproperty double z\nproperty short heat\nelement face 0\n"
    "property list uchar int vertex_indices\nend_header\n"
)


def batch(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    colors = rng.integers(0, 256, (count, 3)).astype(np.uint8)
    return rng.normal(size=(count, 3)).astype(np.float32), colors, rng.uniform(1, 9, count).astype(np.float32)


def assert_holds(cloud: Cloud, batches: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> None:
    for found, wanted in zip((cloud.points, cloud.colors, cloud.confidence), zip(*batches, strict=True), strict=True):
        assert np.array_equal(found, np.concatenate(wanted))


def test_the_file_is_whole_after_every_append(tmp_path: Path) -> None:
    path = tmp_path / "cloud.ply"
    batches = []
    with PlyWriter(path) as writer:
        assert len(read_ply(path).points) == 0
        for step, count in enumerate((1, 0, 700, 3)):
            batches.append(batch(count, step))
            writer.append(*batches[-1])
            assert writer.count == sum(len(points) for points, *_ in batches)
            assert_holds(read_ply(path), batches)
            theirs = trimesh.load(path)
            assert isinstance(theirs, trimesh.PointCloud)
            assert np.array_equal(theirs.vertices, read_ply(path).points.astype(np.float64))
            assert np.array_equal(theirs.colors[:, :3], read_ply(path).colors)


@settings(deadline=None, max_examples=30)
@given(counts=st.lists(st.integers(0, 40), max_size=5), extra=st.integers(0, 30))
def test_rewind_takes_back_what_came_after(
    counts: list[int], extra: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("ply") / "cloud.ply"
    with PlyWriter(path) as writer:
        batches = [batch(count, seed) for seed, count in enumerate([*counts, 1])]
        for each in batches:
            writer.append(*each)
        whole = path.read_bytes()
        mark = writer.count
        writer.append(*batch(extra))
        writer.rewind(mark)
        assert path.read_bytes() == whole
        writer.append(*batch(extra))
    assert_holds(read_ply(path), [*batches, batch(extra)])


def test_points_written_without_their_count_are_not_read(tmp_path: Path) -> None:
    """What a kill between the points and the header leaves behind."""
    path = tmp_path / "cloud.ply"
    with PlyWriter(path) as writer:
        writer.append(*batch(5))
    with path.open("ab") as file:
        file.write(b"half a frame of points")
    assert_holds(read_ply(path), [batch(5)])


@pytest.mark.parametrize(("count", "limit"), [(1000, 7), (1000, 999), (10, 10), (10, 50), (3, 1), (1000, 2)])
def test_a_limit_spreads_over_the_whole_file(count: int, limit: int, tmp_path: Path) -> None:
    with PlyWriter(tmp_path / "cloud.ply") as writer:
        writer.append(*batch(count))
    cloud = read_ply(tmp_path / "cloud.ply", limit=limit)
    rows = cloud.rows
    assert len(rows) == len(cloud.points) == min(count, limit) and rows[0] == 0
    assert np.array_equal(cloud.points, batch(count)[0][rows])
    if limit > 1:
        assert rows[-1] == count - 1
        assert np.ptp(np.diff(rows)) <= 1  # evenly


def test_files_of_others(tmp_path: Path) -> None:
    path = tmp_path / "other.ply"
    vertices = np.array([(1, 2, 3, 9), (4, 5, 6, 9)], [("x", "<f8"), ("y", "<f8"), ("z", "<f8"), ("heat", "<i2")])
    path.write_bytes(HEADER.encode() + vertices.tobytes())
    cloud = read_ply(path)
    assert cloud.points.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert cloud.confidence.tolist() == [1, 1] and len(np.unique(cloud.colors)) == 1
    points, colors, _ = batch(20)
    trimesh.PointCloud(points, colors).export(path)
    assert np.allclose(read_ply(path).points, points) and np.array_equal(read_ply(path).colors, colors)


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (b"", "not a PLY"),
        (b"solid\n", "not a PLY"),
        (b"ply\nformat ascii 1.0\n", "ascii; this reader takes binary_little_endian"),
        (b"ply\nformat binary_little_endian 1.0\nelement vertex 3\n", "cut off"),
        (HEADER.replace("double x", "double q").encode(), "no x, y and z"),
        (HEADER.replace("double", "complex").encode(), "unknown type 'complex'"),
        (HEADER.replace("vertex 2", "vertex many").encode(), "'many'"),
        (HEADER.replace("element vertex", "element box").encode(), "first PLY element is 'box'"),
        (HEADER.replace("property short", "property list uchar").encode(), "lists"),
        (HEADER.encode() + b"1234", "promises 2 points"),
    ],
)
def test_what_is_no_cloud_is_named(content: bytes, text: str, tmp_path: Path) -> None:
    (tmp_path / "a.ply").write_bytes(content)
    with pytest.raises(InputError, match=f"a.ply.*{text}"):
        read_ply(tmp_path / "a.ply")
    with pytest.raises(InputError, match="wanted a PLY file"):
        read_ply(tmp_path / "missing.ply")
