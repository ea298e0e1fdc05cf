# SPDX-License-Identifier: Apache-2.0
"""Pictures fit on each other where depth and pose are true, and not where the pose is another or the room is."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from longtake.continuity.sight import correlation
from longtake.geometry.camera import unproject
from longtake.synthetic.config import worlds
from longtake.synthetic.world import Batch, make_batch


@pytest.fixture(scope="module")
def rooms() -> Batch:
    config = replace(worlds()["first"], effects=False, revisit_share=0, loop_share=0)
    return make_batch(config, 3, 5, 96, 128, "cpu", torch.Generator().manual_seed(5))


def picture(rooms: Batch, take: int, frame: int) -> Tensor:
    return (rooms.images[take, frame] * 255).round().byte().permute(1, 2, 0)


def fit(rooms: Batch, take: int, one: int, other: int, pose: Tensor | None = None, room: int | None = None) -> float:
    poses = rooms.world_from_cam[take].double()
    move = torch.linalg.inv(poses[other]) @ poses[one] if pose is None else pose
    points = unproject(rooms.depth[take, one], rooms.intrinsics[take])
    there = picture(rooms, take if room is None else room, other)
    return correlation(picture(rooms, take, one), points, move, there, rooms.intrinsics[take])


def test_true_poses_fit_and_others_do_not(rooms: Batch) -> None:
    """The pose counts, not only that both pictures are of one room."""
    identity = torch.eye(4, dtype=torch.float64)
    true = [fit(rooms, take, 0, 4) for take in range(3)]
    still = [fit(rooms, take, 0, 4, pose=identity) for take in range(3)]
    assert min(true) > 0.9
    assert all(a > b + 0.05 for a, b in zip(true, still, strict=True))
    assert max(fit(rooms, take, 0, 0, identity, room=(take + 1) % 3) for take in range(3)) < 0.7


def test_brightness_does_not_matter_and_a_picture_fits_on_itself(rooms: Batch) -> None:
    identity, image = torch.eye(4), picture(rooms, 0, 0)
    points = unproject(rooms.depth[0, 0], rooms.intrinsics[0])
    dark = (image.float() * 0.5 + 20).round().byte()
    assert correlation(image, points, identity, image, rooms.intrinsics[0]) > 0.999
    assert correlation(image, points, identity, dark, rooms.intrinsics[0]) > 0.999


def test_what_shares_nothing_is_unlike(rooms: Batch) -> None:
    """Behind the camera, beside the picture, without contrast, or not finite: 0, and never nan."""
    image, points = picture(rooms, 0, 0), unproject(rooms.depth[0, 0], rooms.intrinsics[0])
    behind, beside, broken = torch.diag(torch.tensor([-1.0, 1, -1, 1])), torch.eye(4), torch.eye(4)
    beside[0, 3], broken[0, 0] = 100, torch.nan
    for pose in (behind, beside, broken):
        assert correlation(image, points, pose, image, rooms.intrinsics[0]) == 0
    assert correlation(torch.full_like(image, 90), points, torch.eye(4), image, rooms.intrinsics[0]) == 0
