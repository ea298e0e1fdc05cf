# SPDX-License-Identifier: Apache-2.0
"""Properties of the synthetic world: exact geometry, determinism, sane paths."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from longtake.synthetic.config import BODIES, BOXES, ELLIPSOIDS, PRIMITIVES, ROOM, worlds
from longtake.synthetic.paths import build_paths
from longtake.synthetic.raycast import ball_span, box_span, cylinder_span, hits, nearest, pixel_rays
from longtake.synthetic.rooms import build_scenes, clear_path, distances
from longtake.synthetic.scenes import Scenes
from longtake.synthetic.textures import load_textures
from longtake.synthetic.uniforms import Uniforms, draw_uniforms
from longtake.synthetic.world import Batch, make_batch

CONFIG = worlds()["first"]  # bare rooms; test_furnished has the others


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def batch() -> Batch:
    return make_batch(CONFIG, 3, 4, 48, 64, "cpu", seeded(7))


def test_shapes_ranges_and_first_pose(batch: Batch) -> None:
    assert batch.images.shape == (3, 4, 3, 48, 64) and batch.depth.shape == (3, 4, 48, 64)
    assert batch.world_from_cam.shape == (3, 4, 4, 4) and batch.intrinsics.shape == (3, 3, 3)
    for tensor in (batch.images, batch.depth, batch.world_from_cam, batch.intrinsics):
        assert tensor.dtype == torch.float32 and tensor.isfinite().all()
    assert batch.images.min() >= 0 and batch.images.max() <= 1
    assert (batch.images * 255 - (batch.images * 255).round()).abs().max() < 1e-4
    assert batch.images.std((1, 2, 3, 4)).min() > 0.01
    assert batch.depth.min() > 0.1 and batch.depth.max() < 60
    assert torch.equal(batch.world_from_cam[:, 0], torch.eye(4).expand(3, 4, 4))
    turn = batch.world_from_cam[..., :3, :3]
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).expand_as(turn), atol=1e-5, rtol=0)


@pytest.mark.parametrize("shadows", [False, True])
def test_the_seed_decides_everything(shadows: bool) -> None:
    config = replace(worlds()["mixture"], shadows=shadows)
    one, two, other = (make_batch(config, 2, 2, 16, 24, "cpu", seeded(s)) for s in (3, 3, 4))
    for name in Batch.__dataclass_fields__:
        assert torch.equal(getattr(one, name), getattr(two, name))
    assert not torch.equal(one.depth, other.depth)


def test_chunks_change_nothing() -> None:
    whole = make_batch(CONFIG, 3, 2, 16, 16, "cpu", seeded(5))
    parts = make_batch(replace(CONFIG, chunk=2), 3, 2, 16, 16, "cpu", seeded(5))
    torch.testing.assert_close(parts.depth, whole.depth)


def test_depth_agrees_between_views() -> None:
    """Reproject frame 0 into frame 1: where the other view's neighbourhood is flat in depth, both see one surface."""
    b = make_batch(replace(CONFIG, effects=False), 4, 2, 96, 128, "cpu", seeded(12))
    v, u = torch.meshgrid(torch.arange(96.0), torch.arange(128.0), indexing="ij")
    pixel = torch.stack([u, v, torch.ones_like(u)], -1).flatten(0, 1)
    matched = 0
    for i in range(4):
        k = b.intrinsics[i]
        point = (pixel @ k.inverse().T) * b.depth[i, 0].flatten()[:, None]
        cam1_from_cam0 = b.world_from_cam[i, 1].inverse()
        point = point @ cam1_from_cam0[:3, :3].T + cam1_from_cam0[:3, 3]
        z = point[:, 2]
        where = (point @ k.T)[:, :2] / z[:, None]
        ok = (z > 0.2) & (where > 1).all(1) & (where[:, 0] < 126) & (where[:, 1] < 94)
        grid = torch.stack([where[:, 0] / 127, where[:, 1] / 95], -1)[None, None] * 2 - 1
        inverse = 1 / b.depth[i, 1][None, None]  # 1 / z is linear over a plane, so bilinear samples are exact there
        seen = 1 / torch.nn.functional.grid_sample(inverse, grid, align_corners=True)[0, 0, 0]
        error = ((seen - z) / z).abs()[ok]
        visible = error < 0.05  # the rest is hidden in one of the views
        assert visible.float().mean() > 0.7
        assert error[visible].median() < 2e-5
        assert error[visible].quantile(0.8) < 2e-3
        matched += int(visible.sum())
    assert matched > 10_000


def lone(kind: int) -> Scenes:
    """A 4 x 3 x 6 m room with one body of half extents 0.5 at (0.2, -1.5, 1); all others are gone."""
    u = Uniforms(draw_uniforms(1, 1, "cpu", seeded(0)))
    s = build_scenes(u, CONFIG, load_textures())
    half = torch.tensor([[2.0, 1.5, 3.0]])
    centre = torch.full_like(s.centre, 1e5)
    centre[:, kind] = torch.tensor([0.2, -1.5, 1.0])
    centre[:, ROOM] = torch.tensor([0.0, -1.5, 0.0])
    matrix = torch.eye(3).repeat(1, BODIES, 1, 1) / 0.5
    matrix[:, ROOM] = torch.diag(1 / half[0])
    return replace(s, half=half, centre=centre, local_from_room=matrix)


@pytest.mark.parametrize("kind", [0, BOXES, BOXES + ELLIPSOIDS])
def test_known_bodies_have_their_analytic_depth(kind: int) -> None:
    """Against closed forms in float64: wall z = 3, cube face z = 0.5, ball, upright cylinder."""
    pose = torch.eye(4).repeat(1, 1, 1, 1)
    pose[0, 0, :3, 3] = torch.tensor([0.0, -1.4, -1.5])
    k = torch.tensor([[[60.0, 0, 31.5], [0, 60.0, 23.5], [0, 0, 1]]])
    scenes = lone(kind)
    rays = pixel_rays(scenes, pose, k, 48, 64)
    index = nearest(rays)
    hit = hits(scenes, rays, index)
    x, y = rays.x.double(), rays.y.double()
    centre = torch.tensor([0.2, -0.1, 2.5], dtype=torch.float64)
    body = index == kind
    assert 150 < body.sum() < 2000
    if kind == 0:
        front = body & (hit.depth < 2.001)
        assert front.sum() > 300
        torch.testing.assert_close(hit.depth[front].double(), torch.full_like(x[front], 2.0), atol=1e-5, rtol=0)
    else:
        flat = 0.0 if kind == BOXES + ELLIPSOIDS else 1.0
        a = x * x + 1 + flat * y * y
        h = x * centre[0] + centre[2] + flat * y * centre[1]
        c = centre[0] ** 2 + centre[2] ** 2 + flat * centre[1] ** 2 - 0.25
        expected = (h - (h * h - a * c).clamp_min(0).sqrt()) / a
        side = body & (hit.axis != 1) if flat == 0 else body & (h * h - a * c > 1e-3)
        torch.testing.assert_close(hit.depth[side].double(), expected[side], atol=2e-5, rtol=0)
    wall = (index == ROOM) & (hit.depth > 4.499)
    assert wall.sum() > 300
    torch.testing.assert_close(hit.depth[wall].double(), torch.full_like(x[wall], 4.5), atol=1e-5, rtol=0)
    facing = sum(n * d for n, d in zip(hit.normal, (rays.x, rays.y, torch.ones_like(rays.x)), strict=True))
    assert (facing < 1e-4).all()


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_entries_lie_on_the_surface(seed: int) -> None:
    g = seeded(seed)
    o = torch.randn(3, 64, generator=g, dtype=torch.float64) * 3
    d = torch.randn(3, 64, generator=g, dtype=torch.float64)
    for span, measure in (
        (box_span, lambda p: p.abs().amax(0)),
        (ball_span, lambda p: p.norm(dim=0)),
        (cylinder_span, lambda p: torch.maximum(p[[0, 2]].norm(dim=0), p[1].abs())),
    ):
        enter, leave = span(tuple(o), tuple(d))
        hit = enter < leave
        for t in (enter, leave):
            torch.testing.assert_close(measure(o + t * d)[hit], torch.ones(int(hit.sum()), dtype=torch.float64))
        middle = measure(o + 0.5 * (enter + leave) * d)[hit]
        assert (middle <= 1 + 1e-9).all()


@pytest.mark.parametrize("frames", [2, 16, 256])
def test_paths_stay_inside_and_nothing_stands_in_their_way(frames: int) -> None:
    count = 64 if frames < 64 else 8
    u = Uniforms(draw_uniforms(count, frames, "cpu", seeded(frames)))
    scenes = build_scenes(u, CONFIG, load_textures())
    pose = build_paths(u, CONFIG, scenes.half, frames)
    centre = pose[..., :3, 3]
    assert (centre[..., [0, 2]].abs() < scenes.half[:, None, [0, 2]] - 0.2).all()
    assert (centre[..., 1] < -0.2).all() and (centre[..., 1] > -2 * scenes.half[:, None, 1] + 0.2).all()
    cleared = clear_path(scenes, centre, torch.full((count,), 0.4))
    assert distances(cleared, centre).min() >= 0.4
    assert (cleared.centre[:, :PRIMITIVES, 1] < 100).sum(1).float().mean() > 25


def test_motion_covers_what_hands_do() -> None:
    u = Uniforms(draw_uniforms(512, 16, "cpu", seeded(1)))
    half = build_scenes(u, CONFIG, load_textures()).half
    pose = build_paths(u, CONFIG, half, 16)
    trace = (pose[:, :1, :3, :3] * pose[:, 1:, :3, :3]).sum((-1, -2))
    turned = torch.rad2deg(torch.acos(((trace - 1) / 2).clamp(-1, 1))).mean()
    assert 18 < turned < 36  # heldout_v1: 25, office_walk: 39
    step = (pose[:, 1:, :3, 3] - pose[:, :-1, :3, 3]).norm(dim=-1).mean(1)
    assert step.quantile(0.05) < 0.045 and 0.12 < step.quantile(0.95) < 0.3


def test_some_takes_return_to_where_they_began() -> None:
    config = replace(CONFIG, revisit_share=1.0, loop_share=0.0)
    u = Uniforms(draw_uniforms(16, 32, "cpu", seeded(2)))
    half = build_scenes(u, config, load_textures()).half
    place = build_paths(u, config, half, 32)[..., :3, 3]
    far = (place - place[:, :1]).norm(dim=-1)
    assert (far[:, 31] < 0.35 * far.amax(1) + 0.05).all()


def test_the_block_of_uniforms_suffices_and_says_when_not() -> None:
    u = Uniforms(torch.rand(1, 3))
    u.uniform(3)
    with pytest.raises(IndexError, match="4 uniforms wanted"):
        u.uniform()
