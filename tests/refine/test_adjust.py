# SPDX-License-Identifier: Apache-2.0
"""Bundle adjustment: what is wrong becomes right, what is right stays; derivatives are those of what is measured."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from hill import Hill, make_hill

from longtake.geometry.pose import inverse
from longtake.refine.adjust import Adjusted, Settings, _columns, adjust
from longtake.refine.motion import exp_motion, log_motion
from longtake.refine.views import node_shares

SETTINGS = Settings(gaps=(1, 2, 3), grid=(4, 5), longest=64, iterations=(6, 6))


@pytest.fixture(scope="module")
def hill() -> Hill:
    return make_hill()


def shaken(hill: Hill, size: float) -> torch.Tensor:
    noise = size * torch.randn(len(hill.depth), 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    noise[0] = 0
    return hill.world_from_cam @ exp_motion(noise)


def pose_error(found: torch.Tensor, hill: Hill) -> float:
    return float(log_motion(inverse(hill.world_from_cam) @ found).abs().max())


def run(hill: Hill, poses: torch.Tensor, settings: Settings = SETTINGS, **options: object) -> Adjusted:
    changed = {"depth": hill.depth, "intrinsics": hill.intrinsics} | options
    fixed = changed.pop("fixed", 1)
    return adjust(hill.images, changed["depth"], poses, changed["intrinsics"], settings, fixed=fixed)  # type: ignore[arg-type]


def test_poses_that_are_off_come_back(hill: Hill) -> None:
    poses = shaken(hill, 0.01)
    found = run(hill, poses, replace(SETTINGS, focal=0.0))
    assert pose_error(poses, hill) > 0.015
    assert pose_error(found.world_from_cam, hill) < 0.003
    assert found.misfit[1] < found.misfit[0]
    assert torch.equal(found.world_from_cam[0], poses[0]), "the first camera is the world"


def test_what_is_right_stays(hill: Hill) -> None:
    found = run(hill, hill.world_from_cam)
    assert pose_error(found.world_from_cam, hill) < 0.002
    assert abs(found.log_focal) < 0.02 and float(found.log_change.abs().max()) < 0.05


def test_a_bent_depth_becomes_straighter(hill: Hill) -> None:
    height, width = hill.depth.shape[1:]
    v, u = torch.meshgrid(torch.linspace(-1, 1, height).double(), torch.linspace(-1, 1, width).double(), indexing="ij")
    bend = torch.stack([0.12 * u * (-1) ** t + 0.06 * v for t in range(len(hill.depth))])
    found = run(hill, hill.world_from_cam, depth=hill.depth * bend.exp())

    def error(off: torch.Tensor) -> float:
        return float((off - off.mean()).abs().mean())

    assert error(bend + found.log_change) < 0.4 * error(bend)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_wrong_focal_length_is_found(factor: float) -> None:
    hill = make_hill(turn=0.06)
    intrinsics = hill.intrinsics.clone()
    intrinsics[[0, 1], [0, 1]] *= factor
    found = run(hill, hill.world_from_cam, intrinsics=intrinsics)
    assert found.log_focal == pytest.approx(-float(torch.tensor(factor).log()), abs=0.03)
    assert run(hill, hill.world_from_cam, replace(SETTINGS, focal=0.0), intrinsics=intrinsics).log_focal == 0.0


def test_frames_that_are_fixed_stay(hill: Hill) -> None:
    poses = shaken(hill, 0.01)
    poses[:3] = hill.world_from_cam[:3]
    found = run(hill, poses, replace(SETTINGS, focal=0.0), fixed=3)
    torch.testing.assert_close(found.world_from_cam[:3], poses[:3], atol=1e-12, rtol=0)
    assert not found.log_change[:3].any() and found.log_change[3:].any()
    assert pose_error(found.world_from_cam, hill) < 0.003


def test_the_world_s_frame_and_unit_do_not_matter(hill: Hill) -> None:
    poses = shaken(hill, 0.01)
    here = run(hill, poses)
    move = exp_motion(torch.tensor([0.3, -2.0, 1.0, 0.4, 0.8, -0.3], dtype=torch.float64))
    there = run(hill, move @ poses)
    torch.testing.assert_close(there.world_from_cam, move @ here.world_from_cam, atol=1e-5, rtol=0)
    large = poses.clone()
    large[:, :3, 3] *= 7
    scaled = run(hill, large, depth=7 * hill.depth)
    torch.testing.assert_close(scaled.world_from_cam[:, :3, 3] / 7, here.world_from_cam[:, :3, 3], atol=1e-4, rtol=0)
    torch.testing.assert_close(scaled.log_change, here.log_change, atol=1e-3, rtol=0)


def test_exposure_does_not_matter_much(hill: Hill) -> None:
    gain = torch.linspace(0.7, 1.0, len(hill.images))[:, None, None, None]
    dim = replace(hill, images=(hill.images * gain).round().byte())
    assert pose_error(run(dim, shaken(dim, 0.01), replace(SETTINGS, focal=0.0)).world_from_cam, dim) < 0.004


def test_unknown_depth_is_left_out(hill: Hill) -> None:
    depth = hill.depth.clone()
    depth[:, :12, :20] = 0
    found = run(hill, shaken(hill, 0.01), replace(SETTINGS, focal=0.0), depth=depth)
    assert pose_error(found.world_from_cam, hill) < 0.005


def test_pictures_that_show_nothing_change_nothing() -> None:
    hill = make_hill(3)
    grey = replace(hill, images=torch.full_like(hill.images, 90))
    found = run(grey, hill.world_from_cam)
    assert found.misfit[1] == float("inf"), "nobody can say that they fit"
    assert bool(found.world_from_cam.isfinite().all())


def test_derivatives_are_those_of_the_moved_point() -> None:
    """By small changes of every unknown, one at a time."""
    generator = torch.Generator().manual_seed(2)
    mine, theirs = exp_motion(0.3 * torch.randn(2, 6, dtype=torch.float64, generator=generator))
    ray = torch.tensor([[0.2, -0.3], [-0.5, 0.1]], dtype=torch.float64)
    z = torch.tensor([1.5, 2.5], dtype=torch.float64)

    def moved(change: torch.Tensor) -> torch.Tensor:
        """Points in the other camera (P, 3): its pose, own pose, log focal length, log depth have changed by this."""
        far = z * change[13].exp()
        own = torch.cat((ray * (far / change[12].exp())[:, None], far[:, None]), -1)
        motion = exp_motion(change[:6]) @ theirs @ inverse(exp_motion(change[6:12]) @ mine)
        return own @ motion[:3, :3].T + motion[:3, 3]

    motion = theirs @ inverse(mine)
    own = torch.cat((ray * z[:, None], z[:, None]), -1)
    for axis in range(3):
        along = torch.zeros(1, 2, 3, dtype=torch.float64)
        along[..., axis] = 1
        found = _columns(along, moved(torch.zeros(14, dtype=torch.float64))[None], own, motion[None, :3, :3])[0]
        for unknown in range(14):
            small = torch.zeros(14, dtype=torch.float64)
            small[unknown] = 1e-6
            wanted = (moved(small) - moved(-small))[:, axis] / 2e-6
            torch.testing.assert_close(found[:, unknown], wanted, atol=1e-8, rtol=1e-6)


def test_nodes_share_what_lies_between_them() -> None:
    u, v = torch.tensor([0.0, 63.0, 31.5]), torch.tensor([0.0, 47.0, 23.5])
    shares = node_shares(u, v, (48, 64), (3, 3))
    torch.testing.assert_close(shares.sum(-1), torch.ones(3))
    assert shares[0, 0] == 1 and shares[1, 8] == 1 and shares[2, 4] == 1
