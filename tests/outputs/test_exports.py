# SPDX-License-Identifier: Apache-2.0
"""Each export is read back by the library that its users have, and tells the same geometry as the take."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pycolmap
import pytest
import trimesh
from PIL import Image
from take_maker import pose, prediction, record

from longtake import cli
from longtake.errors import InputError, MissingExtra
from longtake.frame import Frame
from longtake.outputs import read_depth, read_ply, read_tum
from longtake.outputs.exports import FORMATS, export
from longtake.outputs.exports.points import one_per_voxel, select_points, surest
from longtake.outputs.take import Follower, read_take

FRAMES = 6


@pytest.fixture(scope="module")
def take(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(tmp_path_factory.mktemp("take") / "out", FRAMES, report=False, points_per_frame=80).out


def originals() -> Iterator[Frame]:
    """Frames of the made-up take at twice the size of the model's, as the source would give them."""
    for number in range(3 * FRAMES):  # the take used every third
        yield Frame(np.full((48, 64, 3), (number, 0, 255), np.uint8), number / 30, number)


def picture(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image)


# --- COLMAP ---


@pytest.mark.parametrize("kind", ["colmap", "colmap-bin"])
@pytest.mark.parametrize("full_size", [False, True])
def test_pycolmap_reads_cameras_images_and_points(take: Path, kind: str, full_size: bool, tmp_path: Path) -> None:
    out = export(take, kind, tmp_path / "model", originals=originals() if full_size else None)
    model = pycolmap.Reconstruction(out / "sparse" / "0")
    cloud = read_ply(take / "cloud.ply")
    assert (model.num_cameras(), model.num_images(), model.num_points3D()) == (FRAMES, FRAMES, len(cloud.points))
    read = read_take(take)
    for number, image in model.images.items():
        frame = read.frames[number - 1]
        assert image.name == f"frame_{frame.number:06d}.jpg"
        cam_from_world = np.eye(4)
        cam_from_world[:3] = image.cam_from_world().matrix()
        np.testing.assert_allclose(cam_from_world @ pose(frame.number).numpy(), np.eye(4), atol=1e-6)
        camera = model.cameras[image.camera_id]
        assert picture(out / "images" / image.name).shape[:2] == (camera.height, camera.width)
        # take_maker: f = 0.9 * width and c = size / 2 in a picture of 32 x 24; twice the size for the original.
        scale, size = (2, (64, 48)) if full_size else (1, (32, 24))
        assert (camera.width, camera.height) == size
        centre = [
            scale * (16 + 0.5),
            scale * (12 + 0.5),
        ]  # COLMAP's corner of the first pixel is (0, 0), ours its centre
        np.testing.assert_allclose(camera.params, [28.8 * scale, 28.8 * scale, *centre], rtol=1e-6)
    seen = 0
    for number, point in model.points3D.items():
        np.testing.assert_allclose(point.xyz, cloud.points[number - 1], atol=1e-6)
        assert tuple(point.color) == tuple(cloud.colors[number - 1])
        for element in point.track.elements:
            image = model.images[element.image_id]
            spot = image.project_point(point.xyz)
            np.testing.assert_allclose(image.points2D[element.point2D_idx].xy, spot, atol=2e-3)
            # The corrugated wall's points lie on the rays of their pixels, whose centres are halves in COLMAP's count.
            ours = (spot / (2 if full_size else 1)) - 0.5
            np.testing.assert_allclose(ours, np.rint(ours), atol=2e-3)
            seen += 1
    assert seen > 0.9 * len(cloud.points)


def test_full_size_pictures_are_those_of_the_source(take: Path, tmp_path: Path) -> None:
    out = export(take, "nerfstudio", tmp_path / "n", originals=originals())
    for frame in read_take(take).frames:
        written = picture(out / f"images/frame_{frame.number:06d}.jpg")
        assert written.shape == (48, 64, 3) and abs(int(written[20, 20, 0]) - frame.index) <= 2


def test_a_wrong_source_is_named(take: Path, tmp_path: Path) -> None:
    short = (frame for frame in originals() if frame.index < 7)
    with pytest.raises(InputError, match="no frame 9"):
        export(take, "colmap", tmp_path / "a", originals=short)
    with pytest.raises(InputError, match="10x10; those of .* were 64x48"):
        export(take, "colmap", tmp_path / "b", originals=iter([Frame(np.zeros((10, 10, 3), np.uint8), 0.0, 0)]))


# --- nerfstudio ---


@pytest.mark.parametrize("full_size", [False, True])
def test_nerfstudio_depth_cameras_and_points_agree(take: Path, full_size: bool, tmp_path: Path) -> None:
    out = export(take, "nerfstudio", tmp_path / "n", originals=originals() if full_size else None)
    document = json.loads((out / "transforms.json").read_text())
    assert len(document["frames"]) == FRAMES
    world = np.vstack([document["applied_transform"], [0, 0, 0, 1]])  # nerfstudio's world from ours
    np.testing.assert_allclose(world[:3, :3] @ [0, 1, 0], [0, 0, -1])  # our down is minus z there: z is up
    cloud = read_ply(out / document["ply_file_path"])
    np.testing.assert_allclose(cloud.points, read_ply(take / "cloud.ply").points @ world[:3, :3].T, atol=1e-6)
    for number, frame in enumerate(document["frames"]):
        assert picture(out / frame["file_path"]).shape[:2] == (frame["h"], frame["w"])
        depth = picture(out / frame["depth_file_path"]) * document["depth_unit_scale_factor"]
        assert depth.shape == (frame["h"], frame["w"])
        # Unproject as nerfstudio does: pixel centres at halves, OpenGL camera. The points are those of the take.
        v, u = np.mgrid[: frame["h"], : frame["w"]] + 0.5
        x, y = (u - frame["cx"]) / frame["fl_x"], -(v - frame["cy"]) / frame["fl_y"]
        own = np.stack([x, y, -np.ones_like(x)], -1) * depth[..., None]
        pose_gl = np.array(frame["transform_matrix"])
        places = own @ pose_gl[:3, :3].T + pose_gl[:3, 3]
        points = prediction(number).points.numpy() @ world[:3, :3].T
        if full_size:  # four pixels of the original lie around each of the model's
            places = places.reshape(24, 2, 32, 2, 3).mean((1, 3))
            depth = depth[::2, ::2]
        known = depth > 0
        assert known.mean() > 0.9
        np.testing.assert_allclose(places[known], points[known], atol=2e-3)


# --- glTF ---


def test_trimesh_reads_points_path_and_colours(take: Path, tmp_path: Path) -> None:
    scene = trimesh.load(export(take, "glb", tmp_path / "take.glb"))
    cloud = read_ply(take / "cloud.ply")
    points = scene.geometry["points"]
    np.testing.assert_allclose(points.vertices, cloud.points * [1, -1, -1], atol=1e-6)
    linear = np.asarray(points.colors, np.float64)[:, :3]
    linear = linear / 255
    srgb = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    np.testing.assert_allclose(srgb * 255, cloud.colors, atol=8)  # trimesh keeps eight bits
    path = scene.geometry["path"]
    centres = np.stack([pose(i)[:3, 3].numpy() for i in range(FRAMES)]) * [1, -1, -1]
    ends = np.asarray(path.vertices).reshape(-1, 2, 3)
    np.testing.assert_allclose(ends, np.stack([centres[:-1], centres[1:]], 1), atol=1e-6)
    assert len(scene.geometry["cameras"].vertices) == 16 * FRAMES


def test_the_glb_flies_the_camera_along_the_path(take: Path, tmp_path: Path) -> None:
    data = export(take, "glb", tmp_path / "take.glb").read_bytes()
    length = int.from_bytes(data[12:16], "little")
    document, chunk = json.loads(data[20 : 20 + length]), data[28 + length :]
    assert int.from_bytes(data[8:12], "little") == len(data) and not len(data) % 4

    def array(accessor: int, width: int) -> np.ndarray:
        view = document["bufferViews"][document["accessors"][accessor]["bufferView"]]
        return np.frombuffer(chunk, "<f4", view["byteLength"] // 4, view["byteOffset"]).reshape(-1, width)

    (animation,) = document["animations"]
    turn, move = {}, {}
    for channel in animation["channels"]:
        sampler = animation["samplers"][channel["sampler"]]
        np.testing.assert_allclose(array(sampler["input"], 1)[:, 0], np.arange(FRAMES) / 10, atol=1e-6)
        (move if channel["target"]["path"] == "translation" else turn)[0] = sampler["output"]
        node = document["nodes"][channel["target"]["node"]]
        assert document["cameras"][node["camera"]]["perspective"]["yfov"] == pytest.approx(2 * np.arctan(12 / 28.8))
    for i, (place, quat) in enumerate(zip(array(move[0], 3), array(turn[0], 4), strict=True)):
        gl = trimesh.transformations.quaternion_matrix([quat[3], *quat[:3]])
        gl[:3, 3] = place
        flip = np.diag([1, -1, -1, 1])
        np.testing.assert_allclose(flip @ gl @ flip, pose(i).numpy(), atol=1e-6)


# --- paths ---


def test_paths_hold_the_poses(take: Path, tmp_path: Path) -> None:
    poses = np.stack([pose(i).numpy() for i in range(FRAMES)])
    tum = read_tum(export(take, "tum", tmp_path / "t.txt"))
    np.testing.assert_allclose(tum.world_from_cam, poses, atol=1e-6)
    kitti = np.loadtxt(export(take, "kitti", tmp_path / "k.txt")).reshape(-1, 3, 4)
    np.testing.assert_allclose(kitti, poses[:, :3], atol=1e-6)
    euroc = np.loadtxt(export(take, "euroc", tmp_path / "e.csv"), delimiter=",")
    np.testing.assert_allclose(euroc[:, 0], np.arange(FRAMES) * 1e8)
    for row, wanted in zip(euroc, poses, strict=True):
        read = trimesh.transformations.quaternion_matrix(row[4:])  # w x y z
        read[:3, 3] = row[1:4]
        np.testing.assert_allclose(read, wanted, atol=1e-6)


def test_evo_reads_the_paths(take: Path, tmp_path: Path) -> None:
    interface = pytest.importorskip("evo.tools.file_interface", reason="evo is GPL: an oracle where it is installed")
    poses = np.stack([pose(i).numpy() for i in range(FRAMES)])
    tum = interface.read_tum_trajectory_file(str(export(take, "tum", tmp_path / "t.txt")))
    kitti = interface.read_kitti_poses_file(str(export(take, "kitti", tmp_path / "k.txt")))
    euroc = interface.read_euroc_csv_trajectory(str(export(take, "euroc", tmp_path / "e.csv")))
    for path in (tum, kitti, euroc):
        np.testing.assert_allclose(path.poses_se3, poses, atol=1e-6)
    for path in (tum, euroc):
        np.testing.assert_allclose(path.timestamps, np.arange(FRAMES) / 10, atol=1e-6)


# --- depth, splats, rerun ---


@pytest.mark.parametrize("scale", [1000.0, 5000.0])
def test_png16_has_the_scale_that_was_asked_for(take: Path, scale: float, tmp_path: Path) -> None:
    out = export(take, "png16", tmp_path / "d", depth_scale=scale)
    lines = [line.split() for line in (out / "depth.txt").read_text().splitlines() if not line.startswith("#")]
    assert [float(time) for time, _ in lines] == pytest.approx([i / 10 for i in range(FRAMES)])
    for number, (_, name) in enumerate(lines):
        with Image.open(out / name) as image:
            assert image.mode.startswith("I;16")
            values = np.asarray(image, np.float64) / scale
        np.testing.assert_allclose(values, prediction(number).depth.numpy(), atol=0.6e-3)


def test_npz_has_everything_of_a_frame(take: Path, tmp_path: Path) -> None:
    out = export(take, "npz", tmp_path / "n")
    assert len(list(out.iterdir())) == FRAMES
    with np.load(out / "000003.npz", allow_pickle=False) as found:
        wanted = prediction(3)
        np.testing.assert_allclose(found["depth"], wanted.depth.numpy(), atol=0.6e-3)
        np.testing.assert_allclose(found["confidence"], wanted.confidence.numpy(), rtol=2e-4)
        np.testing.assert_allclose(found["world_from_cam"], pose(3).numpy(), atol=1e-6)
        np.testing.assert_allclose(found["intrinsics"], wanted.intrinsics.numpy(), atol=1e-6)
        assert found["time"] == pytest.approx(0.3) and found["index"] == 9


def test_splats_lie_on_the_points_in_their_colours(take: Path, tmp_path: Path) -> None:
    cloud = read_ply(take / "cloud.ply")
    raw = trimesh.load(export(take, "splat", tmp_path / "s.ply")).metadata["_ply_raw"]["vertex"]["data"]
    np.testing.assert_allclose(np.stack([raw[axis] for axis in "xyz"], -1).reshape(-1, 3), cloud.points, atol=1e-6)
    color = np.stack([raw[f"f_dc_{i}"] for i in range(3)], -1).reshape(-1, 3) * 0.28209479 + 0.5
    np.testing.assert_allclose(color * 255, cloud.colors, atol=1e-3)
    assert (np.exp(raw["scale_0"]) > 0).all() and (np.exp(raw["scale_0"]) < 1).all()
    np.testing.assert_allclose(raw["rot_0"], 1)


def test_rerun_reads_its_recording(take: Path, tmp_path: Path) -> None:
    pytest.importorskip("rerun", reason="needs the extra rerun")
    path = export(take, "rrd", tmp_path / "take.rrd")
    from rerun.chunk import RrdReader

    entities = {str(chunk.entity_path) for chunk in RrdReader(path).stream()}
    assert {"/world/camera", "/world/camera/lens/depth", "/world/path"} <= entities
    assert sum(entity.startswith("/world/points/") for entity in entities) == FRAMES


# --- which points ---


def test_a_percentile_never_leaves_nothing() -> None:
    rng = np.random.default_rng(0)
    for sureness in (rng.uniform(1, 1.001, 1000), rng.uniform(50, 90, 1000), np.ones(1000), np.array([3.0])):
        for percent in (100, 50, 10, 0.01):
            kept = surest(sureness, percent)
            assert kept.sum() >= max(1, int(len(sureness) * percent / 100) - 1)
            assert not kept.all() or percent == 100 or sureness.min() == sureness.max()
            assert sureness[kept].min() >= sureness[~kept].max(initial=-np.inf)


def test_a_voxel_keeps_its_surest_point_and_no_other() -> None:
    rng = np.random.default_rng(1)
    places, sureness = rng.uniform(-1, 1, (2000, 3)).astype(np.float32), rng.uniform(1, 2, 2000)
    kept = one_per_voxel(places, sureness, 0.25)
    cells = np.floor((places.astype(np.float64) - places.min(0)) / 0.25).astype(int)
    best: dict[tuple[int, ...], int] = {}
    for i, cell in enumerate(map(tuple, cells.tolist())):  # the plain twin
        if cell not in best or sureness[i] > sureness[best[cell]]:
            best[cell] = i
    assert kept.tolist() == sorted(best.values())


def test_a_frame_without_a_pose_is_left_out(tmp_path: Path) -> None:
    import torch

    from longtake.outputs import Recorder

    with Recorder(tmp_path / "out", report=False, points_per_frame=20) as recorder:
        for i in range(4):
            broken = {"world_from_cam": torch.full((4, 4), torch.nan)} if i == 1 else {}
            recorder.add(prediction(i, **broken))
    points = select_points(read_take(tmp_path / "out"))
    assert set(points.frame.tolist()) == {0, 2, 3}
    model = pycolmap.Reconstruction(export(tmp_path / "out", "colmap") / "sparse/0")
    assert sorted(image.name for image in model.images.values()) == [f"frame_00000{i}.jpg" for i in (0, 2, 3)]
    assert len(read_tum(export(tmp_path / "out", "tum")).times) == 3
    for kind in FORMATS:
        if kind == "rrd" and find_spec("rerun") is None:
            with pytest.raises(MissingExtra, match="rerun"):
                export(tmp_path / "out", kind)
        else:
            export(tmp_path / "out", kind)


# --- the folder while it grows, and the command line ---


def test_a_follower_sees_each_frame_once_while_the_take_runs_and_after(tmp_path: Path) -> None:
    from longtake.outputs import Recorder

    follower, seen = Follower(tmp_path), []
    with Recorder(tmp_path, report=False, points_per_frame=10) as recorder:
        for i in range(7):
            recorder.add(prediction(i))
            if i in (0, 3, 4):
                found = follower.poll(limit=3)
                assert all(frame.files["image"].is_file() for frame in found)
                seen += found
    assert not follower.finished
    seen += follower.poll()
    assert follower.finished and [frame.number for frame in seen] == list(range(7))
    assert [frame.index for frame in seen] == [3 * i for i in range(7)]
    assert read_take(tmp_path).frames[5].points == seen[5].points


def test_the_verb_writes_into_the_take_and_says_what(take: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["export", str(take), "--format", "tum,png16,ply", "--keep-percentile", "50"]
    assert cli.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == [
        str(take / "exports" / "tum.txt"), f"{take / 'exports' / 'depth_png16'}/", str(take / "exports" / "cloud.ply"),
    ]  # fmt: skip
    whole = len(read_ply(take / "cloud.ply").points)
    assert len(read_ply(take / "exports" / "cloud.ply").points) == pytest.approx(whole / 2, rel=0.05)
    assert read_depth(take / "exports" / "depth_png16" / "000000.png").shape == (24, 32)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--format", "colmpa"], "Did you mean 'colmap'?"),
        (["--format", ","], "no format in ','"),
        (["--format", "ply", "--keep-percentile", "0"], "more than 0 and at most 100"),
        (["--format", "ply", "--voxel", "-1"], "give a length above 0"),
        (["--format", "ply", "--voxel", "1e-9"], "too small for a cloud"),
        (["--format", "png16", "--depth-scale", "0"], "give a number above 0"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_wrong_wishes_are_named(take: Path, words: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["export", str(take), *words]) == 2
    assert said in capsys.readouterr().err


def test_what_is_no_take_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for folder, said in ((tmp_path / "none", "no such folder"), (tmp_path, "not a take")):
        assert cli.main(["export", str(folder), "--format", "ply"]) == 2
        assert said in capsys.readouterr().err
