# SPDX-License-Identifier: Apache-2.0
"""The track head against plain twins: sampling, correlation, embeddings, and the rounds."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from longtake.detokenize.track_former import JointCrossAttention, TrackBlock, TrackFormer
from longtake.detokenize.track_head import Tracker, _place_waves, sample

SEED = torch.Generator().manual_seed(5)


def rand(*shape: int) -> Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=SEED)


def tracker(levels: int = 3, radius: int = 2) -> Tracker:
    torch.manual_seed(2)
    made = Tracker(8, 16, 2, 2, levels, radius, rounds=3, virtual=5, max_scale=518.0, stride=2)
    return made.double().requires_grad_(False)


def pixel(image: Tensor, x: float, y: float, zeros: bool) -> Tensor:
    """Bilinear by hand: image (C, h, w) at (x, y); beyond the border zeros or the border itself."""
    height, width = image.shape[-2:]
    if not zeros:
        x, y = min(max(x, 0), width - 1), min(max(y, 0), height - 1)
    total = torch.zeros(image.shape[0], dtype=image.dtype)
    for row in (math.floor(y), math.floor(y) + 1):
        for column in (math.floor(x), math.floor(x) + 1):
            weight = (1 - abs(x - column)) * (1 - abs(y - row))
            if 0 <= row < height and 0 <= column < width:
                total += weight * image[:, row, column]
    return total


@settings(max_examples=30, deadline=None)
@given(st.floats(-3, 9), st.floats(-3, 7), st.booleans())
def test_samples_are_bilinear_with_centres_at_integers(x: float, y: float, zeros: bool) -> None:
    image = rand(1, 3, 5, 7)
    places = torch.tensor([[[[x, y]]]], dtype=torch.float64)
    found = sample(image, places, "zeros" if zeros else "border")[0, :, 0, 0]
    torch.testing.assert_close(found, pixel(image[0], x, y, zeros), rtol=1e-9, atol=1e-9)


def test_correlation_is_the_sampled_volume_x_slow() -> None:
    """The twin builds the whole volume of products first, and samples that, as the equation says."""
    made = tracker()
    maps, coords, feature = rand(1, 2, 8, 12, 16), rand(1, 2, 3, 2) * 10, rand(1, 2, 3, 8)
    found = made._correlation(made._pyramid(maps), coords, feature)
    for frame in range(2):
        for track in range(3):
            numbers = []
            level = maps[0, frame]
            for i in range(3):
                volume = torch.einsum("c,chw->hw", feature[0, frame, track], level)[None] / math.sqrt(8)
                x, y = (coords[0, frame, track] / 2**i).tolist()
                numbers += [pixel(volume, x + dx, y + dy, True) for dx in range(-2, 3) for dy in range(-2, 3)]
                level = torch.nn.functional.avg_pool2d(level[None], 2)[0]
            torch.testing.assert_close(found[0, frame, track], torch.cat(numbers), rtol=1e-9, atol=1e-9)


def test_place_waves_are_samples_of_a_table() -> None:
    height, width, channels = 6, 9, 28
    quarter = channels // 4
    table = torch.zeros(channels, height, width, dtype=torch.float64)
    for y in range(height):
        for x in range(width):
            for k in range(quarter):
                rate = 10000 ** (-k / quarter)
                for offset, value in ((0, x), (2 * quarter, y)):
                    table[offset + k, y, x] = math.sin(value * rate)
                    table[offset + quarter + k, y, x] = math.cos(value * rate)
    places = rand(1, 20, 2) * torch.tensor([12.0, 8.0], dtype=torch.float64) - 1.5  # beyond the border, too
    wanted = sample(table[None], places[:, :, None], "border")[..., 0].transpose(1, 2)
    torch.testing.assert_close(_place_waves(places, (height, width), channels), wanted, rtol=0, atol=1e-6)


def test_flow_waves_have_linear_frequencies_sine_and_cosine_in_turn() -> None:
    found = tracker()._flow_waves(torch.tensor([0.03, -0.2], dtype=torch.float64))
    wanted = []
    for value in (0.03, -0.2):
        for k in range(2):  # 8 channels: 4 an axis: 2 frequencies
            rate = 2 * k * 1000 / 4
            wanted += [math.sin(value * rate), math.cos(value * rate)]
    wanted += [0.03 / 518, -0.2 / 518] * 2
    torch.testing.assert_close(found, torch.tensor(wanted, dtype=torch.float64))


def test_tracks_start_where_they_were_asked_for() -> None:
    made, points = tracker(), rand(2, 4, 2) * 20
    tracks, visible, sure = made(rand(2, 5, 8, 12, 16), points)
    assert tracks.shape == (3, 2, 5, 4, 2)
    assert visible.shape == sure.shape == (2, 5, 4)
    torch.testing.assert_close(tracks[:, :, 0], points.expand(3, -1, -1, -1))
    assert (tracks[:, :, 1:] != points[:, None]).any()
    assert ((visible > 0) & (visible < 1) & (sure > 0) & (sure < 1)).all()


def test_takes_of_a_batch_and_the_order_of_points_do_not_matter() -> None:
    made, maps, points = tracker(), rand(2, 3, 8, 12, 16), rand(2, 4, 2) * 20
    tracks, visible, _ = made(maps, points)
    alone, alone_visible, _ = made(maps[1:], points[1:, [2, 0, 3, 1]])
    torch.testing.assert_close(tracks[:, 1:, :, [2, 0, 3, 1]], alone)
    torch.testing.assert_close(visible[1:, :, [2, 0, 3, 1]], alone_visible)


def test_later_frames_may_come_in_any_order() -> None:
    """Nothing but the first frame's token tells the frames apart: time is not encoded."""
    made, maps, points = tracker(), rand(1, 4, 8, 12, 16), rand(1, 3, 2) * 20
    tracks, _, _ = made(maps, points)
    shuffled, _, _ = made(maps[:, [0, 2, 3, 1]], points)
    torch.testing.assert_close(tracks[:, :, [0, 2, 3, 1]], shuffled)


def test_the_residual_starts_from_the_normalised_tokens() -> None:
    torch.manual_seed(0)
    block = TrackBlock(8, 2).double()
    x = rand(1, 3, 8)
    silent = block
    for part in (silent.attn.proj, silent.mlp.fc2):
        torch.nn.init.zeros_(part.weight)  # pyright: ignore[reportArgumentType]
        torch.nn.init.zeros_(part.bias)  # pyright: ignore[reportArgumentType]
    torch.testing.assert_close(silent(x), silent.norm1(x))


def test_joint_cross_attention_is_torchs_own() -> None:
    torch.manual_seed(0)
    ours, theirs = JointCrossAttention(12, 3).double(), torch.nn.MultiheadAttention(12, 3, batch_first=True).double()
    ours.load_state_dict(
        {
            "qkv.weight": theirs.in_proj_weight,
            "qkv.bias": rand(36),
            "proj.weight": theirs.out_proj.weight,
            "proj.bias": rand(12),
        }
    )
    theirs.load_state_dict(
        theirs.state_dict() | {"in_proj_bias": ours.qkv.bias.detach(), "out_proj.bias": ours.proj.bias.detach()}
    )
    x, y = rand(2, 4, 12), rand(2, 6, 12)
    torch.testing.assert_close(ours(x, y), theirs(x, y, y)[0])


@pytest.mark.parametrize("tracks", [1, 3])
def test_the_former_gives_one_answer_a_track_and_frame(tracks: int) -> None:
    torch.manual_seed(0)
    former = TrackFormer(wide=10, width=16, out=6, depth=1, heads=2, virtual=4).double()
    assert former(rand(2, tracks, 5, 10)).shape == (2, tracks, 5, 6)
