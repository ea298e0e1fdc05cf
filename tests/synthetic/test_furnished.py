# SPDX-License-Identifier: Apache-2.0
"""Furnished rooms, streets and people: nothing floats, nothing is in the way, poses know nothing of them."""

from dataclasses import replace

import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode

from longtake.synthetic.config import MESH, MESHES, MOVER, MOVERS, ROOM, SEATS, TABLES, WorldConfig, worlds
from longtake.synthetic.effects import develop
from longtake.synthetic.meshes import load_meshes
from longtake.synthetic.movers import walk_people
from longtake.synthetic.optics import smear
from longtake.synthetic.raycast import pixel_rays
from longtake.synthetic.rooms import distances
from longtake.synthetic.textures import load_textures
from longtake.synthetic.uniforms import Uniforms, constant, draw_uniforms
from longtake.synthetic.world import Batch, Plan, make_batch, plan_takes

WORLDS = worlds()


def plan(config: WorldConfig, takes: int, frames: int, seed: int) -> Plan:
    u = Uniforms(draw_uniforms(takes, frames, "cpu", torch.Generator().manual_seed(seed)))
    return plan_takes(u, config, load_textures(), load_meshes(), frames, 32, 48)


@pytest.mark.parametrize("world", ["mixture", "streets"])
def test_pictures_and_depth_are_sane(world: str) -> None:
    b = make_batch(WORLDS[world], 6, 2, 32, 48, "cpu", torch.Generator().manual_seed(3))
    for name in Batch.__dataclass_fields__:
        assert getattr(b, name).isfinite().all() and getattr(b, name).dtype == torch.float32
    assert b.images.min() >= 0 and b.images.max() <= 1 and b.images.std((1, 2, 3, 4)).min() > 0.01
    assert b.depth.min() > 0.1 and b.depth.max() < 130
    assert torch.equal(b.world_from_cam[:, 0], torch.eye(4).expand(6, 4, 4))
    for chunk in (4, 1):  # two takes at once, or one frame
        again = make_batch(replace(WORLDS[world], chunk=chunk), 6, 2, 32, 48, "cpu", torch.Generator().manual_seed(3))
        torch.testing.assert_close(again.depth, b.depth)
        torch.testing.assert_close(again.images, b.images, atol=1.01 / 255, rtol=0)


def test_things_stand_in_their_room_on_something_and_out_of_the_way() -> None:
    p = plan(WORLDS["furnished"], 48, 8, seed=1)
    s, here = p.scenes, p.scenes.model >= 0
    assert 3 < here.sum(1).float().mean() < 22
    assert here.gather(1, s.rests)[here].all(), "what carries a thing is there too"
    assert (s.centre[:, MESH:MOVER, 1][~here[:, :-MOVERS]] > 1e4).all()
    beyond = (s.centre[:, MESH:ROOM, ::2].abs() - s.half[:, None, ::2])[here]
    assert (beyond < 0.02).all(), "centres are inside the walls"
    tops = slice(TABLES + SEATS + 8, TABLES + SEATS + 15)
    bottom = s.centre[:, MESH:ROOM, 1] + s.extent[:, MESH:ROOM, 1]
    assert (bottom[:, : TABLES + SEATS + 8][here[:, : TABLES + SEATS + 8]].abs() < 0.005).all()
    assert (bottom[:, tops][here[:, tops]] < -0.25).all() and here[:, tops].sum() > 10
    static = distances(s, p.room_from_cam[:, :, :3, 3])[:, :, :MOVER]
    assert static.min() >= 0.4 * 0.9 * 0.75 - 1e-4


def test_people_move_and_change_nothing_but_their_pixels() -> None:
    without = replace(WORLDS["furnished"], people_share=0.0, shadows=False, effects=False)
    crowded = replace(without, people_share=1.0)
    a, b = (make_batch(c, 6, 3, 32, 48, "cpu", torch.Generator().manual_seed(8)) for c in (without, crowded))
    assert torch.equal(a.world_from_cam, b.world_from_cam) and torch.equal(a.intrinsics, b.intrinsics)
    other = a.depth != b.depth
    assert other.any() and other.float().mean() < 0.5 and (b.depth <= a.depth).all(), "a person hides what is behind"
    p = plan(crowded, 32, 6, seed=2)
    assert p.scenes.moving is not None
    here = p.scenes.model[:, MESHES - MOVERS :] >= 0
    assert here.any()
    place = p.scenes.moving[..., :3]
    step = (place[:, 1:] - place[:, :-1]).norm(dim=-1).amax(1)
    assert (step > 0.02).float().mean() > 0.4 and step.max() < 0.5
    assert (place[..., ::2].abs() <= p.scenes.half[:, None, None, ::2]).all()
    away = (place[..., ::2] - p.room_from_cam[:, :, None, :3, 3][..., ::2]).norm(dim=-1).amin(1)
    assert away[here].min() > 0.6
    rays = pixel_rays(p.scenes, p.room_from_cam, p.intrinsics, 4, 4)
    torch.testing.assert_close(rays.centre.view(32, 6, -1, 3)[:, :, MOVER:ROOM], place)


def test_who_would_walk_into_the_camera_is_taken_out() -> None:
    scenes = plan(replace(WORLDS["furnished"], people_share=1.0), 16, 6, seed=2).scenes
    scenes = replace(scenes, model=torch.zeros_like(scenes.model))
    u = Uniforms(draw_uniforms(16, 6, "cpu", torch.Generator().manual_seed(4)))
    far = walk_people(u, scenes, torch.full((16, 6, 3), 1e3))
    assert (far.model == 0).all() and far.moving is not None
    points = far.moving[:, :, 0, :3] + torch.tensor([0.5, -1.0, 0.0])  # half a metre beside the first, all the time
    u = Uniforms(u.block)
    near = walk_people(u, scenes, points)
    assert (near.model[:, MESHES - MOVERS] == -1).all() and (near.model[:, : MESHES - MOVERS] == 0).all()


def test_depth_of_meshes_agrees_between_views() -> None:
    """A point seen in frame 0 is no farther than what frame 1 sees on its way, save at silhouettes."""
    config = replace(WORLDS["furnished"], people_share=0.0, effects=False, shadows=False)
    b = make_batch(config, 6, 2, 64, 80, "cpu", torch.Generator().manual_seed(5))
    v, u = torch.meshgrid(torch.arange(64.0), torch.arange(80.0), indexing="ij")
    pixel = torch.stack([u, v, torch.ones_like(u)], -1).flatten(0, 1)
    agreed, count = 0, 0
    for i in range(6):
        k, cam1 = b.intrinsics[i], b.world_from_cam[i, 1].inverse()
        point = (pixel @ k.inverse().T) * b.depth[i, 0].flatten()[:, None]
        point = point @ cam1[:3, :3].T + cam1[:3, 3]
        where = ((point @ k.T)[:, :2] / point[:, 2:]).round()
        ok = (point[:, 2] > 0.2) & (where >= 0).all(1) & (where[:, 0] < 80) & (where[:, 1] < 64)
        seen = b.depth[i, 1][where[ok, 1].long(), where[ok, 0].long()]
        agreed += int(((seen - point[ok, 2]).abs() < 0.03 * point[ok, 2]).sum())
        count += int(ok.sum())
    assert count > 8000 and agreed / count > 0.8


def test_the_floor_is_dark_under_furniture_and_light_elsewhere() -> None:
    s = plan(WORLDS["furnished"], 24, 2, seed=4).scenes
    assert s.floor.min() >= 0.15 and s.floor.max() <= 1 and s.floor.amax((1, 2)).min() > 0.8
    take, slot = ((s.model >= 0)[:, TABLES + SEATS : TABLES + SEATS + 8]).nonzero()[0].tolist()
    centre = s.centre[take, MESH + TABLES + SEATS + slot]
    cell = ((centre[::2] / s.half[take, ::2] + 1) * 16).long().clamp(0, 31)
    assert s.floor[take, cell[1], cell[0]] < 0.5


@pytest.mark.parametrize("world", ["mixture", "streets"])
def test_no_size_depends_on_what_is_drawn(world: str) -> None:
    """A CUDA graph must be able to hold all but the twin's rays: on tensors without values nothing may ask for one."""
    textures, meshes = load_textures(), load_meshes()
    config = WORLDS[world]

    def draw(u: Uniforms) -> torch.Tensor:
        p = plan_takes(u, config, textures, meshes, 4, 16, 24)
        assert p.optics is not None
        return develop(smear(torch.rand(2, 4, 3, 16, 24), p.optics.turn, p.intrinsics), p.camera, p.optics.step)

    block = draw_uniforms(2, 4, "cpu", None)
    draw(Uniforms(block))  # constants are made
    try:
        with FakeTensorMode(allow_non_fake_inputs=True):
            assert draw(Uniforms(torch.rand(block.shape))).shape == (2, 4, 3, 16, 24)
    finally:
        constant.cache_clear()  # one that was made in there has no values, and other tests want them
