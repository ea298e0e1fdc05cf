# SPDX-License-Identifier: Apache-2.0
"""The heads: where each pixel comes from, what every output promises, and our own convolutional head's camera."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from longtake.detokenize.dpt import DptAdapter, double
from longtake.detokenize.heads import ConvHeads, PublishedHeads
from longtake.detokenize.linear import PatchHead
from longtake.frame import Exchange, Heads, Stats, Tokens
from longtake.nn.rope import grid_positions

FEATURES, WIDTH, STEM = 12, 8, (3, 4, 5)
GRIDS = [(1, 1), (1, 4), (3, 2), (2, 5)]


def random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def exchange(n: int, grid: tuple[int, int], seed: int = 0) -> Exchange:
    height, width = grid
    count = height * width
    skips = tuple(random(n, c, s * height, s * width, seed=seed + i) for i, (c, s) in enumerate([(3, 8), (4, 4)]))
    tokens = Tokens(
        random(n, count, FEATURES, seed=seed + 2),
        grid_positions(height, width),
        (16 * height, 16 * width),
        torch.ones(n, dtype=torch.bool),
        skips,
    )
    inner = [random(n, count, WIDTH, seed=seed + i) for i in (3, 4)]
    layers = (tokens.features, *inner, random(n, 1 + count, WIDTH, seed=seed + 5))
    return Exchange(layers, random(n, 2, WIDTH), random(n, 2, WIDTH), random(n, WIDTH), Stats(), tokens)


def heads(kind: str, *, color: bool = True) -> PublishedHeads | ConvHeads:
    torch.manual_seed(0)
    if kind == "conv":
        made = ConvHeads(WIDTH, STEM, (6, 5, 4, 4))
    else:
        small = {"dpt_width": 6, "dpt_last": 5, "dpt_layers": (4, 5, 6, 7)}
        made = PublishedHeads(kind, FEATURES, WIDTH, 2, color=color, **small)
    return made.double().requires_grad_(False)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("kind", ["linear", "dpt", "conv"])
def test_every_output_of_every_grid(kind: str, grid: tuple[int, int]) -> None:
    made = heads(kind)(exchange(2, grid))
    height, width = 16 * grid[0], 16 * grid[1]
    assert made.points_self.shape == made.points_world.shape == (2, height, width, 3)
    assert made.confidence_self.shape == made.confidence_world.shape == (2, height, width)
    assert made.pose.shape == (2, 7)
    assert made.confidence_self.min() > 1
    assert made.confidence_world.min() > 1
    torch.testing.assert_close(made.pose[:, 3:].norm(dim=-1), torch.ones(2, dtype=torch.float64))
    assert (made.pose[:, 3] >= 0).all()
    if kind == "conv":
        assert made.color is None
    else:
        assert made.color is not None
        assert made.color.shape == (2, height, width, 3)
        assert made.color.abs().max() < 1
    if kind != "dpt":
        assert made.points_self[..., 2].min() >= 0, "in front of the camera"


@pytest.mark.parametrize("kind", ["linear", "dpt", "conv"])
def test_views_of_a_batch_do_not_touch_each_other(kind: str) -> None:
    layer, both = heads(kind), exchange(2, (2, 3))
    together = layer(both)

    def one(i: int) -> Exchange:
        tokens = both.tokens
        own = Tokens(
            tokens.features[i : i + 1], tokens.positions, tokens.size, tokens.has_image[i : i + 1],
            tuple(skip[i : i + 1] for skip in tokens.skips),
        )  # fmt: skip
        layers = tuple(each[i : i + 1] for each in both.layers)
        return Exchange(layers, both.proposal, both.pose_memory, both.pose_token_in, both.stats, own)

    for i in range(2):
        alone = layer(one(i))
        for name in ("points_self", "confidence_self", "points_world", "confidence_world", "pose"):
            torch.testing.assert_close(getattr(alone, name)[0], getattr(together, name)[i], rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("kind", ["linear", "dpt"])
def test_the_colour_head_can_be_left_out(kind: str) -> None:
    without = heads(kind, color=False)
    assert not any(name.startswith("color") for name, _ in without.named_parameters())
    assert without(exchange(1, (1, 2))).color is None


def test_linear_heads_order_channel_row_column() -> None:
    head = PatchHead(WIDTH, 3).double()
    torch.nn.init.zeros_(head.mlp.fc2.weight)
    head.mlp.fc2.bias.data = torch.arange(3 * 256, dtype=torch.float64)  # every output says its own number
    out = head(random(1, 6, WIDTH), (2, 3)).detach()
    assert out.shape == (1, 3, 32, 48)
    for channel, row, column in [(0, 0, 0), (2, 5, 40), (1, 31, 17)]:
        assert out[0, channel, row, column] == 256 * channel + 16 * (row % 16) + column % 16


def test_linear_heads_put_each_token_on_its_patch() -> None:
    torch.manual_seed(0)
    head = PatchHead(WIDTH, 1).double().requires_grad_(False)
    x = random(1, 6, WIDTH)
    moved = x.clone()
    moved[0, 4] += 1  # row 1, column 1 of a 2 x 3 grid
    changed = head(x, (2, 3)) != head(moved, (2, 3))
    assert changed[0, 0, 16:32, 16:32].all()
    assert changed.sum() == 256


def test_doubling_keeps_the_corners_and_straight_lines() -> None:
    ramp = torch.arange(5, dtype=torch.float64).expand(1, 1, 3, 5)
    wide = double(ramp)
    torch.testing.assert_close(wide[0, 0, 0], torch.linspace(0, 4, 10, dtype=torch.float64))
    assert wide.shape == (1, 1, 6, 10)


def test_dpt_reads_all_four_token_sets() -> None:
    torch.manual_seed(0)
    adapter = DptAdapter((FEATURES, WIDTH, WIDTH, WIDTH), 2, 6, 5, (4, 5, 6, 7)).double().requires_grad_(False)
    sets = [random(1, 6, width, seed=i) for i, width in enumerate((FEATURES, WIDTH, WIDTH, WIDTH))]
    before = adapter(sets, (2, 3))
    for i in range(4):
        other = [each + (j == i) for j, each in enumerate(sets)]
        assert not torch.allclose(adapter(other, (2, 3)), before), i


def test_conv_points_lie_on_the_rays_of_one_camera() -> None:
    layer, e = heads("conv"), exchange(2, (2, 3))
    assert isinstance(layer, ConvHeads)
    made: Heads = layer(e)
    focal = layer.log_focal(e.layers[-1]).clamp(-2, 2).exp() * 48
    u, v = torch.meshgrid(torch.arange(48.0), torch.arange(32.0), indexing="xy")
    x, y, z = made.points_self.unbind(-1)
    for i in range(2):
        torch.testing.assert_close(focal[i] * x[i] / z[i], u.double() - 24, rtol=0, atol=1e-10)
        torch.testing.assert_close(focal[i] * y[i] / z[i], v.double() - 16, rtol=0, atol=1e-10)
    assert z.min() > 0


def test_the_conv_heads_pose_starts_near_the_identity() -> None:
    layer = heads("conv")
    assert isinstance(layer, ConvHeads)
    for parameter in layer.pose.parameters():
        torch.nn.init.zeros_(parameter)
    made = layer(exchange(1, (1, 1)))
    assert made.pose[0].tolist() == [0, 0, 0, 1, 0, 0, 0]
