# SPDX-License-Identifier: Apache-2.0
"""The atlas, its attribution, the camera's effects and the folders on disk."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from longtake.errors import InputError, OutputError
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.effects import develop, noise, scramble
from longtake.synthetic.patterns import COUNT
from longtake.synthetic.shade import trilinear
from longtake.synthetic.takes import contact_sheet, write_take, write_world
from longtake.synthetic.textures import HERE, LEVEL_START, PER_TILE, TILE, attribution, load_textures, read_tiles
from longtake.synthetic.world import make_batch


def test_every_tile_is_attributed_and_the_atlas_is_small() -> None:
    rows = attribution()
    tiles = read_tiles()
    assert tiles.shape == (len(rows), TILE, TILE, 3) and 1000 <= len(rows) <= 1400
    for row in rows:
        assert row["file"] and row["source"] and row["original"] and row["licence"], row
    free = {"CC0", "CC0-1.0", "CC-BY-3.0", "CC-BY-4.0", "MIT", "Expat", "Apache-2.0", "BSD", "ZLIB", "public-domain"}
    assert {row["licence"] for row in rows} <= free
    assert len({row["file"] for row in rows}) == len(rows)
    assert (HERE / "textures.webp").stat().st_size <= 10e6


def test_mip_levels_hold_the_tiles_and_their_means() -> None:
    textures = load_textures()
    tiles = read_tiles()
    assert textures.texels.shape == ((textures.count + COUNT) * PER_TILE,)
    texel = textures.texels[5 * PER_TILE + 3 * TILE + 7].item()
    assert [texel & 255, texel >> 8 & 255, texel >> 16] == tiles[5, 3, 7].tolist()
    last = textures.texels[9 * PER_TILE + LEVEL_START[-1]].item()
    assert abs((last & 255) - tiles[9, ..., 0].float().mean()) < 4


def test_texel_centres_sample_exactly() -> None:
    textures = load_textures()
    tile = torch.tensor([3])
    u, v = torch.tensor([(20 + 0.5) / TILE + 4]), torch.tensor([(90 + 0.5) / TILE - 2])
    color = torch.stack(trilinear(textures.texels, tile, u, v, torch.tensor([0.0])), -1)
    torch.testing.assert_close(color[0] * 255, read_tiles()[3, 90, 20].float(), atol=0.02, rtol=0)


def test_noise_is_white_and_of_unit_variance() -> None:
    seeds = scramble(torch.tensor([1, 2, 3, 4, 5, 6], dtype=torch.int32))
    sample = noise(seeds, 64, 64).view(2, 3, 3, 64, 64)
    assert abs(float(sample.mean())) < 0.02 and abs(float(sample.std()) - 1) < 0.02
    rows = sample.flatten(0, 1).flatten(1)
    assert (torch.corrcoef(rows) - torch.eye(6)).abs().max() < 0.05
    neighbours = (sample[..., 1:] * sample[..., :-1]).mean()
    assert abs(float(neighbours)) < 0.02


def test_clean_pictures_have_the_same_brightness_whatever_the_light() -> None:
    light = torch.rand(1, 2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(develop(light, None), develop(light * 5, None), atol=1 / 254, rtol=0)


def test_a_take_survives_the_disk(tmp_path: Path) -> None:
    b = make_batch(WorldConfig(), 1, 2, 24, 32, "cpu", torch.Generator().manual_seed(0))
    write_take(tmp_path, b.images[0], b.depth[0], b.world_from_cam[0], b.intrinsics[0], depth_stride=2)
    z = np.array(Image.open(tmp_path / "depth" / "000001.png"))
    assert z.dtype == np.uint16 and z.shape == (12, 16)
    assert np.abs(z / 1000 - b.depth[0, 1, ::2, ::2].numpy()).max() < 6e-4
    rgb = np.array(Image.open(tmp_path / "rgb" / "000000.jpg"))
    assert np.abs(rgb / 255 - b.images[0, 0].permute(1, 2, 0).numpy()).mean() < 0.06
    poses = np.loadtxt(tmp_path / "poses.txt").reshape(-1, 4, 4)
    np.testing.assert_allclose(poses, b.world_from_cam[0].numpy(), atol=1e-6)
    np.testing.assert_allclose(np.loadtxt(tmp_path / "intrinsics.txt"), b.intrinsics[0].numpy(), atol=1e-4)


def test_worlds_are_written_and_repeat(tmp_path: Path) -> None:
    for name in ("a", "b"):
        assert len(write_world(tmp_path / name, takes=1, frames=2, size=(32, 24), seed=9)) == 1
    one, two = (sorted(p for p in (tmp_path / name).rglob("*") if p.is_file()) for name in ("a", "b"))
    assert len(one) == 10 and [p.read_bytes() for p in one] == [p.read_bytes() for p in two]
    sheet = contact_sheet(torch.rand(3, 3, 8, 8), torch.rand(3, 8, 8) + 1, columns=2)
    assert sheet.size == (16, 32)


def test_an_older_world_is_not_mixed_with_a_new_one(tmp_path: Path) -> None:
    write_world(tmp_path, 1, 2, (32, 32))
    with pytest.raises(OutputError, match="holds take_00 already"):
        write_world(tmp_path, 1, 1, (32, 32))
    assert len(list((tmp_path / "take_00" / "rgb").iterdir())) == 2


def test_impossible_worlds_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="at least one take"):
        write_world(tmp_path, takes=0)
