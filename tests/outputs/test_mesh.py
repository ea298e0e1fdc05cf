# SPDX-License-Identifier: Apache-2.0
"""A surface fused from depth: how far it lies from the true one, what colour it has, and what is left out of it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh
from take_maker import RUN, prediction

from longtake import cli
from longtake.errors import InputError
from longtake.outputs import Recorder, Trajectory, read_depth, read_tum
from longtake.outputs.exports import export
from longtake.outputs.exports.mesh import choose_voxel, usable_depth
from longtake.outputs.take import read_take

pytest.importorskip("open3d", reason="needs the extra mesh", exc_type=ImportError)

HALF = np.array([2.0, 1.5, 2.5])  # of the room's sides
PAINT = np.array([[200, 60, 60], [60, 200, 60], [60, 60, 200]], np.uint8)  # of the walls across x, y and z
HEIGHT, WIDTH, FOCAL = 72, 96, 60.0
FRAMES = 24


def room_view(yaw: float, place: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Exact depth (H, W), picture (H, W, 3) and pose of a camera in an empty box around the origin."""
    v, u = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(u - WIDTH // 2) / FOCAL, (v - HEIGHT // 2) / FOCAL, np.ones_like(u)], -1)
    c, s = np.cos(yaw), np.sin(yaw)
    pose = np.eye(4)
    pose[:3, :3], pose[:3, 3] = [[c, 0, s], [0, 1, 0], [-s, 0, c]], place
    way = rays @ pose[:3, :3].T
    with np.errstate(divide="ignore"):
        reach = np.where(way > 0, (HALF - place) / way, (-HALF - place) / way)
    reach[way == 0] = np.inf
    return reach.min(-1), PAINT[reach.argmin(-1)], pose


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("room") / "out"
    lens = torch.tensor([[FOCAL, 0, WIDTH // 2], [0, FOCAL, HEIGHT // 2], [0, 0, 1]])
    with Recorder(out, RUN, report=False, points_per_frame=50, keep_percentile=100) as recorder:
        for i in range(FRAMES):
            angle = 2 * np.pi * i / FRAMES
            depth, picture, pose = room_view(angle, np.array([0.4 * np.sin(angle), 0.1 * np.cos(angle), 0.3]))
            changes = {
                "depth": torch.from_numpy(depth).float(),
                "image": torch.from_numpy(picture),
                "intrinsics": lens,
                "world_from_cam": torch.from_numpy(pose).float(),
            }
            recorder.add(prediction(i, height=HEIGHT, width=WIDTH, **changes))
    return out


def test_a_box_room_becomes_its_walls_in_their_colours(room: Path, tmp_path: Path) -> None:
    mesh = trimesh.load(export(room, "mesh", tmp_path / "m.ply"), process=False)
    side = choose_voxel(read_take(room))
    assert 0.02 < side < 0.07, "a pixel sees about 4 cm of a wall that is 2 m away"
    vertices = np.asarray(mesh.vertices)
    gaps = np.abs(np.abs(vertices) - HALF)
    away = gaps.min(-1)  # no vertex is outside by more than it is from a wall, so this is the distance to the surface
    assert away.mean() < 0.2 * side and np.percentile(away, 99) < 0.6 * side and away.max() < 1.5 * side
    flat = np.sort(gaps, -1)[:, 1] > 3 * side  # the edges of the room are rounded off
    assert away[flat].max() < 0.9 * side and np.percentile(away[flat], 95) < 0.5 * side
    colors = np.asarray(mesh.visual.vertex_colors)[:, :3].astype(int)
    wanted = PAINT[gaps.argmin(-1)].astype(int)
    off = np.abs(colors - wanted)[flat].max(-1)
    assert np.percentile(off, 99) < 12 and off.max() < 60, "JPEG, and the mean of many views"
    assert flat.mean() > 0.7
    # All that the cameras saw is there: the walls around, and none of it in the room.
    seen = trimesh.triangles.area(mesh.triangles).sum()
    around = 2 * HALF[1] * 2 * (2 * HALF[0] + 2 * HALF[2])
    assert seen > 0.8 * around
    facing = np.einsum("ij,ij->i", mesh.face_normals, -mesh.triangles_center)
    assert (facing > 0).mean() > 0.99


def test_a_voxel_of_ones_own_and_another_world(room: Path, tmp_path: Path) -> None:
    path = read_tum(room / "trajectory.txt")
    poses = path.world_from_cam.copy()
    poses[:, :3, 3] *= 3
    fine = trimesh.load(export(room, "mesh", tmp_path / "f.ply", voxel=0.06), process=False)
    grown = export(room, "mesh", tmp_path / "g.ply", voxel=0.18, align=Trajectory(path.times, poses))
    large = trimesh.load(grown, process=False)
    np.testing.assert_allclose(large.bounds, 3 * fine.bounds, atol=0.1)
    assert len(large.vertices) == pytest.approx(len(fine.vertices), rel=0.02)
    coarse = trimesh.load(export(room, "mesh", tmp_path / "c.ply", voxel=0.12), process=False)
    assert len(coarse.vertices) == pytest.approx(len(fine.vertices) / 4, rel=0.2)


def test_edges_and_the_unsure_are_left_out(tmp_path: Path) -> None:
    made = prediction(0)
    depth = torch.full_like(made.depth, 2.0)
    depth[:, 16:] = 3.0
    depth[:4, :4] = 0
    with Recorder(tmp_path, report=False) as recorder:
        recorder.add(prediction(0, depth=depth))
    take = read_take(tmp_path)
    whole = usable_depth(take, take.frames[0], 100.0)
    stored = read_depth(take.frames[0].files["depth"])
    gone = (stored > 0) & (whole == 0)
    v, u = np.nonzero(gone)
    beside_unknown = (v <= 4) & (u <= 4)
    assert set(u[~beside_unknown]) == {15, 16} and (whole[~gone] == stored[~gone]).all()
    sure = usable_depth(take, take.frames[0], 40.0)
    confidence = made.confidence.numpy()
    kept = sure > 0
    assert kept.sum() == pytest.approx(0.4 * (whole > 0).sum(), abs=8)
    assert confidence[kept].min() >= confidence[(whole > 0) & ~kept].max() - 1e-3


def test_the_cloud_that_was_asked_for_is_the_mesh_that_is_made(tmp_path: Path) -> None:
    with Recorder(tmp_path, report=False, keep_percentile=35) as recorder:
        for i in range(3):
            recorder.add(prediction(i))
    assert json.loads((tmp_path / "manifest.json").read_text())["cloud"]["keep_percentile"] == 35
    few = trimesh.load(export(tmp_path, "mesh", tmp_path / "few.ply", keep_percentile=60, voxel=0.1), process=False)
    many = trimesh.load(export(tmp_path, "mesh", tmp_path / "many.ply", voxel=0.1), process=False)
    assert 0 < len(few.vertices) < 0.8 * len(many.vertices)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--voxel", "1e-5"], "too small for a scene"),
        (["--voxel", "0"], "give a length above 0"),
        (["--keep-percentile", "101"], "at most 100"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_meshes_are_named(room: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(room), "--format", "mesh", *words]) == 2
    assert said in capsys.readouterr().err


def test_the_verb_writes_a_mesh(room: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(room), "--format", "mesh", "--voxel", "0.1"]) == 0
    assert "mesh.ply" in capsys.readouterr().out
    assert len(trimesh.load(room / "exports" / "mesh.ply").faces) > 1000
    assert not list((room / "exports").glob("*.part*"))


def test_depth_that_agrees_on_nothing_is_named(tmp_path: Path) -> None:
    with Recorder(tmp_path, report=False) as recorder:
        recorder.add(prediction(0, depth=torch.zeros(24, 32)))
    with pytest.raises(InputError, match="no frame has a known depth"):
        export(tmp_path, "mesh")
