# SPDX-License-Identifier: Apache-2.0
"""8-bit products: how far they are from exact ones, that PyTorch's own says the same, and what is narrowed."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import nn

import longtake
from longtake.engine import narrow, precision_of
from longtake.engine.fp8 import EIGHT, EightBitLinear, eight_bits, plain_product, to_eight_bits
from longtake.errors import CapabilityError
from longtake.families.cut3r import Cut3r
from longtake.families.vggt import Vggt
from longtake.nn import EncoderBlock
from longtake.registry import find
from longtake.stream import Stream


def test_rows_keep_their_size_and_their_signs() -> None:
    torch.manual_seed(0)
    rows = torch.randn(40, 64) * torch.logspace(-6, 6, 40)[:, None]
    rows[3], rows[4, 5] = 0, 1e4
    numbers, scale = eight_bits(rows)
    assert numbers.dtype == EIGHT and scale.shape == (40, 1) and scale.isfinite().all()
    back = numbers.float() * scale
    bound = torch.maximum(rows.abs() / 16, scale * 2**-10)
    assert ((back - rows).abs() <= bound * (1 + 1e-5)).all()
    assert torch.equal(back[3], rows[3]), "a row of zeros stays one"
    assert (numbers.float().abs().amax(-1)[torch.arange(40) != 3] == 448).all(), "the whole range is in use"


@pytest.mark.parametrize("bias", [True, False])
def test_the_librarys_product_and_the_plain_one(bias: bool) -> None:
    torch.manual_seed(1)
    x, scale = eight_bits(torch.randn(24, 64))
    weight, weight_scale = eight_bits(torch.randn(32, 64))
    weight_scale = weight_scale.t().contiguous()
    b = torch.randn(32).bfloat16() if bias else None
    try:
        theirs = torch._scaled_mm(x, weight.t(), scale_a=scale, scale_b=weight_scale, bias=b, out_dtype=torch.bfloat16)
    except (RuntimeError, NotImplementedError) as error:
        pytest.skip(f"this PyTorch has no 8-bit product on the CPU: {error}")
    mine = plain_product(x, scale, weight, weight_scale, b)
    torch.testing.assert_close(mine.float(), theirs.float(), rtol=2**-7, atol=2e-2)


@pytest.mark.parametrize("shape", [(64,), (5, 64), (2, 7, 64), (0, 64)])
def test_a_layer_is_near_the_one_it_was(shape: tuple[int, ...]) -> None:
    torch.manual_seed(2)
    block = EncoderBlock(64, 2)
    plain = copy.deepcopy(block.mlp.fc1)
    assert to_eight_bits(block) == 4
    layer = block.mlp.fc1
    assert isinstance(layer, EightBitLinear) and layer.weight.dtype == EIGHT
    x = torch.randn(shape)
    with torch.no_grad():
        made, exact = layer(x), plain(x)
    assert made.shape == exact.shape and made.dtype == torch.bfloat16
    if exact.numel():
        assert 1e-4 < (made - exact).norm() / exact.norm() < 0.05, "rounded, and only so far"
    assert layer.weight.element_size() == 1


def test_only_the_image_encoders_products_are_narrowed() -> None:
    torch.manual_seed(5)
    model = narrow(Cut3r(find("cut3r-512").config.tiny()).eval(), "fp8")
    assert precision_of(model) == "fp8"
    for name, part in model.named_modules():
        if isinstance(part, nn.Linear):
            inside = name.startswith(("image_encoder.blocks", "ray_encoder.blocks"))
            assert part.weight.dtype == (EIGHT if inside else torch.bfloat16), name


def test_models_without_such_layers_are_refused() -> None:
    with pytest.raises(CapabilityError, match="Vggt has no layers.*bf16"):
        narrow(Vggt(find("vggt").config.tiny()).eval(), "fp8")


def test_the_embedded_model_keeps_its_answer() -> None:
    """Shipped weights, a picture with edges, four frames: depth within 3 % in the median, poses within two degrees."""
    streams = [longtake.load(device="cpu", precision=precision).stream() for precision in ("float32", "fp8")]
    assert isinstance(streams[0], Stream) and streams[1].describe()["precision"] == "fp8"
    rng = np.random.default_rng(3)
    base = rng.integers(0, 255, (7, 10, 3), dtype=np.uint8).repeat(16, 0).repeat(16, 1)
    for i in range(4):
        a, b = (stream.step(np.roll(base, 3 * i, 1)) for stream in streams)
    assert ((a.depth - b.depth).abs() / a.depth).median() < 0.03
    turn = a.world_from_cam[:3, :3].T @ b.world_from_cam[:3, :3]
    assert torch.rad2deg(torch.arccos(((turn.trace() - 1) / 2).clamp(-1, 1))) < 2
