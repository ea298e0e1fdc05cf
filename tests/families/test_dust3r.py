# SPDX-License-Identifier: Apache-2.0
"""DUSt3R by its structure: no golden of the published program is at hand, so shapes, symmetries and the stream.

Key list and parameter count from the paper's sizes are in test_kin.
"""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_models import picture, tiny
from torch import Tensor

from longtake.errors import CapabilityError
from longtake.families.dust3r import Dust3r, Dust3rConfig
from longtake.frame import Views
from longtake.stream import Stream
from longtake.tokenize.images import to_tensor

SIZES = ((32, 48), (48, 64))


def model() -> Dust3r:
    return tiny("dust3r").double()


def image(seed: int, size: tuple[int, int], n: int = 1) -> Tensor:
    g = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, *size, dtype=torch.float64, generator=g) * 2 - 1


def test_a_pair_in_two_pointmaps_out() -> None:
    a, b = image(0, SIZES[0], 2), image(1, SIZES[1], 2)
    pair = model()(a, b)
    assert pair.points_first.shape == (2, 32, 48, 3)
    assert pair.points_second.shape == (2, 48, 64, 3)
    assert pair.confidence_first.shape == (2, 32, 48)
    assert pair.confidence_second.shape == (2, 48, 64)
    assert float(pair.confidence_first.min()) > 1
    assert float(pair.confidence_second.min()) > 1


def test_equal_decoders_and_heads_make_the_pair_symmetric() -> None:
    """The two sides differ in their weights only."""
    net = model()
    net.memory.second = copy.deepcopy(net.memory.first)
    net.heads.world = copy.deepcopy(net.heads.own)
    a, b = image(0, SIZES[0]), image(1, SIZES[1])
    one, other = net(a, b), net(b, a)
    torch.testing.assert_close(one.points_first, other.points_second)
    torch.testing.assert_close(one.points_second, other.points_first)
    torch.testing.assert_close(one.confidence_first, other.confidence_second)


def test_unequal_ones_do_not() -> None:
    net = model()
    a, b = image(0, SIZES[0]), image(1, SIZES[0])
    assert not torch.allclose(net(a, b).points_first, net(b, a).points_second)


def test_each_side_reads_the_other() -> None:
    net = model()
    a, b = image(0, SIZES[0]), image(1, SIZES[0])
    here, there = net(a, b), net(a, -b)
    assert not torch.allclose(here.points_first, there.points_first)
    here, there = net(a, b), net(-a, b)
    assert not torch.allclose(here.points_second, there.points_second)


def test_a_batch_is_its_samples() -> None:
    net = model()
    a, b = image(0, SIZES[0], 3), image(1, SIZES[1], 3)
    together = net(a, b)
    for i in range(3):
        alone = net(a[i : i + 1], b[i : i + 1])
        torch.testing.assert_close(alone.points_first[0], together.points_first[i], rtol=1e-9, atol=1e-9)
        torch.testing.assert_close(alone.points_second[0], together.points_second[i], rtol=1e-9, atol=1e-9)


def test_the_layers_read_what_the_other_side_was_before_the_layer() -> None:
    """One layer by hand: both sides are updated from the same moment."""
    net = model()
    decoder = net.memory
    a, b = (net.tokenize(Views(image=image(i, SIZES[0]))).features for i in (0, 1))
    table = decoder._table(SIZES[0])
    x, y = decoder.embed(a), decoder.embed(b)
    for first, second in zip(decoder.first, decoder.second, strict=True):
        x, y = first(x, y, table, table)[0], second(y, x, table, table)[0]
    (_, _, _, one), (_, _, _, other) = decoder(a, b, SIZES[0], SIZES[0])
    torch.testing.assert_close(one, decoder.norm(x))
    torch.testing.assert_close(other, decoder.norm(y))


def test_a_stream_pairs_every_frame_with_its_first() -> None:
    net = model()
    stream = Stream(net)
    frames = [picture(i) for i in range(4)]
    seen = [to_tensor(net.prepare(frame)[0])[None].double() for frame in frames]
    sizes = set()
    for i, frame in enumerate(frames):
        p = stream.step(frame)
        sizes.add(stream.state_bytes)
        if i == 0:
            pair = net(seen[0], seen[0])
            torch.testing.assert_close(p.points_world, pair.points_first[0])
            torch.testing.assert_close(p.world_from_cam, torch.eye(4, dtype=torch.float64), rtol=0, atol=1e-9)
        else:
            torch.testing.assert_close(p.points_world, net(seen[0], seen[i]).points_second[0])
            own = net(seen[i], seen[0]).points_first[0]
            scale = p.points_self.norm() / own.norm()
            torch.testing.assert_close(p.points_self, own * scale)
    assert len(sizes) == 1


def test_frames_of_other_sizes_can_be_paired_with_the_first() -> None:
    stream = Stream(tiny("dust3r"))
    stream.step(picture(0))
    p = stream.step(picture(1, 84, 60))
    assert p.points.isfinite().all()
    assert p.depth.shape[0] > p.depth.shape[1]


def test_what_it_cannot_see_and_the_default_configuration() -> None:
    with pytest.raises(CapabilityError, match="DUSt3R sees images only"):
        model().tokenize(Views(rays=torch.zeros(1, 6, 32, 32)))
    assert Dust3rConfig.from_official({}) == Dust3rConfig()
    assert Dust3rConfig.from_dict(Dust3rConfig().to_dict()) == Dust3rConfig()
