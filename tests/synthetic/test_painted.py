# SPDX-License-Identifier: Apache-2.0
"""Patterns wrap and are the seed's; painted rooms show them, and what hangs in the air stays inside the walls."""

from dataclasses import replace

import pytest
import torch

from longtake.synthetic.config import PRIMITIVES, ROOM, SET_SIZE, SETS, WorldConfig, worlds
from longtake.synthetic.meshes import load_meshes
from longtake.synthetic.patterns import COUNT, MOTIFS, pattern_tiles
from longtake.synthetic.scenes import Scenes
from longtake.synthetic.textures import load_textures
from longtake.synthetic.uniforms import Uniforms, draw_uniforms
from longtake.synthetic.world import make_batch, plan_takes

PAINTED = worlds()["painted"]


def scenes(config: WorldConfig, takes: int, seed: int) -> Scenes:
    u = Uniforms(draw_uniforms(takes, 2, "cpu", torch.Generator().manual_seed(seed)))
    return plan_takes(u, config, load_textures(), load_meshes(), 2, 32, 48).scenes


def test_the_seed_decides_the_patterns() -> None:
    a, b, other = pattern_tiles(32, 4, seed=1), pattern_tiles(32, 4, seed=1), pattern_tiles(32, 4, seed=2)
    assert torch.equal(a, b) and not torch.equal(a, other)
    assert a.shape == (4, 32, 32, 3) and a.dtype == torch.uint8
    assert (pattern_tiles(64, 12).float().std((1, 2)).amax(-1) > 5).all(), "no tile is plain"


@pytest.mark.parametrize("axis", [1, 2])
def test_patterns_wrap(axis: int) -> None:
    tiles = pattern_tiles(64, 8 * len(MOTIFS)).float()
    step = (tiles - tiles.roll(1, axis)).abs().mean((0, 3)).mean(2 - axis)
    # hard edges of grids lie on the border more than elsewhere: 1.7; of tiles that do not wrap it is 2.6
    assert step[0] < 2.1 * step.mean()


def test_painted_rooms_show_patterns_and_others_none() -> None:
    low, high = load_textures().ranges["pattern"]
    assert high - low == COUNT
    faces = scenes(PAINTED, 16, 1).faces[:, [*range(PRIMITIVES), ROOM]]
    pattern = (faces[..., 0] >= low) & (faces[..., 0] < high)
    assert 0.7 < pattern[:, :PRIMITIVES].float().mean() < 0.95
    assert pattern[:, -1].any(-1).float().mean() > 0.5
    assert not (pattern & (faces[..., 12] > 0)).any(), "what shines keeps its face"
    for name in ("bare", "furnished", "streets", "first"):
        faces = scenes(worlds()[name], 8, 1).faces
        assert (faces[..., 0] < low).all(), name


def test_what_hangs_is_inside_and_furniture_is_whole() -> None:
    bare = replace(PAINTED, mesh_share=0.0)
    s, still = scenes(bare, 48, 3), scenes(replace(bare, painted_share=0.0), 48, 3)
    here = s.centre[:, :PRIMITIVES, 1] < 1e4
    assert ((s.centre[:, :PRIMITIVES, ::2].abs() <= s.half[:, None, ::2] + 0.02).all(-1) | ~here).all()
    height = -s.centre[:, :PRIMITIVES, 1]
    assert ((height > -0.05) & (height < 2 * s.half[:, 1, None] + 0.05))[here].all()
    moved = (s.centre != still.centre).any(-1)[:, :PRIMITIVES] & here & (still.centre[:, :PRIMITIVES, 1] < 1e4)
    assert 0.2 < moved[:, SETS * SET_SIZE :].any(1).float().mean() < 0.95
    assert not moved[:, : SETS * SET_SIZE].any()
    # a rotation times 1 / extent, as for every body
    turn = s.local_from_room[:, :PRIMITIVES] * s.extent[:, :PRIMITIVES, :, None]
    torch.testing.assert_close(turn @ turn.mT, torch.eye(3).expand_as(turn), atol=2e-5, rtol=0)


def test_painting_moves_no_camera() -> None:
    plain = replace(PAINTED, painted_share=0.0, mesh_share=0.0, effects=False, chunk=4)
    painted = replace(plain, painted_share=1.0)
    a, b = (make_batch(c, 4, 2, 24, 32, "cpu", torch.Generator().manual_seed(5)) for c in (plain, painted))
    assert torch.equal(a.world_from_cam, b.world_from_cam) and torch.equal(a.intrinsics, b.intrinsics)
    assert not torch.equal(a.images, b.images)
