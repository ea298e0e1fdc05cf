# SPDX-License-Identifier: Apache-2.0
"""Takes from disk keep their truth: what the camera and depth say lies where the picture shows it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from longtake.datasets.write import Take, write_take
from longtake.errors import InputError
from longtake.geometry.camera import pixel_grid, project, unproject
from longtake.geometry.pose import inverse, transform
from longtake.synthetic.config import WorldConfig
from longtake.synthetic.world import make_batch
from longtake.training.recordings import Recordings, Takes, in_order, mirrored, open_sources, read_take
from longtake.training.window import centred, cut


@pytest.fixture(scope="module")
def room() -> Take:
    batch = make_batch(WorldConfig(), 1, 10, 72, 96, "cpu", torch.Generator().manual_seed(8))
    return Take(
        (batch.images[0].permute(0, 2, 3, 1) * 255).round().byte().numpy(),
        batch.depth[0].numpy(),
        batch.world_from_cam[0].numpy(),
        batch.intrinsics[0].numpy(),
    )


@pytest.fixture
def folder(room: Take, tmp_path: Path) -> Path:
    return write_take("7scenes", tmp_path, 0, room).parent


def _disagreement(takes: Takes) -> float:
    """Median share by which depth, carried from frame 0 to frame 1, misses the depth there."""
    camera, pose = takes.intrinsics[0], takes.world_from_cam[0]
    seen = transform(inverse(pose[1]) @ pose[0], unproject(takes.depth[0, 0], camera))
    pixels = project(seen, camera).round()
    height, width = takes.depth.shape[-2:]
    inside = (pixels >= 0).all(-1) & (pixels[..., 0] < width) & (pixels[..., 1] < height) & (takes.depth[0, 0] > 0)
    u, v = pixels[inside].long().unbind(-1)
    there = takes.depth[0, 1, v, u]
    off = (seen[..., 2][inside] - there).abs() / there
    return float(off[there > 0].median())


@pytest.mark.parametrize("zoom", [1.0, 0.75])
def test_depth_and_camera_agree_after_the_cut(folder: Path, zoom: float) -> None:
    source = open_sources([folder], 64)[0]
    takes = read_take(source.sequence, [0, 4], (32, 64), zoom)
    assert takes.images.shape == (1, 2, 3, 32, 64)
    assert _disagreement(takes) < 0.02
    wrong = replace(takes, intrinsics=takes.intrinsics + torch.tensor([[0, 0, 12.0], [0, 0, 0], [0, 0, 0]]))
    assert _disagreement(wrong) > _disagreement(takes)


def test_a_mirrored_take_agrees_too_and_twice_is_the_take(folder: Path) -> None:
    takes = read_take(open_sources([folder], 64)[0].sequence, [0, 4], (48, 64))
    assert _disagreement(mirrored(takes)) < 0.02
    assert _disagreement(replace(mirrored(takes), world_from_cam=takes.world_from_cam)) > 0.02
    back = mirrored(mirrored(takes))
    assert torch.allclose(back.images, takes.images)
    assert torch.allclose(back.intrinsics, takes.intrinsics)
    assert torch.allclose(back.world_from_cam, takes.world_from_cam)


def test_a_window_moves_pixels_as_its_camera_says() -> None:
    """A ramp of coordinates is cut; each new pixel shows the old pixel that the two cameras say."""
    grid = pixel_grid(60, 90).numpy()
    window = centred((60, 90), (16, 32), 0.8)
    camera = np.array([[70.0, 0, 44], [0, 70, 29], [0, 0, 1]])
    ramp = (grid[..., :1] * 2).astype(np.uint8).repeat(3, -1)
    shown = window.picture(ramp)[8, :, 0] / 2
    new = window.camera(camera)
    u = (np.arange(32) - new[0, 2]) / new[0, 0] * camera[0, 0] + camera[0, 2]
    assert np.abs(shown - u).max() < 1.0


def test_sparse_depth_is_moved_and_never_invented() -> None:
    depth = np.zeros((60, 90), np.float32)
    depth[::7, ::5] = np.arange(1, 9 * 18 + 1).reshape(9, 18)
    out = cut(depth, centred((60, 90), (40, 60)))
    assert set(np.unique(out)) <= set(np.unique(depth))
    assert (out > 0).sum() == (depth > 0).sum()
    assert (cut(depth, centred((60, 90), (8, 12))) > 0).all(), "the nearest of several stays"
    assert not cut(depth * 0, centred((60, 90), (8, 12))).any()


def test_draws_are_random_of_one_size_and_repeat_with_the_seed(folder: Path) -> None:
    def draws(seed: int) -> list[Takes]:
        recordings = Recordings(open_sources([folder], 64), 3, seed)
        return [recordings.draw(2, 3) for _ in range(4)]

    first, same, other = draws(0), draws(0), draws(1)
    assert all(torch.equal(a.images, b.images) for a, b in zip(first, same, strict=True))
    assert not all(a.images.shape == b.images.shape and torch.equal(a.images, b.images)
                   for a, b in zip(first, other, strict=True))  # fmt: skip
    for takes in first:
        assert takes.images.shape[:3] == (2, 3, 3)
        assert takes.images.shape[-1] == 64
        assert (takes.depth[:, 0] > 0).any((-1, -2)).all()
        assert torch.allclose(takes.world_from_cam[:, 0], torch.eye(4).expand(2, 4, 4), atol=1e-6)


def test_a_part_of_the_frames_is_kept_apart(folder: Path) -> None:
    learn, test = open_sources([folder], 64, (0, 0.6))[0], open_sources([folder], 64, (0.6, 1))[0]
    assert (learn.frames, test.frames) == (range(6), range(6, 10))
    assert len(list(in_order([test], 2, 1))) == 2
    assert not list(in_order([test], 5, 1))


def test_broken_depth_is_left_out_and_named(folder: Path) -> None:
    broken = sorted(folder.rglob("*.depth.proj.png"))
    broken[3].write_bytes(b"no picture")
    recordings = Recordings(open_sources([folder], 64), 1, 0)
    for _ in range(6):
        recordings.draw(2, 3)
    (name,) = recordings.broken
    assert "000003" in name
    assert broken[3].name in recordings.broken[name]
    for file in broken[1:]:
        file.write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"in a row.*depth\.proj\.png"):
        recordings.draw(1, 3)


def test_what_cannot_be_trained_on_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="10 of 10 frames"):
        open_sources([folder], 64, least=20)
    for file in folder.rglob("*.depth.proj.png"):
        file.unlink()
    with pytest.raises(InputError, match="depth"):
        open_sources([folder], 64)
