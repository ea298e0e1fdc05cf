# SPDX-License-Identifier: Apache-2.0
"""What the pictures are drawn from: upright whatever the first camera saw, walls squared, ramps that read in grey."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.outputs.colormap import DEPTH, PATH, color_depth
from longtake.outputs.display import Display, square_to_walls, surface, upright
from longtake.outputs.lines import round_length
from longtake.outputs.picture import Eye, draw_cloud, eye_from_above, eye_from_side
from longtake.outputs.trajectory import matrix_from_quat_xyzw

LEVEL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # camera axes x, -z, y of a z-up world: level, looking along y


def room(seed: int = 0, count: int = 4000) -> np.ndarray:
    """Points on the floor and the four walls of a room of 6 x 4 x 2.5, z up."""
    rng = np.random.default_rng(seed)
    points = rng.uniform((0, 0, 0), (6, 4, 2.5), (count, 3))
    side = rng.integers(0, 5, count)
    for wall, (axis, value) in enumerate([(2, 0), (0, 0), (0, 6), (1, 0), (1, 4)]):
        points[side == wall, axis] = value
    return points


def walk(seed: int = 0, count: int = 20) -> np.ndarray:
    """Poses inside the room, level, turning about the vertical."""
    rng = np.random.default_rng(seed)
    poses = np.tile(np.eye(4), (count, 1, 1))
    for pose, angle in zip(poses, rng.uniform(-0.6, 0.6, count), strict=True):
        c, s = np.cos(angle), np.sin(angle)
        pose[:3, :3] = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]]) @ LEVEL
        pose[:3, 3] = (*rng.uniform(1, 3, 2), 1.5)
    return poses


def shown(points: np.ndarray, poses: np.ndarray) -> Display:
    normals, spacing = surface(points, np.tile(poses[:, :3, 3].mean(0), (len(points), 1)))
    colors = np.full((len(points), 3), 200, np.uint8)
    order = np.zeros(len(points), np.float32)
    low, high = points.min(0), points.max(0)
    return Display(points.astype(np.float32), colors, normals, spacing, order, poses, low, high, (0.6, 0.4))


@settings(deadline=None, max_examples=25)
@given(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1), st.integers(0, 99))
def test_upright_undoes_any_first_camera(quat: tuple[float, float, float, float], seed: int) -> None:
    turn = matrix_from_quat_xyzw(np.array([quat]))[0]  # the world of a take: a level room, turned
    points, poses = room(seed) @ turn.T, walk(seed)
    poses[:, :3] = turn @ poses[:, :3]
    found = upright(points, poses)
    np.testing.assert_allclose(found @ found.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(found) == pytest.approx(1)
    np.testing.assert_allclose(found @ turn @ (0, 0, 1), (0, 0, 1), atol=1e-6)  # up is up
    assert abs((found @ turn @ (1, 0, 0))[0]) > 0.97  # the longer side lies along x
    assert (found @ poses[0, :3, 2])[1] > -1e-9  # the first camera looks up the page


def test_surfaces_face_the_cameras_that_saw_them() -> None:
    points = room(count=60_000)
    normals, spacing = surface(points, np.tile((3.0, 2.0, 1.5), (len(points), 1)))
    np.testing.assert_allclose(np.linalg.norm(normals, axis=-1), 1, atol=1e-5)
    assert (((np.array((3.0, 2.0, 1.5)) - points) * normals).sum(-1) > 0).mean() > 0.99
    floor = (points[:, 2] == 0) & (points[:, :2] > 0.3).all(-1) & (points[:, :2] < (5.7, 3.7)).all(-1)
    assert np.median(normals[floor, 2]) > 0.99
    assert 0.02 < np.median(spacing) < 0.4 and (spacing > 0).all()


@pytest.mark.parametrize("degrees", [-40, -10, 0, 5, 44])
def test_walls_are_squared_by_the_smallest_turn(degrees: float) -> None:
    a = np.deg2rad(degrees)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    rng = np.random.default_rng(0)
    walls = np.eye(3)[rng.integers(0, 2, 500)] * rng.choice([-1, 1], (500, 1)) + rng.normal(0, 0.05, (500, 3))
    np.testing.assert_allclose(square_to_walls(walls @ turn.T), turn.T, atol=0.02)
    around = rng.normal(size=(50_000, 3))
    around /= np.linalg.norm(around, axis=-1, keepdims=True)
    np.testing.assert_allclose(square_to_walls(around), np.eye(3))  # no walls, no turn


@pytest.mark.parametrize(("azimuth", "size"), [(-62, (220, 152)), (118, (152, 220)), (10, (400, 60))])
def test_the_side_view_holds_the_scene_and_fills_the_picture(azimuth: float, size: tuple[int, int]) -> None:
    display = shown(room(), walk())
    eye = eye_from_side(display, azimuth, 36, size)
    spots, depth = eye.project(display.points)
    assert (depth > 0).all() and (spots >= 0).all() and (spots <= size).all()
    assert (np.ptp(spots, axis=0) / size).max() > 0.85
    np.testing.assert_allclose(eye.axes @ eye.axes.T, np.eye(3), atol=1e-12)


def test_from_above_x_is_right_and_y_is_up() -> None:
    eye = eye_from_above(shown(room(), walk()), (220, 152))
    (left, bottom), (right, top) = eye.project(np.array([[0.0, 0, 0], [6, 4, 0]]))[0]
    assert left < right and top < bottom
    assert (right - left) / (bottom - top) == pytest.approx(1.5)


def test_one_looks_into_a_room_through_its_near_wall() -> None:
    display = shown(room(count=60_000), walk())
    eye = eye_from_side(display, -62, 20, (220, 152))
    kept = np.asarray(draw_cloud(display, eye))[..., 3] > 128
    solid = np.asarray(draw_cloud(display, eye, cut_away=False))[..., 3] > 128
    assert kept.sum() < solid.sum() and not (kept & ~solid).any()


def test_near_things_hide_far_ones() -> None:
    spots = np.array([[0.0, 0.0, 1.0], [0.0, 0.0, 2.0], [0.02, 0.0, 3.0]])
    facing = np.tile(np.array([0, 0, -1], np.float32), (3, 1))
    colors = np.array([[250, 0, 0], [0, 250, 0], [0, 0, 250]], np.uint8)
    spacing = np.full(3, 0.1, np.float32)
    display = Display(
        spots.astype(np.float32), colors, facing, spacing, spacing, walk(), -np.ones(3), np.ones(3), (1, 1)
    )
    picture = np.asarray(draw_cloud(display, Eye(np.eye(3), np.zeros(3), 40.0, (21, 21))))
    assert picture[10, 10, 0] > 200 and picture[10, 10, 1:3].max() == 0 and picture[0, 0, 3] == 0


def test_the_ramps_read_in_grey_and_on_light_and_dark() -> None:
    grey = DEPTH @ np.array([0.2126, 0.7152, 0.0722])
    assert (np.diff(grey) <= 0.5).all() and grey[0] - grey[-1] > 180
    path = PATH @ np.array([0.2126, 0.7152, 0.0722])
    assert path.min() > 70 and path.max() < 190
    picture = color_depth(np.array([[0.0, 1.0, 2.0, 4.0, 9.0]]), 1.0, 4.0, (1, 2, 3))[0]
    assert picture[0].tolist() == [1, 2, 3] and picture[1].tolist() == DEPTH[0].tolist()
    assert picture[3].tolist() == picture[4].tolist() == DEPTH[-1].tolist()
    np.testing.assert_array_equal(picture[2], DEPTH[127])  # the logarithm's middle


@given(st.floats(1e-9, 1e9))
def test_round_lengths(length: float) -> None:
    found = round_length(length)
    assert found <= length * (1 + 1e-9) and found > length / 2.6
    assert f"{found:.0e}"[0] in "125"
