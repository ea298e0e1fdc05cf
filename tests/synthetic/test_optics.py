# SPDX-License-Identifier: Apache-2.0
"""Lens, shutter, motion blur and compression."""

import torch

from longtake.synthetic.config import worlds
from longtake.synthetic.furniture import turned
from longtake.synthetic.optics import build_optics, compress, cosines, smear, turning
from longtake.synthetic.raycast import bend
from longtake.synthetic.uniforms import Uniforms, draw_uniforms

K = torch.tensor([[[40.0, 0, 23.5], [0, 40.0, 15.5], [0, 0, 1]]])


def test_a_pinhole_bends_nothing_and_a_lens_moves_along_the_radius() -> None:
    x, y = torch.rand(1, 50) - 0.5, torch.rand(1, 50) - 0.5
    row = torch.zeros(50)
    assert all(torch.equal(a, b) for a, b in zip(bend(x, y, row, torch.zeros(1, 5)), (x, y), strict=True))
    bx, by = bend(x, y, row, torch.tensor([[0.1, 0.02, 0, 0, 0]]))
    torch.testing.assert_close(bx * y, by * x)
    square = x * x + y * y
    torch.testing.assert_close(bx, x * (1 + 0.1 * square + 0.02 * square**2))


def test_a_rolling_shutter_turns_each_line_as_the_camera_turned() -> None:
    angle = 0.02
    x, y, row = torch.rand(1, 40) - 0.5, torch.rand(1, 40) - 0.5, torch.linspace(-0.5, 0.5, 40)
    bx, by = bend(x, y, row, torch.tensor([[0.0, 0.0, 0.0, angle, 0.0]]))
    turn = turned(row * angle)  # about y
    ray = (turn @ torch.stack([x[0], y[0], torch.ones(40)], -1)[..., None])[..., 0]
    torch.testing.assert_close(torch.stack([bx[0], by[0]], -1), ray[:, :2] / ray[:, 2:], atol=2e-4, rtol=0)


def test_turning_is_the_rotation_to_the_next_frame() -> None:
    pose = torch.eye(4).repeat(1, 3, 1, 1)
    yaw = torch.tensor([0.3, 0.35, 0.33])
    pose[0, :, :3, :3] = turned(yaw)
    expected = torch.tensor([[0, 0.05, 0], [0, -0.02, 0], [0, -0.02, 0]])
    torch.testing.assert_close(turning(pose)[0], expected, atol=1e-4, rtol=0)
    assert torch.equal(turning(pose[:, :1]), torch.zeros(1, 1, 3))


def test_blur_follows_the_pan_and_keeps_the_light() -> None:
    light = torch.zeros(1, 2, 3, 32, 48)
    light[..., 24] = 1.0
    still = smear(light, torch.zeros(1, 2, 3), K)
    torch.testing.assert_close(still, light, atol=1e-4, rtol=0)
    pan = torch.tensor([[[0.0, 0.15, 0.0], [0.15, 0.0, 0.0]]])  # about y: sideways; about x: up and down
    out = smear(light, pan, K)
    wide = (out[0, 0, 0, 16] > 0.02).sum()
    assert 5 <= wide <= 8 and abs(float(out[0, 0, 0, 16].sum()) - 1) < 0.1  # 40 pixels x 0.15 = 6
    assert (out[0, 1, 0, 16] > 0.02).sum() <= 2, "along the line itself nothing is seen to move"


def test_compression_quantises_and_does_so_once() -> None:
    image = torch.rand(2, 1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    step = torch.tensor([0.0, 0.08])
    basis = cosines(torch.device("cpu"))
    out = compress(image, step, *basis)
    torch.testing.assert_close(out[0], image[0], atol=1e-5, rtol=0)
    error = (out[1] - image[1]).abs().mean()
    assert 0.005 < error < 0.2
    torch.testing.assert_close(compress(out, step, *basis), out, atol=1e-4, rtol=0)
    flat = torch.full((1, 1, 3, 8, 8), 0.5)
    torch.testing.assert_close(compress(flat, torch.tensor([0.01]), *basis), flat, atol=0.01, rtol=0)
    odd = torch.rand(1, 1, 3, 9, 8)
    assert torch.equal(compress(odd, torch.tensor([0.1]), *basis), odd)


def test_shares_decide_how_many_takes_are_touched() -> None:
    u = Uniforms(draw_uniforms(400, 2, "cpu", torch.Generator().manual_seed(1)))
    pose = torch.eye(4).repeat(400, 2, 1, 1)
    pose[:, 1, :3, :3] = turned(torch.full((400,), 0.1))
    o = build_optics(u, worlds()["mixture"], pose)
    for touched, share in (
        ((o.warp[:, 0, 0] != 0), 0.3),
        ((o.warp[:, 0, 3] != 0), 0.3),
        ((o.turn[:, 0, 1] != 0), 0.4),
        ((o.step > 0), 0.4),
    ):
        assert abs(touched.float().mean() - share) < 0.1
