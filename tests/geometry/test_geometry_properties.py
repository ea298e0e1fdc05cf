# SPDX-License-Identifier: Apache-2.0
"""What geometry must satisfy whatever the numbers: group axioms, round trips, gradients, degenerate input."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.testing import assert_close

from longtake.errors import InputError
from longtake.geometry import activations, camera, focal, pose, rays, rotation, similarity

few = settings(deadline=None, max_examples=15)
seeds = st.integers(0, 2**31 - 1)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def poses(seed: int, *shape: int) -> Tensor:
    return pose.world_from_cam(torch.randn(*shape, 7, generator=generator(seed), dtype=torch.float64))


def intrinsics(seed: int, *shape: int) -> Tensor:
    r = torch.rand(*shape, 5, generator=generator(seed), dtype=torch.float64)
    k = torch.zeros(*shape, 3, 3, dtype=torch.float64)
    k[..., 0, 0], k[..., 1, 1] = 20 + 30 * r[..., 0], 20 + 30 * r[..., 1]
    k[..., 0, 2], k[..., 1, 2], k[..., 0, 1] = 16 * r[..., 2], 12 * r[..., 3], r[..., 4]
    k[..., 2, 2] = 1
    return k


@few
@given(seeds)
def test_rigid_motions_form_a_group(seed: int) -> None:
    a, b, c = poses(seed, 3, 5)
    eye = torch.eye(4, dtype=a.dtype).expand_as(a)
    assert_close((a @ b) @ c, a @ (b @ c))
    assert_close(a @ pose.inverse(a), eye)
    assert_close(pose.inverse(a) @ a, eye)
    assert_close(pose.inverse(a @ b), pose.inverse(b) @ pose.inverse(a))
    assert_close(torch.linalg.det(a[..., :3, :3]), torch.ones(5, dtype=a.dtype))


@few
@given(seeds)
def test_transform_is_an_action(seed: int) -> None:
    a, b = poses(seed, 2, 5)
    points = torch.randn(5, 4, 6, 3, generator=generator(seed), dtype=torch.float64)
    assert_close(pose.transform(a @ b, points), pose.transform(a, pose.transform(b, points)))
    homogeneous = torch.cat((points, torch.ones_like(points[..., :1])), -1)
    assert_close(pose.transform(a, points), torch.einsum("nij,nhwj->nhwi", a, homogeneous)[..., :3])
    assert_close(pose.transform(a[0], points), torch.stack([pose.transform(a[0], p) for p in points]))
    assert_close(pose.transform(a, points[:, 0, 0]), pose.transform(a, points)[:, 0, 0])


@few
@given(seeds)
def test_quaternions_and_matrices_round_trip(seed: int) -> None:
    q = rotation.standardise_quat_wxyz(torch.randn(4, 6, 4, generator=generator(seed), dtype=torch.float64))
    assert_close(rotation.quat_wxyz_from_matrix(rotation.matrix_from_quat_wxyz(q)), q)
    assert_close(rotation.matrix_from_quat_wxyz(-3 * q), rotation.matrix_from_quat_wxyz(q))
    a, b = q[:2], q[2:]
    product = rotation.matrix_from_quat_wxyz(rotation.multiply_quat_wxyz(a, b))
    assert_close(product, rotation.matrix_from_quat_wxyz(a) @ rotation.matrix_from_quat_wxyz(b))
    m = pose.world_from_cam(torch.cat((torch.randn(4, 6, 3, generator=generator(seed), dtype=q.dtype), q), -1))
    assert_close(pose.world_from_cam(pose.pose7_from_matrix(m)), m)


@pytest.mark.parametrize("axis", [(1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 1, 0), (1, -1, 1), (0, 1, -1)])
def test_half_turns_have_quaternions_and_finite_gradients(axis: tuple[int, int, int]) -> None:
    q = rotation.standardise_quat_wxyz(torch.tensor([0.0, *axis], dtype=torch.float64))
    m = rotation.matrix_from_quat_wxyz(q).requires_grad_()
    back = rotation.quat_wxyz_from_matrix(m)
    assert_close(torch.minimum((back - q).norm(), (back + q).norm()).detach(), torch.zeros((), dtype=q.dtype))
    back.square()[1:].sum().backward()
    assert m.grad is not None
    assert m.grad.isfinite().all()


@few
@given(st.floats(0, 180), seeds)
def test_angles(degrees: float, seed: int) -> None:
    axis = torch.nn.functional.normalize(torch.randn(3, generator=generator(seed), dtype=torch.float64), dim=0)
    half = torch.deg2rad(torch.tensor(degrees / 2, dtype=torch.float64))
    turn = rotation.matrix_from_quat_wxyz(torch.cat((half.cos()[None], half.sin() * axis)))
    start = poses(seed)[:3, :3]
    wanted = torch.tensor(degrees, dtype=torch.float64)
    assert_close(rotation.angle_between(start, start @ turn), wanted, rtol=0, atol=1e-9)
    assert_close(rotation.angle_between(start, start), torch.zeros_like(wanted), rtol=0, atol=1e-9)


def test_chain_without_resets_changes_nothing() -> None:
    pose7 = torch.randn(6, 7, generator=generator(1), dtype=torch.float64)
    chained, kept = pose.chain_poses(pose7, torch.zeros(6, dtype=torch.bool))
    assert kept.tolist() == list(range(6))
    assert_close(chained, pose.world_from_cam(pose7), rtol=0, atol=0)


@few
@given(seeds, st.lists(st.integers(2, 4), min_size=1, max_size=3))
def test_chain_recovers_the_path_that_was_cut(seed: int, chunks: list[int]) -> None:
    """Cut a path into chunks, give each its own frame, chain: the path comes back, in the frame of its first camera."""
    views, resets, start = [], [], 0
    path = poses(seed, sum(chunks) + 1)
    for length in chunks:  # a chunk starts at the camera where the last one ended: that camera comes twice
        stop = start + length
        views.append(pose.inverse(path[start]) @ path[start : stop + 1])
        resets += [False] * length + [True]
        start = stop
    reset = torch.tensor(resets)
    chained, kept = pose.chain_poses(pose.pose7_from_matrix(torch.cat(views)), reset)
    assert_close(chained, pose.inverse(path[0]) @ path)
    assert len(kept) == len(path)


@few
@given(seeds)
def test_one_step_of_the_chain_serves_streams_of_their_own(seed: int) -> None:
    world_from_chunk, chunk_from_cam = poses(seed, 2, 3)
    stepped = pose.advance_chunk(world_from_chunk, chunk_from_cam, torch.tensor([True, False, True]))
    assert_close(stepped[1], world_from_chunk[1], rtol=0, atol=0)
    assert_close(stepped[0], world_from_chunk[0] @ chunk_from_cam[0])


def test_pixels_are_column_then_row() -> None:
    grid = camera.pixel_grid(3, 5)
    assert grid.shape == (3, 5, 2)
    assert grid[2, 4].tolist() == [4, 2]
    assert grid[1, 0].tolist() == [0, 1]


@few
@given(seeds)
def test_unproject_and_project_are_inverse(seed: int) -> None:
    depth = 0.5 + torch.rand(2, 6, 8, generator=generator(seed), dtype=torch.float64)
    k = intrinsics(seed, 2)
    points = camera.unproject(depth, k)
    assert_close(points[..., 2], depth)
    assert_close(camera.project(points, k), camera.pixel_grid(6, 8, dtype=depth.dtype).expand(2, 6, 8, 2))
    assert_close(camera.unproject(depth, k[0])[1], camera.unproject(depth[1], k[0]))


def test_points_behind_the_camera_have_no_pixel_and_no_gradient() -> None:
    points = torch.tensor([[1.0, 2.0, 4.0], [1.0, 2.0, 0.0], [1.0, 2.0, -1.0]], requires_grad=True)
    pixels = camera.project(points, torch.tensor([[10.0, 0, 5], [0, 10, 5], [0, 0, 1]]))
    assert pixels.isnan().tolist() == [[False, False], [True, True], [True, True]]
    pixels.nan_to_num().sum().backward()
    assert points.grad is not None
    assert points.grad.isfinite().all()


@few
@given(seeds, st.floats(15, 80))
def test_focal_of_an_exact_map(seed: int, true_focal: float) -> None:
    k = camera.intrinsics_from_focal(torch.tensor([true_focal, 2 * true_focal], dtype=torch.float64), 10, 14)
    depth = 0.5 + torch.rand(2, 10, 14, generator=generator(seed), dtype=torch.float64)
    points = camera.unproject(depth, k)
    assert_close(focal.focal_weiszfeld(points), k[:, 0, 0], rtol=1e-6, atol=0)
    assert_close(focal.focal_median(points), k[:, 0, 0], rtol=1e-9, atol=0)


def test_focal_survives_outliers_and_holes() -> None:
    k = camera.intrinsics_from_focal(torch.tensor(40.0, dtype=torch.float64), 24, 32)
    points = camera.unproject(torch.full((24, 32), 2.0, dtype=torch.float64), k)
    points[::5, ::3] = torch.nan
    points[1::7, 1::5] *= torch.tensor([5.0, -3.0, 1.0], dtype=torch.float64)
    points[3::9] = 0
    assert focal.focal_weiszfeld(points).item() == pytest.approx(40, rel=1e-2)
    assert focal.focal_median(points).item() == pytest.approx(40, rel=1e-2)


def test_focal_clip() -> None:
    points = camera.unproject(torch.ones(12, 16), camera.intrinsics_from_focal(torch.tensor(100.0), 12, 16))
    base = focal.focal_base(12, 16)
    assert focal.focal_weiszfeld(points, max_focal=1.2).item() == pytest.approx(1.2 * base)
    backwards = points * torch.tensor([1.0, 1.0, -1.0])
    assert focal.focal_weiszfeld(backwards).item() == 0


@few
@given(seeds)
def test_ray_maps_of_the_first_camera_are_its_pixels(seed: int) -> None:
    k = intrinsics(seed, 2)
    first = poses(seed, 2)
    made = rays.ray_map(first, k, 6, 8, first)
    zero = torch.zeros(2, 6, 8, 3, dtype=torch.float64)
    assert_close(made[..., :3], zero)
    points = camera.unproject(torch.ones(2, 6, 8, dtype=torch.float64), k)
    assert_close(made[..., 3:], torch.nn.functional.normalize(points, dim=-1))
    moved = rays.ray_map(poses(seed + 1, 2), k, 6, 8)
    assert_close(moved[..., 3:].norm(dim=-1), torch.ones(2, 6, 8, dtype=torch.float64))
    assert_close(moved[:, 3, 4, :3], poses(seed + 1, 2)[:, :3, 3])


def test_activations_have_finite_gradients_at_zero() -> None:
    raw = torch.zeros(2, 7, requires_grad=True)
    out = activations.activate_pose(raw)[..., :3].sum() + activations.activate_points(raw[..., :3]).sum()
    (out + activations.activate_points(raw[..., :3], positive_z=True).sum()).backward()
    assert raw.grad is not None
    assert raw.grad.isfinite().all()


@few
@given(seeds)
def test_activation_ranges(seed: int) -> None:
    raw = 3 * torch.randn(50, 7, generator=generator(seed))
    points = activations.activate_points(raw[..., :3], positive_z=True)
    assert (points[..., 2] >= 0).all()
    assert (activations.activate_confidence(raw[..., 3]) >= 1).all()
    assert (activations.activate_rgb(raw).abs() < 1).all()
    pose7 = activations.activate_pose(raw)
    assert_close(pose7[..., 3:].norm(dim=-1), torch.ones(50))
    assert (pose7[..., 3] >= 0).all()
    assert_close(activations.activate_points(raw[..., :3]).norm(dim=-1), torch.expm1(raw[..., :3].norm(dim=-1)))


def test_unknown_modes_are_refused() -> None:
    with pytest.raises(ValueError, match="'cube'"):
        activations.activate_points(torch.ones(3), "cube")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="'cube'"):
        activations.activate_confidence(torch.ones(3), "cube")  # type: ignore[arg-type]


@few
@given(seeds, st.floats(0.1, 10))
def test_alignment_recovers_a_similarity(seed: int, scale: float) -> None:
    moved = poses(seed).numpy()
    points = torch.randn(20, 3, generator=generator(seed), dtype=torch.float64).numpy()
    true = similarity.Similarity(scale, moved[:3, :3], moved[:3, 3])
    found = similarity.align(points, true.points(points))
    assert found.scale == pytest.approx(scale)
    np.testing.assert_allclose(found.rotation, true.rotation, atol=1e-9)
    np.testing.assert_allclose(found.inverse().points(true.points(points)), points, atol=1e-9)
    rigid = similarity.align(points, true.points(points), with_scale=False)
    assert rigid.scale == 1
    np.testing.assert_allclose(rigid.rotation, true.rotation, atol=1e-9)


@few
@given(seeds)
def test_alignment_is_a_least_squares_optimum_and_never_a_mirror(seed: int) -> None:
    rng = np.random.default_rng(seed)
    source = rng.normal(size=(15, 3))
    target = source * [1, 1, -1] + 0.1 * rng.normal(size=(15, 3))
    best = similarity.align(source, target)
    assert np.linalg.det(best.rotation) == pytest.approx(1)
    error = np.square(best.points(source) - target).sum()
    for _ in range(10):
        turn = rotation.matrix_from_quat_wxyz(torch.tensor([1, *0.02 * rng.normal(size=3)])).numpy()
        near = similarity.Similarity(
            best.scale * (1 + 0.02 * rng.normal()), turn @ best.rotation, best.translation + 0.02 * rng.normal(size=3)
        )
        assert np.square(near.points(source) - target).sum() >= error


def test_aligned_poses_move_as_their_positions_do() -> None:
    cameras = poses(3, 8).numpy()
    s = similarity.align(cameras[:, :3, 3], poses(4, 8).numpy()[:, :3, 3])
    moved = s.poses(cameras)
    np.testing.assert_allclose(moved[:, :3, 3], s.points(cameras[:, :3, 3]))
    np.testing.assert_allclose(moved[:, :3, :3], s.rotation @ cameras[:, :3, :3])


@pytest.mark.parametrize(
    ("source", "target", "text"),
    [
        (np.zeros((4, 3)), np.zeros((5, 3)), "shapes"),
        (np.zeros((0, 3)), np.zeros((0, 3)), "shapes"),
        (np.full((4, 3), np.nan), np.zeros((4, 3)), "nan"),
        (np.ones((4, 3)), np.random.default_rng(0).normal(size=(4, 3)), "degenerate"),
    ],
)
def test_alignment_refuses_what_it_cannot_align(source: np.ndarray, target: np.ndarray, text: str) -> None:
    with pytest.raises(InputError, match=text):
        similarity.align(source, target)
