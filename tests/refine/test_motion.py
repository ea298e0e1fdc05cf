# SPDX-License-Identifier: Apache-2.0
"""Small motions: exponential, logarithm and adjoint fit together."""

from __future__ import annotations

import torch

from longtake.geometry.pose import inverse
from longtake.refine.motion import adjoint, cross_matrix, exp_motion, log_motion


def some(count: int, size: float) -> torch.Tensor:
    return size * torch.randn(count, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(3))


def test_a_cross_product_is_a_matrix() -> None:
    a, b = some(5, 1.0)[:, :3], some(5, 1.0)[:, 3:]
    torch.testing.assert_close((cross_matrix(a) @ b[..., None])[..., 0], torch.linalg.cross(a, b))


def test_motions_are_rigid_and_their_inverse_is_the_opposite() -> None:
    made = exp_motion(some(6, 1.0))
    eye = torch.eye(3, dtype=torch.float64).expand(6, 3, 3)
    torch.testing.assert_close(made[:, :3, :3].mT @ made[:, :3, :3], eye)
    torch.testing.assert_close(exp_motion(-some(6, 1.0)), inverse(made))


def test_the_logarithm_gives_rotations_back_and_small_motions_whole() -> None:
    motions = some(50, 0.8)
    torch.testing.assert_close(log_motion(exp_motion(motions))[:, 3:], motions[:, 3:])
    small = some(50, 1e-4)
    torch.testing.assert_close(log_motion(exp_motion(small)), small, atol=1e-7, rtol=0)
    assert not log_motion(torch.eye(4, dtype=torch.float64)).any()


def test_the_adjoint_moves_a_motion_to_the_other_side() -> None:
    motion, matrix = some(4, 0.5), exp_motion(some(4, 1.0).flip(0))
    moved = (adjoint(matrix) @ motion[..., None])[..., 0]
    torch.testing.assert_close(matrix @ exp_motion(motion), exp_motion(moved) @ matrix)
